"""What runs the model: loads it once, in the thread that owns it, and tells events.

Called by the one model thread alone. It speaks to ``pipeline.context.Run``, ``causal.compare``
and ``Subject.generate`` and hands their tokens on; it holds no tensor.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from semascope.corpus.sample import Sample, Turn
from semascope.errors import ServeError
from semascope.serve.events import (
    Alternative,
    Answered,
    Compared,
    Emit,
    Explained,
    Gain,
    Reason,
    ShiftRecord,
    Side,
    Started,
    Token,
)
from semascope.serve.questions import Ask, ChatAsk, CompareAsk, WhyAsk
from semascope.subject.types import Edits, Generation, Kind, TokenChoice, TokenSink
from semascope.workspace import Workspace

if TYPE_CHECKING:
    from PIL import Image

    from semascope.causal import Comparison
    from semascope.causal.record import Attribution
    from semascope.pipeline.context import Run

PICTURED = (Kind.IMAGE, Kind.TILE, Kind.NEWLINE)
Picture = Callable[[str], "Image.Image"]


class Asker:
    """The model of a workspace, loaded when the first question comes."""

    def __init__(self, workspace: Workspace, picture: Picture) -> None:
        self.workspace = workspace
        self.picture = picture
        self._run: Run | None = None
        self._lock = threading.Lock()

    def why_not(self) -> str:
        """Why nothing can be asked here; empty where it can."""
        record = self.workspace.record()
        if not record.subject:
            return f"The workspace {self.workspace.root} holds no run yet."
        if "gather" not in record.stages or not record.stages["gather"].done:
            return "Steering needs the features' maxima: run semascope gather first."
        return ""

    @property
    def run(self) -> Run:
        """The run with its model, dictionary and evidence."""
        with self._lock:
            if self._run is None:
                from semascope.pipeline import recorded
                from semascope.pipeline.context import Run

                if why := self.why_not():
                    raise ServeError(why)
                self._run = Run(self.workspace, recorded(self.workspace))
            return self._run

    def sample(self, ask: Ask) -> Sample:
        """The question as the subject reads it."""
        images = () if ask.picture is None else (self.picture(ask.picture),)
        turns = [Turn("system", ask.system)] if ask.system else []
        turns.append(Turn("user", ask.question, images=len(images)))
        return Sample(id="asked", turns=tuple(turns), images=images)

    def compare(self, ask: CompareAsk, emit: Emit) -> None:
        """Both answers token by token, then what lies between them."""
        from semascope.causal import compare

        run = self.run
        teller = _Teller(emit)
        found = compare(
            run.subject,
            self.sample(ask),
            ask.interventions,
            [run.dictionary],
            {run.dictionary_id: run.evidence},
            max_new_tokens=ask.max_new_tokens,
            temperature=ask.temperature,
            seed=ask.seed,
            sinks=(teller.sink("before"), teller.sink("after")),
        )
        teller.done("before", found.base)
        teller.done("after", found.steered)
        emit(compared(found))

    def chat(self, ask: ChatAsk, emit: Emit) -> None:
        """One answer, token by token."""
        run = self.run
        teller = _Teller(emit)
        answer: Generation = run.subject.generate(
            self.conversation(ask),
            edits=self._edits(ask),
            max_new_tokens=ask.max_new_tokens,
            temperature=ask.temperature,
            seed=ask.seed,
            top=ask.top,
            sink=teller.sink("answer"),
            answer=ask.prefill,
        )
        teller.done("answer", answer)

    def why(self, ask: WhyAsk) -> Explained:
        """First-order attribution of a token's log-probability to the active features.

        The answer before it is given, by its ids, so the features of every earlier token count.
        """
        from semascope.causal.attribution import attribute
        from semascope.causal.metrics import Span

        run = self.run
        batch = run.subject.encode([self.conversation(ask)], max_tokens=None, answer=ask.prefill)
        metric = Span(tuple(ask.answer), start=len(ask.answer) - 1)
        found = attribute(run.subject, batch, [run.dictionary], metric, edits=self._edits(ask))
        shown = found.maps[0]
        given = [run.subject.tokenizer.decode([i]) for i in ask.answer[:-1]]
        return Explained(
            metric="logprob",
            value=float(found.values[0]),
            reasons=reasons(found, ask.limit),
            tokens=[
                "" if kind in PICTURED else text
                for text, kind in zip(shown.tokens, shown.kinds.tolist(), strict=True)
            ]
            + given,
            unexplained=found.sites[0].error_share(),
        )

    def conversation(self, ask: ChatAsk) -> Sample:
        """Turns with their pictures, as the subject reads them."""
        images = [self.picture(p) for message in ask.messages for p in message.pictures]
        turns = [Turn(m.role, m.text, images=len(m.pictures)) for m in ask.messages]
        return Sample(id="asked", turns=tuple(turns), images=tuple(images))

    def _edits(self, ask: ChatAsk) -> Edits:
        if not ask.interventions:
            return {}
        from semascope.causal import edits_for

        run = self.run
        return edits_for(ask.interventions, [run.dictionary], {run.dictionary_id: run.evidence})


class _Teller:
    """Turns generated tokens into events, and remembers when each side began and ended."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self._times: dict[Side, tuple[float, float]] = {}

    def sink(self, side: Side) -> TokenSink:
        """What hears one side's tokens."""

        def hear(choice: TokenChoice) -> bool:
            now = time.perf_counter()
            if side not in self._times:
                self.emit(Started(side=side))
                self._times[side] = (now, now)
            self._times[side] = (self._times[side][0], now)
            return self.emit(token(side, choice))

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
    )


def reasons(found: Attribution, limit: int) -> list[Reason]:
    """The features that count most, with the three positions where each counts most."""
    strongest = found.features()[:limit]
    places: dict[tuple[str, int], list[tuple[float, int]]] = {s.id: [] for s in strongest}
    for site in found.sites:
        entries = zip(
            site.feature.tolist(), site.position.tolist(), site.score.tolist(), strict=True
        )
        for feature, position, score in entries:
            if (site.key, feature) in places:
                places[site.key, feature].append((-abs(score), position))
    return [
        Reason(
            id=f"{share.key}/{share.index}",
            attribution=share.score,
            activation=share.peak,
            where=[position for _, position in sorted(places[share.id])[:3]],
        )
        for share in strongest
    ]


def compared(found: Comparison) -> Compared:
    """The distance between two answers as an event."""
    shifts = [
        ShiftRecord(
            text=s.text,
            before=s.before,
            after=s.after,
            kl=s.kl,
            promoted=[Gain(text=text, before=b, after=a) for _, text, b, a in s.promoted],
        )
        for s in found.shifts
    ]
    return Compared(kl=found.kl, logprob_shift=found.logprob_shift, shifts=shifts)
