"""The answer beside the answer, and both beside chance.

Called by the model thread. Three runs of one conversation: as it is, with the interventions, and
with the same interventions on matched random features; every distance is measured on the unchanged
answer's tokens. Holds no tensor.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from semascope.causal.steering.interventions import Intervention
from semascope.serve.explorer.model import ModelSession
from semascope.serve.explorer.to_events import EventWriter, compared
from semascope.serve.queue.jobs import More
from semascope.serve.schema.events import Emit, Side
from semascope.serve.schema.requests import SteerAsk

if TYPE_CHECKING:
    from semascope.causal.steering.steerable_model import SteerableModel
    from semascope.corpus.sample import Sample
    from semascope.subject.types import Generation


class SteeredAnswers:
    """Steers one conversation."""

    def __init__(self, asker: ModelSession, ask: SteerAsk, emit: Emit) -> None:
        self.asker = asker
        self.ask = ask
        self.emit = emit
        self.steerable: SteerableModel = asker.steerable
        self.sample: Sample = asker.conversation(ask)
        self.teller = EventWriter(emit)

    def run(self) -> Generator[None, None, More]:
        """All three, told as they come, a token a step; a conflict is raised before any. The
        changed answer's pass is left aside, as clicks go there next."""
        from semascope.monitor.conversation import check_ids

        self.steerable.edits(self.ask.interventions)
        check_ids(self.steerable.subject, self.ask.answer)
        base = list(self.ask.answer)
        if not base:
            answer = yield from self._answer("before", [])
            base = [token.id for token in answer.tokens]
        changed = None
        if not self.teller.stopped:
            changed = yield from self._beside("after", base, self.ask.interventions, [])
        if self.ask.control and not self.teller.stopped:
            from semascope.monitor.controls import controls

            others, notes = controls(self.steerable, self.ask.interventions, self.ask.control_seed)
            if others:
                yield from self._beside("control", base, others, notes)
        if changed is None or self.teller.stopped:
            return None
        return self.asker.ready(self.ask, changed)

    def _beside(
        self, side: Side, base: list[int], wishes: Sequence[Intervention], notes: list[str]
    ) -> Generator[None, None, Generation | None]:
        from semascope.causal.steering.compare import token_shifts

        answer = yield from self._answer(side, wishes)
        if self.teller.stopped:
            return None
        shifts = token_shifts(
            self.steerable.subject,
            self.sample,
            base,
            self.steerable.edits(wishes),
            prefill=self.ask.prefill,
        )
        still = wishes and all(s.kl == 0 and s.after == s.before for s in shifts)
        if still and any(not wish.is_identity for wish in wishes):
            notes = [*notes, "Nothing moved: these features do not fire at these tokens."]
        changed = [token.id for token in answer.tokens] != base
        share = self.share(wishes)
        self.emit(compared(shifts, side=side, changed=changed, share=share, notes=notes))
        return answer

    def _answer(
        self, side: Side, wishes: Sequence[Intervention]
    ) -> Generator[None, None, Generation]:
        answer: Generation = yield from self.steerable.subject.answering(
            self.sample,
            edits=self.steerable.edits(wishes),
            max_new_tokens=self.ask.max_new_tokens,
            temperature=self.ask.temperature,
            seed=self.ask.seed,
            top=self.ask.top,
            sink=self.teller.sink(side),
            answer=self.ask.prefill,
        )
        self.teller.done(side, answer)
        return answer

    def share(self, wishes: Sequence[Intervention]) -> float:
        """Part of all features that the interventions hold."""
        held = {feature for wish in wishes for feature in wish.features}
        return len(held) / sum(d.width for d in self.steerable.dictionaries.values())
