"""What holds the model: loads it once, turns questions into samples, answers and compares.

Called by the one model thread alone. It speaks to ``pipeline.context.Run``, ``causal.compare`` and
``Subject.generate`` and hands their tokens on; it holds no tensor. What looks behind an answer is
``behind``, what steers it ``steering``, what tries features out ``trials``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semascope.corpus.sample import Sample, Turn
from semascope.errors import NotThere, ServeError, TooLong
from semascope.serve.explorer.to_events import EventWriter, compared
from semascope.serve.queue.jobs import BackgroundWork, More
from semascope.serve.schema.events import Emit, Side
from semascope.serve.schema.requests import (
    HERE,
    Ask,
    ChatAsk,
    CompareAsk,
    Example,
    FollowedAsk,
    Message,
    TryAsk,
)
from semascope.subject.types import Generation
from semascope.workspace import Workspace

if TYPE_CHECKING:
    from PIL import Image

    from semascope.causal.attribution.pass_cache import PassCache
    from semascope.causal.steering.steerable_model import SteerableModel
    from semascope.dictionary.types import Dictionary
    from semascope.monitor.conversation import Conversation
    from semascope.pipeline.run_context import Run

PICTURE = 3_000
"""Tokens that a picture may take, for a guess."""
Picture = Callable[[str], "Image.Image"]


class ModelSession:
    """The model of a workspace, loaded when the first question comes."""

    def __init__(self, workspace: Workspace, picture: Picture) -> None:
        self.workspace = workspace
        self.picture = picture
        self._run: Run | None = None
        self._others: dict[str, Dictionary] = {}
        self._lock = threading.Lock()

    def why_not(self) -> str:
        """Why nothing can be asked here; empty where it can."""
        record = self.workspace.record()
        if not record.subject:
            if self.workspace.atlas.is_file():
                return "This workspace holds imported features alone: it has no model to ask."
            return f"The workspace {self.workspace.root} holds no run yet."
        if "gather" not in record.stages or not record.stages["gather"].done:
            return "Steering needs the features' maxima: run semascope gather first."
        return ""

    @property
    def loaded(self) -> bool:
        """Whether the model is there already."""
        return self._run is not None and "subject" in vars(self._run)

    @cached_property
    def holder(self) -> PassCache:
        """Passes that clicks on the run's own dictionary begin with."""
        from semascope.causal.attribution.pass_cache import PassCache

        return PassCache()

    @property
    def run(self) -> Run:
        """The run with its model, dictionary and evidence."""
        with self._lock:
            if self._run is None:
                from semascope.pipeline import recorded
                from semascope.pipeline.run_context import Run

                if why := self.why_not():
                    raise ServeError(why)
                self._run = Run(self.workspace, recorded(self.workspace))
            return self._run

    @property
    def steerable(self) -> SteerableModel:
        """The subject with its dictionary and the dictionary's statistics."""
        from semascope.causal.steering.steerable_model import SteerableModel

        run = self.run
        return SteerableModel.of(
            run.same_subject, [run.dictionary], {run.dictionary_id: run.evidence}
        )

    def steerable_on(self, keys: Sequence[str]) -> SteerableModel:
        """The same over other dictionaries of the workspace; NotThere where one is not here."""
        from semascope.causal.steering.steerable_model import SteerableModel

        run = self.run
        found = {key: self._dictionary(run, key) for key in keys}
        return SteerableModel(run.same_subject, found, {run.dictionary_id: run.evidence})

    def dictionaries(self, keys: Sequence[str]) -> list[Dictionary]:
        """Those of ``keys`` whose weights are in the workspace; imported features have none."""
        run, known = self.run, self._folders()
        return [self._dictionary(run, key) for key in keys if key in known]

    def _folders(self) -> dict[str, Path]:
        """Folder of each trained dictionary by ``site/name``."""
        return {
            f"{path.parent.parent.name}/{path.parent.name}": path.parent
            for path in (self.workspace.root / "dictionaries").glob("*/*/cfg.json")
        }

    def _dictionary(self, run: Run, key: str) -> Dictionary:
        if key == run.dictionary_id:
            own: Dictionary = run.dictionary
            return own
        if key not in self._others:
            from semascope.dictionary import load

            known = self._folders()
            if key not in known:
                names = ", ".join(sorted(known)) or "none"
                raise NotThere(f"There is no dictionary {key!r} here; there are {names}.")
            self._others[key] = load(known[key])
            self._others[key].name = key.rpartition("/")[2]  # its folder's: a copy is another
        return self._others[key]

    # -- samples ---------------------------------------------------------------------------

    def sample(self, ask: Ask) -> Sample:
        """The question as the subject reads it."""
        images = () if ask.picture is None else (self.picture(ask.picture),)
        turns = [Turn("system", ask.system)] if ask.system else []
        turns.append(Turn("user", ask.question, images=len(images)))
        return Sample(id="asked", turns=tuple(turns), images=images)

    def conversation(self, ask: ChatAsk) -> Sample:
        """Turns with their pictures, as the subject reads them; a plain text as a document."""
        if ask.plain:
            return Sample(id="asked", text=ask.messages[0].text)
        images = [self.picture(p) for message in ask.messages for p in message.pictures]
        turns = [turn(message) for message in ask.messages]
        return Sample(id="asked", turns=tuple(turns), images=tuple(images))

    def example(self, ask: TryAsk | Example) -> Sample:
        """A text alone as a document, a picture as what a person shows."""
        if ask.picture is None:
            return Sample(id="yours", text=ask.text)
        turn = Turn("user", ask.text, images=1)
        return Sample(id="yours", turns=(turn,), images=(self.picture(ask.picture),))

    def asked(self, ask: FollowedAsk, steerable: SteerableModel | None = None) -> Conversation:
        """A conversation with what followed it, for those who look behind it."""
        from semascope.monitor.conversation import Conversation

        return Conversation(
            steerable=steerable or self.steerable,
            sample=self.conversation(ask),
            prefill=ask.prefill,
            answer=tuple(ask.answer),
            interventions=tuple(ask.interventions),
            holder=self.holder if steerable is None else None,
        )

    def check_length(self, subject: Any, sample: Sample) -> None:
        """TooLong where the model cannot read all of a question. Most are short by far."""
        context = context_of(subject.model)
        letters = len(sample.text) + sum(len(turn.text) for turn in sample.turns)
        if not context or letters + PICTURE * len(sample.images) < context:
            return
        tokens = int(subject.encode([sample], max_tokens=None, answer="").mask.sum())
        if tokens >= context:
            raise TooLong(
                f"The prompt has {tokens:,} tokens, and the model reads {context:,} with its "
                "answer: say less."
            )

    # -- answers ---------------------------------------------------------------------------

    def compare(self, ask: CompareAsk, emit: Emit) -> None:
        """Both answers token by token, then what lies between them."""
        from semascope.causal import compare

        steerable = self.steerable
        teller = EventWriter(emit)
        found = compare(
            steerable.subject,
            self.sample(ask),
            ask.interventions,
            steerable.dictionaries,
            steerable.statistics,
            max_new_tokens=ask.max_new_tokens,
            temperature=ask.temperature,
            seed=ask.seed,
            sinks=(teller.sink("before"), teller.sink("after")),
        )
        teller.done("before", found.base)
        teller.done("after", found.steered)
        emit(compared(found.shifts, changed=found.changed, notes=found.notes))

    def chat(self, ask: ChatAsk, emit: Emit) -> Generator[None, None, More]:
        """One answer, a token a step; the pass that clicks on it begin with is left aside."""
        teller = EventWriter(emit)
        answer = yield from self.answer(ask, self.steerable, teller, "answer")
        return None if teller.stopped else self.ready(ask, answer)

    def ready(self, ask: ChatAsk, answer: Generation) -> BackgroundWork:
        """What makes an answer ready to be asked about, when there is time."""
        said = {name: getattr(ask, name) for name in ChatAsk.model_fields}
        followed = FollowedAsk(**said, answer=[token.id for token in answer.tokens])
        return BackgroundWork(lambda: self.asked(followed).held())

    def answer(
        self, ask: ChatAsk, steerable: SteerableModel, teller: EventWriter, side: Side
    ) -> Generator[None, None, Generation]:
        """Let the model of a steerable answer, and tell every token as one side's, one a step."""
        sample = self.conversation(ask)
        self.check_length(steerable.subject, sample)
        answer: Generation = yield from steerable.subject.answering(
            sample,
            edits=steerable.edits(ask.interventions),
            max_new_tokens=ask.max_new_tokens,
            temperature=ask.temperature,
            seed=ask.seed,
            top=ask.top,
            sink=teller.sink(side),
            answer=ask.prefill,
            top_p=ask.top_p,
        )
        teller.done(side, answer)
        return answer


def turn(message: Message) -> Turn:
    """A message as a turn, with its pictures where they are marked, else before its text."""
    pieces = message.text.split(HERE)
    if not message.pictures or len(pieces) != len(message.pictures) + 1:
        return Turn(message.role, message.text, images=len(message.pictures))
    at = tuple(accumulate(len(piece) for piece in pieces[:-1]))
    return Turn(message.role, "".join(pieces), images=len(message.pictures), at=at)


def context_of(model: Any) -> int:
    """How many tokens a model reads; 0 where its configuration does not say."""
    config = model.config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return int(getattr(text, "max_position_embeddings", 0) or 0)
