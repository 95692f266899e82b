"""Why the model said a word: features, concepts, heat on the picture, and measured effects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semascope.errors import CausalError, SemascopeError
from semascope.subject.types import Kind

if TYPE_CHECKING:
    from PIL import Image

    from semascope.api.feature import Feature
    from semascope.api.parts import AnsweredChat
    from semascope.causal.attribution.feature_share import FeatureShare
    from semascope.causal.attribution.result import Attribution
    from semascope.monitor.clusters import Cluster
    from semascope.monitor.inspection import Effect, Inspection

TOP = 12
"""Features in the HTML view."""
READ = (Kind.TEXT, Kind.SPECIAL)
"""Kinds of token with text to show."""
GROUPED = 200
"""Strongest features that are grouped into concepts."""


@dataclass(frozen=True, eq=False)
class Why:
    """The features behind one token of an answer."""

    chat: AnsweredChat
    token: str
    """The token as text."""
    position: int
    """Its position in prompt and answer together."""
    against: int | None
    mode: str
    integrated: int

    @classmethod
    def of(
        cls, chat: AnsweredChat, number: int, against: str | None, mode: str, integrated: int
    ) -> Why:
        """Explain the answer's token ``number``."""
        rival = None if against is None else _id_of(chat, against)
        position = len(chat.conversation.map) + number
        return cls(chat, chat.tokens[number].text, position, rival, mode, integrated)

    @cached_property
    def inspection(self) -> Inspection:
        """The features behind the token, as ``semascope.monitor`` returns them."""
        from semascope.monitor.inspection import inspect

        return inspect(
            self.chat.conversation, mode=self.mode, position=self.position, against=self.against,
            integrated=self.integrated if self.mode == "attribution" else 1,
        )  # fmt: skip

    @property
    def probability(self) -> float:
        """Probability of the token."""
        return self.inspection.probability

    @property
    def shares(self) -> tuple[FeatureShare, ...]:
        """Every active feature with its signed first-order score, strongest first.

        The unit is that of the metric: nats of log-probability, or logits with ``against``.
        """
        return self.inspection.shares

    @property
    def features(self) -> list[Feature]:
        """The strongest features."""
        from semascope.api.feature import Feature

        return [Feature(self.chat.run, share.id) for share in self.shares[:TOP]]

    @property
    def error_share(self) -> float | None:
        """Share of the attribution that lies in the SAE error; None in activation mode."""
        return self.inspection.unexplained

    @cached_property
    def labels(self) -> dict[tuple[str, int], tuple[str, str]]:
        """(label, description) of the strongest features that have an explanation."""
        if self.chat.run.workspace is None:
            return {}
        atlas = self.chat.run.atlas
        known = {}
        for key in {share.key for share in self.shares[:GROUPED]}:
            ids = [share.index for share in self.shares[:GROUPED] if share.key == key]
            for row in atlas.features(key, where={"ids": ids}, limit=len(ids)).rows:
                if row.description and not row.abstained:
                    known[row.dictionary, row.index] = (row.label, row.description)
        return known

    @cached_property
    def concepts(self) -> list[Cluster]:
        """Features whose explanations mean the same, as clusters, strongest first."""
        from semascope.atlas import embedder
        from semascope.monitor.inspection import group_by_meaning

        descriptions = {feature: words for feature, (_, words) in self.labels.items()}
        if not descriptions:
            return []
        return group_by_meaning(self.shares[:GROUPED], descriptions, embedder(), smallest=2)

    def effects(self, most: int = 6) -> list[tuple[Cluster, Effect]]:
        """Exact effects: each concept ablated whole, one forward pass each."""
        from semascope.monitor.inspection import effects

        some = self.concepts[:most]
        return list(zip(some, effects(self.chat.conversation, self.inspection, some), strict=True))

    @cached_property
    def attribution(self) -> Attribution:
        """One entry for each active token and feature. CausalError in activation mode."""

        if self.mode != "attribution":
            raise CausalError("Heat by attribution needs mode='attribution'.")
        steerable, asked = self.chat.run.steerable, self.chat.conversation
        return steerable.attribute(
            asked.batch,
            self.inspection.target,
            integrated=self.integrated,
            edits=asked.edits,
        )

    def by_token(self, feature: Feature | None = None) -> NDArray[np.float32]:
        """(position,) signed score of every token before this one, of one feature or of all."""
        sums = np.zeros(self.position, np.float32)
        for site in self.attribution.sites:
            before = site.position < len(sums)
            if feature is not None:
                before &= (site.feature == feature.key[1]) & (site.key == feature.key[0])
            np.add.at(sums, site.position[before], site.score[before])
        return sums

    def heat(self, picture: int = 0, feature: Feature | None = None) -> Image.Image:
        """A picture of the conversation with what promoted (warm) or suppressed (blue) the token.

        Raises:
            CausalError: the conversation has no such picture.
            GeometryUnknown: where the subject's image tokens look is not known.
        """
        from semascope import heat
        from semascope.subject.heatmap import heat as heat_of

        images = self.chat.pictures
        if not 0 <= picture < len(images):
            raise CausalError(f"The conversation has {len(images)} pictures.")
        token_map = self.chat.conversation.map
        scores = self.by_token(feature)[: len(token_map)]
        return heat.blend(images[picture], heat_of(token_map, scores, image=picture))

    def __repr__(self) -> str:
        names = [self.labels.get(s.id, (f"#{s.index}", ""))[0] for s in self.shares[:3]]
        return f"Why({self.token.strip()!r} at {self.probability:.0%}: {', '.join(names)}, …)"

    def _repr_html_(self) -> str:
        from semascope import html

        title = f"Why “{self.token.strip()}” (probability {self.probability:.1%})"
        parts = [html.line(title, strong=True)]
        if self.mode == "attribution":
            parts += [html.picture(image) for image in self._heats()]
            parts.append(self._read())
        rows = [self._row(share) for share in self.shares[:TOP]]
        unit = {"logprob": "nats", "logit_diff": "logits"}.get(
            self.inspection.metric, "of its maximum"
        )
        parts.append(html.bars(rows, f"Features ({self.mode}, {unit})"))
        groups = [(c.label, c.score, f"{len(c.features)} features") for c in self.concepts[:TOP]]
        if groups:
            parts.append(html.bars(groups, "Concepts"))
        if self.error_share is not None:
            parts.append(html.line(f"SAE error: {self.error_share:.0%} of the attribution."))
        return html.block(*parts)

    def _row(self, share: FeatureShare) -> tuple[str, float, str]:
        label = self.labels.get(share.id, ("no explanation", ""))[0]
        return f"{share.key}/{share.index}", share.score, label

    def _heats(self) -> list[Image.Image]:
        try:
            return [self.heat(n) for n in range(len(self.chat.pictures))]
        except SemascopeError:  # the geometry is not known: the bars below still are
            return []

    def _read(self) -> str:
        """Prompt and answer up to the token, coloured by score."""
        from semascope import html

        kinds = self.chat.conversation.map.kinds
        shown = [n for n in range(self.position) if n >= len(kinds) or kinds[n] in READ]
        scores = self.by_token()[shown]
        top = float(np.abs(scores).max(initial=0.0))
        return html.by_activation([self.chat.conversation.text(n) for n in shown], scores, top)


def _id_of(chat: AnsweredChat, word: str) -> int:
    """First token of a word as it stands in an answer."""
    tokenizer = chat.run.subject.tokenizer
    for text in (" " + word.strip(), word.strip()):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if ids:
            return int(ids[0])
    raise CausalError(f"{word!r} has no token.")
