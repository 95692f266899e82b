"""From what the rooms below return to the events that travel: tokens, reasons, distances.

Knows records on both sides; runs nothing and holds no tensor.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from semascope.causal.attribution.metrics import telling
from semascope.causal.attribution.result import FeatureShare
from semascope.causal.steering.compare import Shift
from semascope.causal.steering.interventions import dump
from semascope.monitor.clusters import Cluster
from semascope.monitor.conversation import ConversationToken
from semascope.monitor.inspection import Effect
from semascope.serve.explorer.to_records import number
from semascope.serve.schema.events import (
    Alternative,
    Answered,
    ClusterRecord,
    Compared,
    EffectRecord,
    Emit,
    Gain,
    Member,
    ReadRecord,
    Reason,
    ShiftRecord,
    Side,
    Started,
    Token,
)
from semascope.subject.types import Generation, TokenChoice, TokenSink

if TYPE_CHECKING:
    from semascope.atlas.records import FeatureListRow

Feature = tuple[str, int]


class EventWriter:
    """Turns generated tokens into events, and remembers when each side began and ended."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.stopped = False
        """Whether the listener has gone."""
        self._times: dict[Side, tuple[float, float]] = {}

    def sink(self, side: Side) -> TokenSink:
        """What hears one side's tokens."""

        def hear(choice: TokenChoice) -> bool:
            now = time.perf_counter()
            if side not in self._times:
                self.emit(Started(side=side))
                self._times[side] = (now, now)
            self._times[side] = (self._times[side][0], now)
            self.stopped = self.emit(token(side, choice)) or self.stopped
            return self.stopped

        return hear

    def done(self, side: Side, answer: Generation) -> None:
        """One side is finished."""
        begun, ended = self._times.get(side, (0.0, 0.0))
        self.emit(
            Answered(
                side=side,
                text=answer.text,
                stopped=answer.stopped,
                prompt_tokens=answer.prompt_tokens,
                seconds=round(ended - begun, 3),
            )
        )


def token(side: Side, choice: TokenChoice) -> Token:
    """One generated token as an event."""
    return Token(
        side=side,
        id=choice.id,
        text=choice.text,
        logprob=choice.logprob,
        top=[Alternative(id=i, text=text, logprob=p) for i, text, p in choice.top],
        entropy=choice.entropy,
        ends=choice.ends,
        tells=telling(choice.text),
    )


def read_record(found: ConversationToken) -> ReadRecord:
    """One token of a prompt."""
    return ReadRecord(
        id=found.id,
        text=found.text,
        kind=found.kind,
        role=found.role,
        logprob=number(found.logprob),
        entropy=number(found.entropy),
        top=[Alternative(id=i, text=text, logprob=p) for i, text, p in found.top],
        image=found.image,
        rect=found.rect,
    )


def reasons(
    shares: Sequence[FeatureShare],
    *,
    places: Mapping[Feature, Sequence[int]],
    ratios: Mapping[Feature, float],
    rows: Mapping[Feature, FeatureListRow],
    active: bool = False,
) -> list[Reason]:
    """Features that count, with their words; with ``active``, those that fire."""
    told = []
    for share in shares:
        row = rows.get(share.id)
        told.append(
            Reason(
                id=f"{share.key}/{share.index}",
                label=(row.label or "") if row else "",
                category=(row.category or "") if row else "",
                attribution=0.0 if active else share.score,
                activation=share.peak,
                share=number(ratios.get(share.id)),
                where=list(places.get(share.id, ())),
            )
        )
    return told


def cluster(place: int, found: Cluster, rows: Mapping[Feature, FeatureListRow]) -> ClusterRecord:
    """A group of features; ``rows`` hold their words."""
    return ClusterRecord(
        number=place,
        label=found.label,
        coherence=found.coherence,
        surprise=number(found.surprise),
        score=found.score,
        features=[
            Member(
                id=f"{share.key}/{share.index}",
                label=rows[share.id].label or "",
                description=words,
                score=share.score,
            )
            for share, words in zip(found.features, found.descriptions, strict=True)
        ],
        suppress=dump([found.suppress()])[0],
    )


def effect(found: Effect) -> EffectRecord:
    """A measured effect."""
    known = found.before is not None and found.after is not None
    return EffectRecord(
        cluster=found.cluster,
        before=number(found.before),
        after=number(found.after),
        effect=(found.after or 0.0) - (found.before or 0.0) if known else None,
        note=found.note,
    )


def compared(
    shifts: Sequence[Shift],
    *,
    side: Side = "after",
    changed: bool,
    share: float = 0.0,
    notes: Sequence[str] = (),
) -> Compared:
    """The distance between two answers, measured on the unchanged one's tokens."""
    told = [
        ShiftRecord(
            text=s.text,
            before=s.before,
            after=s.after,
            kl=s.kl,
            promoted=[Gain(text=text, before=b, after=a) for _, text, b, a in s.promoted],
        )
        for s in shifts
    ]
    return Compared(
        side=side,
        changed=changed,
        kl=sum(s.kl for s in shifts) / len(shifts) if shifts else 0.0,
        logprob_shift=sum(s.after - s.before for s in shifts),
        shifts=told,
        share=share,
        notes=list(notes),
    )
