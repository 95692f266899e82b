"""What stands behind a token: reasons, concepts and their effects, told as they are found.

Called by the model thread. Joins ``monitor`` (which runs the model) with ``FeatureIndex`` (what
features are called); holds no tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semascope.serve.explorer.feature_index import Feature, FeatureIndex
from semascope.serve.explorer.lmm_names import BackgroundNaming
from semascope.serve.explorer.model import ModelSession
from semascope.serve.explorer.to_events import cluster, effect, reasons
from semascope.serve.queue.jobs import Later, More, NextStep, Rank
from semascope.serve.schema.events import (
    Clustered,
    ClusterRecord,
    Emit,
    Explained,
    Progress,
    ReadBack,
    ReadRecord,
    Target,
)
from semascope.serve.schema.requests import ReadAsk, VersusAsk, WhyAsk

if TYPE_CHECKING:
    from semascope.atlas.records import FeatureListRow
    from semascope.causal.attribution.result import FeatureShare
    from semascope.monitor.clusters import BaseRates, Cluster
    from semascope.monitor.conversation import Conversation
    from semascope.monitor.inspection import Effect, Inspection

PICTURES = 8
"""Pictures of the run's evidence that ordinary prompts are asked beside."""
NO_WORDS = (
    "These features have no words yet, so there is nothing to group them by: run semascope explain."
)
NO_GROUP = "No features here say the same thing: lower the similarity, or look at the single ones."


class TokenExplainer:
    """Looks behind answers."""

    def __init__(
        self,
        asker: ModelSession,
        words: FeatureIndex,
        ordinary: Mapping[bool, BaseRates] | None = None,
        naming: BackgroundNaming | None = None,
    ) -> None:
        """``ordinary``: what is known already of prompts with pictures (True) and without.
        ``naming``: who names concepts; without it they keep the words that they share."""
        self.asker = asker
        self.words = words
        self.naming = naming
        self._ordinary: dict[bool, BaseRates] = dict(ordinary or {})

    def read(self, ask: ReadAsk, emit: Emit) -> None:
        """Every token of prompt and answer."""
        from semascope.monitor.conversation import read_tokens

        asked = self.asker.asked(ask)
        tokens = [ReadRecord.of(token) for token in read_tokens(asked, ask.top)]
        emit(ReadBack(tokens=tokens, sizes=list(asked.map.sizes)))

    def why(self, ask: WhyAsk, emit: Emit) -> More:
        """Reasons, then concepts; the effects are left, one a step, until others had their turn,
        and names come from elsewhere meanwhile."""
        from semascope.causal.steering.interventions import Where
        from semascope.monitor.inspection import effects, inspect

        asked = self.asker.asked(ask)
        found = inspect(
            asked,
            mode=ask.mode,
            position=ask.position,
            where=None if ask.at == Where() else ask.at,
            against=ask.against,
            integrated=ask.integrated,
            named=max(ask.limit, ask.features if ask.clusters else 0),
        )
        # Once for both: what is told first are the strongest of what is grouped.
        most = max(ask.limit, ask.features if ask.clusters else 0)
        rows = self.words.rows(share.id for share in found.shares[:most])
        if emit(self._explained(ask, asked, found, rows)) or not ask.clusters:
            return None
        groups = self._clustered(ask, asked, found, rows, emit)
        if not groups:
            return None
        named = groups[: ask.names] if self.naming is not None else []
        later = self.naming.begin(named, emit) if self.naming is not None and named else None
        if not ask.effects:
            return later
        return _one_by_one(effects(asked, found, groups[: ask.effects]), later)

    def _explained(
        self,
        ask: WhyAsk,
        asked: Conversation,
        found: Inspection,
        rows: Mapping[Feature, FeatureListRow],
    ) -> Explained:
        said, shown = found.said, found.shares[: ask.limit]
        text = str(asked.steerable.subject.encoder.text(said.token))
        return Explained(
            metric=found.metric,
            value=found.value,
            mode=ask.mode,
            target=Target(
                id=said.token, text=text, position=said.position, probability=found.probability
            ),
            reasons=reasons(
                shown,
                places=found.places,
                ratios=found.ratios,
                rows=rows,
                active=ask.mode == "activation",
            ),
            tokens=[asked.text(n) for n in range(min(asked.total, said.position))],
            unexplained=found.unexplained,
        )

    def _clustered(
        self,
        ask: WhyAsk,
        asked: Conversation,
        found: Inspection,
        rows: Mapping[Feature, FeatureListRow],
        emit: Emit,
    ) -> list[Cluster]:
        looked = found.shares[: ask.features]
        groups, records, note = self.grouped(looked, ask, asked, emit, rows=rows)
        alone = len(looked) - sum(len(group.features) for group in groups)
        emit(Clustered(clusters=records, unclustered=alone, note=note))
        return groups

    def grouped(
        self,
        shares: Sequence[FeatureShare],
        ask: WhyAsk | VersusAsk,
        asked: Conversation,
        emit: Emit,
        familiar: bool = True,
        rows: Mapping[Feature, FeatureListRow] | None = None,
    ) -> tuple[list[Cluster], list[ClusterRecord], str]:
        """Features as concepts, as records, and why there are none. ``familiar``: whether these
        are features whose firing on ordinary prompts is measured. ``rows``: of the atlas, where
        they were read already."""
        from semascope.monitor.inspection import grouped

        ids = [share.id for share in shares]
        told, embed = self.words.described(ids, rows)
        pictured = bool(asked.sample.images)
        groups = grouped(
            shares,
            {feature: row.description for feature, row in told.items()},
            embed,
            ordinary=self.ordinary(pictured, emit) if told and familiar else None,
            similarity=ask.similarity,
            smallest=ask.smallest,
        )
        records = [cluster(n, group, told) for n, group in enumerate(groups)]
        return groups, records, "" if groups else NO_GROUP if told else NO_WORDS

    def ordinary(self, pictured: bool, emit: Emit) -> BaseRates | None:
        """How features fire on ordinary prompts of this kind; measured once a workspace."""
        if pictured not in self._ordinary:
            from semascope.monitor.base_rates import ordinary, prompts

            def progress(done: int, total: int) -> bool:
                note = "how features fire on ordinary prompts"
                return emit(Progress(done=done, total=total, note=note))

            space, steerable = self.asker.workspace, self.asker.steerable
            found = ordinary(
                steerable,
                prompts(self._pictures() if pictured else ()),
                space.root / "ordinary",
                space.record().stages["gather"].hash,
                progress,
            )
            if found is None:
                return None
            self._ordinary[pictured] = found
        return self._ordinary[pictured]

    def _pictures(self) -> list[Any]:
        """The first pictures of the evidence, in the order of their hashes."""
        from PIL import Image

        folder = self.asker.workspace.media
        files = sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".webp"))
        pictures = []
        for path in files[:PICTURES]:
            with Image.open(path) as image:
                pictures.append(image.convert("RGB"))
        return pictures


def _one_by_one(found: Iterator[Effect], later: Later | None = None) -> NextStep:
    """A step that measures and tells one effect, and returns itself while there are more; then
    what goes on without the model, if anything does."""

    def step(emit: Emit, /) -> More:
        one = next(found, None)
        return later if one is None or emit(effect(one)) else NextStep(step, Rank.REST)

    return NextStep(step, Rank.REST)
