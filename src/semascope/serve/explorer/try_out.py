"""Features on your own text or picture, by example, and on the register's probes.

The model thread calls this; nothing here holds a tensor.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING

from semascope.atlas.records import split_id
from semascope.errors import NotThere
from semascope.serve.explorer import to_records
from semascope.serve.explorer.feature_index import Feature, FeatureIndex
from semascope.serve.explorer.model import ModelSession
from semascope.serve.schema.events import AlikeFound, AlikeRow, Emit, Progress, TestedFound, Tried
from semascope.serve.schema.register import TestedRecord
from semascope.serve.schema.requests import Example, ExamplesAsk, MeasureAsk, TryAsk

if TYPE_CHECKING:
    from semascope.causal.steering.steerable_model import SteerableModel
    from semascope.corpus.sample import Sample
    from semascope.monitor.safety_register import ProbeResult


class FeatureTrials:
    """Tries features on samples that are not of the run."""

    def __init__(self, session: ModelSession, feature_index: FeatureIndex) -> None:
        self.session = session
        self.feature_index = feature_index

    def attempt(self, ask: TryAsk, emit: Emit) -> None:
        """One feature's activations on a user's text or picture."""
        from semascope.causal.steering.units import statistic
        from semascope.monitor.try_out import feature_activations

        steerable, feature = self._feature(ask.feature)
        values, seen = feature_activations(steerable, self.session.example_sample(ask), feature)
        media = () if ask.picture is None else (ask.picture,)
        exemplar = to_records.uploaded(seen, media, values)
        largest = float(statistic(steerable.statistics, feature[0], "max")[feature[1]])
        emit(
            Tried(
                feature=ask.feature,
                peak=exemplar.peak,
                share=exemplar.peak / largest if largest > 0 else None,
                exemplar=exemplar,
            )
        )

    def examples(self, ask: ExamplesAsk, emit: Emit) -> None:
        """Features that the wanted examples have and the unwanted lack."""
        from semascope.evidence.analysis.by_example import PICTURE_QUESTION
        from semascope.pipeline.feature_search import responding_rows

        def samples(examples: Sequence[Example]) -> list[Sample]:
            asked = (e.model_copy(update={"text": e.text or PICTURE_QUESTION}) for e in examples)
            return [self.session.example_sample(e) for e in asked]

        ranked = responding_rows(
            self.session.run,
            self.feature_index.atlas,
            samples(ask.wanted),
            samples(ask.unwanted),
            self.session.dictionaries([row.key for row in self.feature_index.atlas.dictionaries()]),
            limit=ask.limit,
            images_only=not any(e.text for e in ask.wanted),
        )
        rows = [
            AlikeRow(
                row=to_records.feature(one.feature),
                score=one.response.contrast,
                wanted=one.response.like_mean,
                unwanted=one.response.unlike_mean,
            )
            for one in ranked
            if one.response.contrast > 0
        ]
        emit(AlikeFound(rows=rows))

    def measure(self, ask: MeasureAsk, emit: Emit) -> TestedRecord | None:
        """What a feature does to a concept's probes; None when the listener has gone."""
        from semascope.monitor.safety_register import measure_on_probes, register

        concept = register().concept(ask.concept)

        def progress(done: int, total: int) -> bool:
            return emit(Progress(done=done, total=total, note=f"probes of {concept.title.lower()}"))

        steerable, feature = self._feature(ask.feature)
        effect = measure_on_probes(
            steerable, feature, concept, strength=ask.strength, progress=progress
        )
        if effect is None:
            return None
        record = tested_record(effect)
        emit(TestedFound(concept=ask.concept, feature=ask.feature, tested=record))
        return record

    def _feature(self, feature_id: str) -> tuple[SteerableModel, Feature]:
        """A feature of any dictionary of the run, and the model with it. NotThere for others."""
        key, index = split_id(feature_id)
        steerable = self.session.steerable_on([key])
        width = steerable.dictionaries[key].width
        if index >= width:
            raise NotThere(f"No feature {index} in {key}: it has {width:,}, counted from 0.")
        return steerable, (key, index)


def tested_record(result: ProbeResult) -> TestedRecord:
    """A measured effect with the time of measuring."""
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    interval = result.effect
    return TestedRecord.of(
        result,
        effect=interval.value,
        low=interval.low,
        high=interval.high,
        probes=interval.n,
        when=now.isoformat(),
    )
