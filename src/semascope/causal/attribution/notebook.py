"""An attribution as a notebook shows it: tokens and features as HTML, heat on the picture.

Colours are those of ``semascope.heat``: warm for what raises the metric, blue for what lowers it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semascope import html
from semascope.causal.attribution.feature_share import FeatureShare
from semascope.heat import blend
from semascope.subject.heatmap import heat
from semascope.subject.types import PICTURE_KINDS, Kind, TokenMap


class AttributedSite(Protocol):
    """The part of one dictionary."""

    @property
    def key(self) -> str:
        """``site/name``."""
        ...

    def error_share(self) -> float:
        """Share of the metric that the dictionary does not explain."""
        ...


class Attributed(Protocol):
    """What is shown of an ``Attribution``."""

    @property
    def metric(self) -> str: ...
    @property
    def values(self) -> NDArray[np.float32]:
        """(P,) the metric of each prompt."""
        ...

    @property
    def sites(self) -> Sequence[AttributedSite]: ...
    @property
    def maps(self) -> tuple[TokenMap, ...]: ...
    def by_token(self) -> NDArray[np.float32]:
        """(T,) summed scores."""
        ...

    def features(self) -> list[FeatureShare]:
        """Strongest first."""
        ...


def heat_on(picture: Image.Image, attribution: Attributed, number: int = 0) -> Image.Image:
    """Picture ``number`` of the prompt, in grey, with the heat map of its image tokens' scores."""
    token_map = attribution.maps[0]
    scores = attribution.by_token()[: len(token_map)]  # (T,)
    return blend(picture.convert("L"), heat(token_map, scores, image=number))


@dataclass(frozen=True, slots=True)
class AttributionView:
    """An attribution as a notebook shows it."""

    attribution: Attributed
    pictures: Sequence[Image.Image] = ()
    labels: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """What is known of the features, by (dictionary, index)."""
    top: int = 15

    def _repr_html_(self) -> str:
        attribution = self.attribution
        token_map = attribution.maps[0]
        pictured = np.isin(token_map.kinds, (*PICTURE_KINDS, Kind.PAD))
        words = np.flatnonzero(~pictured)
        scores = attribution.by_token()[words]
        parts = [f"<p><b>{attribution.metric}</b> = {attribution.values[0]:.4g}</p>"]
        for number, picture in enumerate(self.pictures[: len(token_map.sizes)]):
            parts.append(html.picture(heat_on(picture, attribution, number)))
        top = float(np.abs(scores).max(initial=0.0))
        parts.append(html.by_activation([token_map.tokens[n] for n in words], scores, top))
        parts.append(self._table())
        shares = ", ".join(f"{s.key} {s.error_share():.0%}" for s in attribution.sites)
        parts.append(f"<p>Share of what the dictionaries do not explain: {shares}</p>")
        return "".join(parts)

    def _table(self) -> str:
        """The strongest features as an HTML table."""
        rows = [
            f"<tr><td>{escape(s.key)}/{s.index}</td><td>{s.score:+.4g}</td>"
            f"<td>{s.peak:.3g}</td><td>{s.tokens}</td>"
            f"<td>{escape(self.labels.get(s.id, ''))}</td></tr>"
            for s in self.attribution.features()[: self.top]
        ]
        head = "<tr><th>feature</th><th>score</th><th>peak</th><th>tokens</th><th></th></tr>"
        return f"<table>{head}{''.join(rows)}</table>"
