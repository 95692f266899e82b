"""One feature: its explanation, scores, exemplars and neighbours; and the view of an exemplar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semascope.errors import SemascopeError
from semascope.subject.types import Kind

if TYPE_CHECKING:
    from PIL import Image

    from semascope.api.parts import FeatureId, RunParts
    from semascope.atlas.media import Media
    from semascope.evidence.types import EvidenceSample, Exemplar, FeatureEvidence

SHOWN = 6
"""Exemplars in a feature's HTML view."""
AROUND = 24
"""Tokens on each side of the strongest that a text exemplar shows."""


@dataclass(frozen=True, eq=False)
class ExemplarView:
    """One sample where a feature fires, or, for counter-examples, where it does not."""

    sample: EvidenceSample
    activations: NDArray[np.float32]
    """(T,) the feature's activation at every token."""
    top: float
    """The feature's maximum: full colour, so that exemplars compare."""
    media: Media

    @property
    def peak(self) -> float:
        """Largest activation."""
        return float(self.activations.max(initial=0.0))

    @property
    def tokens(self) -> tuple[str, ...]:
        """(T,) the sample's tokens as text."""
        return self.sample.tokens

    @property
    def text(self) -> str:
        """The words of the sample, without its picture's tokens."""
        words = np.isin(self.sample.kinds, (Kind.TEXT,))
        return "".join(t for t, own in zip(self.tokens, words, strict=True) if own).strip()

    def picture(self, number: int = 0, *, heat: bool = True) -> Image.Image:
        """A picture of the sample, with the feature's heat map over it.

        Raises:
            CausalError: the sample has no such picture.
        """
        from semascope import heat as heatmap
        from semascope.errors import CausalError
        from semascope.subject.heatmap import heat as heat_of

        if not 0 <= number < len(self.sample.media):
            raise CausalError(f"The sample has {len(self.sample.media)} pictures.")
        image = self.media.open(self.sample.media[number])
        if not heat:
            return image
        drawn = heat_of(self.sample, self.activations, image=number)  # (H, W)
        size = self.sample.sizes[number]
        return heatmap.blend(
            image if image.size == size else image.resize(size), drawn, top=self.top
        )

    def __repr__(self) -> str:
        where = "picture" if self.sample.media else "text"
        return f"Exemplar({where} {self.sample.id!r}, peak {self.peak:.3g})"

    def _repr_html_(self) -> str:
        from semascope import html

        parts = [html.picture(self.picture(n)) for n in range(len(self.sample.media))]
        text = np.flatnonzero(np.isin(self.sample.kinds, (Kind.TEXT, Kind.SPECIAL)))
        if len(text):
            peak = int(np.argmax(self.activations[text]))
            near = text[max(0, peak - AROUND) : peak + AROUND]
            words = [self.tokens[n] for n in near]
            parts.append(html.by_activation(words, self.activations[near], self.top))
        return html.block(*parts)


class Exemplars(Sequence[ExemplarView]):
    """Exemplars, strongest first, shown side by side in a notebook."""

    def __init__(self, views: Sequence[ExemplarView]) -> None:
        self._views = tuple(views)

    def __getitem__(self, at: Any) -> Any:
        chosen = self._views[at]
        return Exemplars(chosen) if isinstance(at, slice) else chosen

    def __len__(self) -> int:
        return len(self._views)

    def __repr__(self) -> str:
        return (
            f"Exemplars({len(self)}, peaks {', '.join(f'{v.peak:.3g}' for v in self._views[:5])}…)"
        )

    def _repr_html_(self) -> str:
        from semascope import html

        return html.block(*(view._repr_html_() for view in self._views))


@dataclass(frozen=True, eq=False)
class Feature:
    """A feature of a dictionary of an open run."""

    run: RunParts
    key: FeatureId

    @property
    def id(self) -> str:
        """``site/name/number``."""
        return f"{self.key[0]}/{self.key[1]}"

    @property
    def index(self) -> int:
        """Its number in the dictionary."""
        return self.key[1]

    @cached_property
    def detail(self) -> Any:
        """Its record in the atlas. WorkspaceError before ``index``."""
        return self.run.atlas.feature(*self.key)

    @property
    def label(self) -> str:
        """A short name; empty without an explanation."""
        return str(self.detail.row.label)

    @property
    def description(self) -> str:
        """The explanation; empty if there is none."""
        return str(self.detail.row.description)

    @property
    def author(self) -> str:
        """Who wrote the explanation."""
        return str(self.detail.row.author)

    @property
    def scores(self) -> Mapping[str, Any]:
        """Explanation scores by kind: value, baseline, interval."""
        return dict(self.detail.row.scores)

    @cached_property
    def evidence(self) -> FeatureEvidence:
        """Its evidence. EvidenceError if none was gathered."""
        return self.run.evidence(self.key[0]).feature(self.key[1])

    @property
    def max(self) -> float:
        """Its largest activation on the corpus: one unit of steering."""
        return float(self.evidence.stats["max"])

    @cached_property
    def exemplars(self) -> Exemplars:
        """Top activating examples, strongest first."""
        return self._views(self.evidence.top)

    @cached_property
    def by_interval(self) -> Exemplars:
        """Examples drawn from each tenth of its range, the highest tenth first."""
        return self._views(self.evidence.intervals)

    @cached_property
    def counter_examples(self) -> Exemplars:
        """Hard negatives: samples where it is silent and its nearest neighbours fire."""
        media = self.run.media
        silent = self.evidence.silent
        return Exemplars(
            [ExemplarView(s, np.zeros(len(s.tokens), np.float32), self.max, media) for s in silent]
        )

    def neighbours(self, by: str = "cosine", limit: int = 8) -> list[Feature]:
        """Nearest features: by decoder ``cosine``, or by co-activation, ``cofire``."""
        near = self.run.evidence(self.key[0]).near(self.key[1], by)[:limit]
        return [Feature(self.run, (self.key[0], one.index)) for one in near]

    def _views(self, exemplars: Sequence[Exemplar]) -> Exemplars:
        media, top = self.run.media, self.max
        return Exemplars([ExemplarView(e.shown, e.activations, top, media) for e in exemplars])

    def __repr__(self) -> str:
        try:
            label = self.label
        except SemascopeError:  # not indexed: a repr says what it can
            label = ""
        return f"Feature({self.id}{f': {label}' if label else ''})"

    def _repr_html_(self) -> str:
        from semascope import html

        row = self.detail.row
        words = row.description or "No explanation."
        scores = [
            (
                kind,
                f"{s.value:.3f}"
                + (f", baseline {s.baseline:.3f}" if s.baseline is not None else ""),
            )
            for kind, s in row.scores.items()
        ]
        return html.block(
            html.line(f"{self.id}  {row.label}", strong=True),
            html.line(words),
            html.table([("density", row.density), ("maximum", self.max), *scores]),
            self.exemplars[:SHOWN]._repr_html_(),
        )
