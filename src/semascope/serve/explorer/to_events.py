"""Events that travel, built from what the rooms below return: tokens, reasons, distances.

Runs nothing and holds no tensor.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from semascope.causal.attribution.feature_share import FeatureShare
from semascope.causal.attribution.metrics import telling
from semascope.causal.steering.compare import Shift
from semascope.causal.steering.interventions import dump
from semascope.monitor.clusters import Cluster
from semascope.monitor.inspection import Effect
from semascope.serve.schema.answers import Answered, Compared, ShiftRecord, Side, Started, Token
from semascope.serve.schema.events import Emit
from semascope.serve.schema.explanations import (
    ClusterRecord,
    EffectRecord,
    Member,
    Reason,
    Target,
)
from semascope.subject.types import Generation, TokenChoice, TokenSink

if TYPE_CHECKING:
    from semascope.atlas.records import FeatureListRow
    from semascope.monitor.conversation import Conversation, TokenTarget

Feature = tuple[str, int]


class EventWriter:
    """Turns generated tokens into events, and remembers when each side began and ended."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.stopped = False
        """Whether the listener has gone."""
        self._times: dict[Side, tuple[float, float]] = {}

    def sink(self, side: Side) -> TokenSink:
        """A sink for one side's tokens."""

        def hear(choice: TokenChoice) -> bool:
            now = time.perf_counter()
            if side not in self._times:
                self.emit(Started(side=side))
                self._times[side] = (now, now)
            self._times[side] = (self._times[side][0], now)
            token = Token.of(choice, kind="token", side=side, tells=telling(choice.text))
            self.stopped = self.emit(token) or self.stopped
            return self.stopped

        return hear

    def done(self, side: Side, answer: Generation) -> None:
        """One side is finished."""
        begun, ended = self._times.get(side, (0.0, 0.0))
        seconds = round(ended - begun, 3)
        self.emit(Answered.of(answer, kind="answered", side=side, seconds=seconds))


def reasons(
    shares: Sequence[FeatureShare],
    *,
    places: Mapping[Feature, Sequence[int]],
    ratios: Mapping[Feature, float],
    rows: Mapping[Feature, FeatureListRow],
    active: bool = False,
) -> list[Reason]:
    """Features with their words: what they contribute or, with ``active``, that they fire."""
    out = []
    for share in shares:
        row = rows.get(share.id)
        out.append(
            Reason(
                id=f"{share.key}/{share.index}",
                label=row.label if row else "",
                category=row.category if row else "",
                attribution=0.0 if active else share.score,
                activation=share.peak,
                share=ratios.get(share.id),
                where=list(places.get(share.id, ())),
            )
        )
    return out


def target(conversation: Conversation, token: TokenTarget, probability: float) -> Target:
    """The token that is explained."""
    text = str(conversation.steerable.subject.encoder.text(token.token))
    return Target(id=token.token, text=text, position=token.position, probability=probability)


def cluster(place: int, group: Cluster, rows: Mapping[Feature, FeatureListRow]) -> ClusterRecord:
    """A group of features; ``rows`` hold their words."""
    members = [
        Member(
            id=f"{share.key}/{share.index}",
            label=rows[share.id].label,
            description=description,
            score=share.score,
        )
        for share, description in zip(group.features, group.descriptions, strict=True)
    ]
    suppress = dump([group.suppress()])[0]
    return ClusterRecord.of(group, number=place, features=members, suppress=suppress)


def effect(measured: Effect) -> EffectRecord:
    """A measured effect."""
    record = EffectRecord.of(measured, kind="effect")
    if measured.before is None or measured.after is None:
        return record
    return record.model_copy(update={"effect": measured.after - measured.before})


def compared(
    shifts: Sequence[Shift],
    *,
    side: Side = "after",
    changed: bool,
    share: float = 0.0,
    notes: Sequence[str] = (),
) -> Compared:
    """The distance between two answers, measured on the unchanged one's tokens."""
    return Compared(
        side=side,
        changed=changed,
        kl=sum(s.kl for s in shifts) / len(shifts) if shifts else 0.0,
        logprob_shift=sum(s.after - s.before for s in shifts),
        shifts=[ShiftRecord.of(shift) for shift in shifts],
        share=share,
        notes=list(notes),
    )
