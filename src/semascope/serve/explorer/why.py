"""Why a token came: its features, the concepts they form, and the measured effects.

The model thread calls this. ``monitor`` runs the model and ``FeatureIndex`` gives features their
words; nothing here holds a tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semascope.serve.explorer.feature_index import Feature, FeatureIndex
from semascope.serve.explorer.lmm_names import BackgroundNaming
from semascope.serve.explorer.model import ModelSession
from semascope.serve.explorer.to_events import cluster, effect, reasons, target
from semascope.serve.queue.jobs import Later, More, NextStep, Rank
from semascope.serve.schema.events import Emit, Progress
from semascope.serve.schema.explanations import (
    Clustered,
    ClusterRecord,
    Explained,
    ReadBack,
    ReadRecord,
)
from semascope.serve.schema.requests import ReadAsk, VersusAsk, WhyAsk

if TYPE_CHECKING:
    from semascope.atlas.records import FeatureListRow
    from semascope.causal.attribution.feature_share import FeatureShare
    from semascope.monitor.clusters import BaseRates, Cluster
    from semascope.monitor.conversation import Conversation
    from semascope.monitor.inspection import Effect, Inspection

PICTURES = 8
"""Pictures of the run's evidence that ordinary prompts are measured with."""
NO_WORDS = (
    "These features have no explanations yet, so they cannot be grouped: run semascope explain."
)
NO_GROUP = "No features here mean the same: lower the similarity, or look at single features."


class TokenExplainer:
    """Explains the tokens of answers.

    Args:
        session: the model.
        feature_index: what features are called.
        base_rates: how features fire on ordinary prompts with pictures (True) and without, where
            that is known already.
        naming: names concepts with an LMM; without it they are called by words they share.
    """

    def __init__(
        self,
        session: ModelSession,
        feature_index: FeatureIndex,
        base_rates: Mapping[bool, BaseRates] | None = None,
        naming: BackgroundNaming | None = None,
    ) -> None:
        self.session = session
        self.feature_index = feature_index
        self.naming = naming
        self._base_rates: dict[bool, BaseRates] = dict(base_rates or {})

    def read(self, ask: ReadAsk, emit: Emit) -> None:
        """Every token of prompt and answer with its probability."""
        from semascope.monitor.conversation import read_tokens

        conversation = self.session.conversation(ask)
        tokens = [ReadRecord.of(token) for token in read_tokens(conversation, ask.top)]
        emit(ReadBack(tokens=tokens, sizes=list(conversation.map.sizes)))

    def why(self, ask: WhyAsk, emit: Emit) -> More:
        """Features, then concepts. Effects are measured one per step, after other people's
        questions, while an LMM names the concepts."""
        from semascope.causal.steering.interventions import Where
        from semascope.monitor.inspection import effects, inspect

        conversation = self.session.conversation(ask)
        inspection = inspect(
            conversation,
            mode=ask.mode,
            position=ask.position,
            where=None if ask.at == Where() else ask.at,
            against=ask.against,
            integrated=ask.integrated,
            named=max(ask.limit, ask.features if ask.clusters else 0),
        )
        # Read once for both: the features shown are the strongest of those grouped.
        most = max(ask.limit, ask.features if ask.clusters else 0)
        rows = self.feature_index.rows(share.id for share in inspection.shares[:most])
        if emit(self._explained(ask, conversation, inspection, rows)) or not ask.clusters:
            return None
        groups = self._clustered(ask, conversation, inspection, rows, emit)
        if not groups:
            return None
        named = groups[: ask.names] if self.naming is not None else []
        later = self.naming.begin(named, emit) if self.naming is not None and named else None
        if not ask.effects:
            return later
        return _one_by_one(effects(conversation, inspection, groups[: ask.effects]), later)

    def _explained(
        self,
        ask: WhyAsk,
        conversation: Conversation,
        inspection: Inspection,
        rows: Mapping[Feature, FeatureListRow],
    ) -> Explained:
        shown, at = inspection.shares[: ask.limit], inspection.target.position
        return Explained.of(
            inspection,
            kind="explained",
            mode=ask.mode,
            target=target(conversation, inspection.target, inspection.probability),
            reasons=reasons(
                shown,
                places=inspection.places,
                ratios=inspection.ratios,
                rows=rows,
                active=ask.mode == "activation",
            ),
            tokens=[conversation.text(n) for n in range(min(conversation.total, at))],
        )

    def _clustered(
        self,
        ask: WhyAsk,
        conversation: Conversation,
        inspection: Inspection,
        rows: Mapping[Feature, FeatureListRow],
        emit: Emit,
    ) -> list[Cluster]:
        looked = inspection.shares[: ask.features]
        groups, records, note = self.grouped(looked, ask, conversation, emit, rows=rows)
        alone = len(looked) - sum(len(group.features) for group in groups)
        emit(Clustered(clusters=records, unclustered=alone, note=note))
        return groups

    def grouped(
        self,
        shares: Sequence[FeatureShare],
        ask: WhyAsk | VersusAsk,
        conversation: Conversation,
        emit: Emit,
        familiar: bool = True,
        rows: Mapping[Feature, FeatureListRow] | None = None,
    ) -> tuple[list[Cluster], list[ClusterRecord], str]:
        """Features grouped into concepts: the groups, their records, and why there are none.

        Args:
            shares: the features.
            ask: how alike and how large groups are.
            conversation: the conversation.
            emit: hears the progress of measuring base rates.
            familiar: whether the features' base rates on ordinary prompts can be measured.
            rows: the features' rows of the atlas, where they were read already.
        """
        from semascope.monitor.inspection import group_by_meaning

        ids = [share.id for share in shares]
        described, embed = self.feature_index.described(ids, rows)
        pictured = bool(conversation.sample.images)
        groups = group_by_meaning(
            shares,
            {feature: row.description for feature, row in described.items()},
            embed,
            ordinary=self.base_rates(pictured, emit) if described and familiar else None,
            similarity=ask.similarity,
            smallest=ask.smallest,
        )
        records = [cluster(n, group, described) for n, group in enumerate(groups)]
        return groups, records, "" if groups else NO_GROUP if described else NO_WORDS

    def base_rates(self, pictured: bool, emit: Emit) -> BaseRates | None:
        """How features fire on ordinary prompts of this kind; measured once per workspace."""
        if pictured not in self._base_rates:
            from semascope.monitor.base_rates import measured_base_rates, prompts

            def progress(done: int, total: int) -> bool:
                note = "how features fire on ordinary prompts"
                return emit(Progress(done=done, total=total, note=note))

            space, steerable = self.session.workspace, self.session.steerable
            rates = measured_base_rates(
                steerable,
                prompts(self._pictures() if pictured else ()),
                space.root / "ordinary",
                space.record().stages["gather"].hash,
                progress,
            )
            if rates is None:
                return None
            self._base_rates[pictured] = rates
        return self._base_rates[pictured]

    def _pictures(self) -> list[Any]:
        """The first pictures of the evidence, in the order of their hashes."""
        from PIL import Image

        folder = self.session.workspace.media
        files = sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".webp"))
        pictures = []
        for path in files[:PICTURES]:
            with Image.open(path) as image:
                pictures.append(image.convert("RGB"))
        return pictures


def _one_by_one(measured: Iterator[Effect], later: Later | None = None) -> NextStep:
    """A step that measures one effect and returns itself while there are more; at the end, the
    work that goes on without the model, if there is any."""

    def step(emit: Emit, /) -> More:
        one = next(measured, None)
        return later if one is None or emit(effect(one)) else NextStep(step, Rank.REST)

    return NextStep(step, Rank.REST)
