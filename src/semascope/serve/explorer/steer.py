"""An answer beside the steered answer and a random control.

The model thread calls this. One conversation is answered three times: as it is, with the
interventions, and with the same interventions on random features matched in density and norm. Every
distance is measured on the tokens of the unchanged answer. Nothing here holds a tensor.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from semascope.causal.steering.interventions import Intervention
from semascope.serve.explorer.model import ModelSession
from semascope.serve.explorer.to_events import EventWriter, compared
from semascope.serve.queue.jobs import More
from semascope.serve.schema.answers import Side
from semascope.serve.schema.events import Emit
from semascope.serve.schema.requests import SteerAsk

if TYPE_CHECKING:
    from semascope.causal.steering.steerable_model import SteerableModel
    from semascope.corpus.sample import Sample
    from semascope.subject.types import Generation


class SteeredAnswers:
    """Answers one conversation with and without interventions."""

    def __init__(self, session: ModelSession, ask: SteerAsk, emit: Emit) -> None:
        self.session = session
        self.ask = ask
        self.emit = emit
        self.steerable: SteerableModel = session.steerable_for(ask.interventions)
        self.sample: Sample = session.conversation_sample(ask)
        self.writer = EventWriter(emit)

    def run(self) -> Generator[None, None, More]:
        """All three answers, one token per step. Conflicting interventions are refused first.

        Returns the work for idle time: the pass that clicks on the steered answer start from.
        """
        from semascope.monitor.conversation import check_ids

        self.steerable.edits(self.ask.interventions)
        check_ids(self.steerable.subject, self.ask.answer)
        base = list(self.ask.answer)
        if not base:
            answer = yield from self._answer("before", [])
            base = [token.id for token in answer.tokens]
        changed = None
        if not self.writer.stopped:
            changed = yield from self._beside("after", base, self.ask.interventions, [])
        if self.ask.control and not self.writer.stopped:
            from semascope.causal.steering.controls import controls

            others, notes = controls(self.steerable, self.ask.interventions, self.ask.control_seed)
            if others:
                yield from self._beside("control", base, others, notes)
        if changed is None or self.writer.stopped:
            return None
        return self.session.prepare_clicks(self.ask, changed)

    def _beside(
        self, side: Side, base: list[int], interventions: Sequence[Intervention], notes: list[str]
    ) -> Generator[None, None, Generation | None]:
        from semascope.causal.steering.compare import token_shifts

        answer = yield from self._answer(side, interventions)
        if self.writer.stopped:
            return None
        shifts = token_shifts(
            self.steerable.subject,
            self.sample,
            base,
            self.steerable.edits(interventions),
            prefill=self.ask.prefill,
        )
        unmoved = interventions and all(s.kl == 0 and s.after == s.before for s in shifts)
        if unmoved and any(not one.is_identity for one in interventions):
            notes = [*notes, "Nothing changed: these features do not fire at these tokens."]
        changed = [token.id for token in answer.tokens] != base
        share = self.session.share_of(interventions)
        self.emit(compared(shifts, side=side, changed=changed, share=share, notes=notes))
        return answer

    def _answer(
        self, side: Side, interventions: Sequence[Intervention]
    ) -> Generator[None, None, Generation]:
        answer: Generation = yield from self.steerable.subject.answering(
            self.sample,
            edits=self.steerable.edits(interventions),
            max_new_tokens=self.ask.max_new_tokens,
            temperature=self.ask.temperature,
            seed=self.ask.seed,
            top=self.ask.top,
            sink=self.writer.sink(side),
            answer=self.ask.prefill,
        )
        self.writer.done(side, answer)
        return answer
