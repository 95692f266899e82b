"""The model of a workspace: loads it once, turns questions into samples, answers and compares.

Only the model thread calls this. It stands on ``api.run.OpenRun``, ``causal.compare`` and
``Subject.generate`` and passes their tokens on; it holds no tensor. ``TokenExplainer`` explains
answers, ``SteeredAnswers`` steers them, and ``FeatureTrials`` tries features out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semascope.corpus.sample import Sample, Turn
from semascope.errors import NotThere, ServeError, TooLong
from semascope.serve.explorer.to_events import EventWriter, compared
from semascope.serve.queue.jobs import BackgroundWork, More
from semascope.serve.schema.answers import Side
from semascope.serve.schema.events import Emit
from semascope.serve.schema.requests import (
    HERE,
    Ask,
    ChatAsk,
    CompareAsk,
    Example,
    FollowedAsk,
    Message,
)
from semascope.subject.types import Generation
from semascope.workspace import Workspace

if TYPE_CHECKING:
    from PIL import Image

    from semascope.api.run import OpenRun
    from semascope.causal.attribution.pass_cache import PassCache
    from semascope.causal.steering.interventions import Intervention
    from semascope.causal.steering.steerable_model import SteerableModel
    from semascope.dictionary.types import Dictionary
    from semascope.evidence import Evidence
    from semascope.monitor.conversation import Conversation
    from semascope.pipeline.run_context import Run
    from semascope.subject import Subject

PICTURE = 3_000
"""Most tokens that a picture may take: a guess."""
Picture = Callable[[str], "Image.Image"]


class ModelSession:
    """The model of a workspace, loaded when the first question comes."""

    def __init__(self, workspace: Workspace, picture: Picture) -> None:
        self.workspace = workspace
        self.picture = picture
        self._open: OpenRun | None = None
        self._others: dict[str, Dictionary] = {}
        self._gathered: dict[str, Evidence] = {}
        self._lock = threading.Lock()

    def why_not(self) -> str:
        """Why the model cannot be asked; empty where it can."""
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
        """Whether the model is loaded."""
        return self._open is not None and "subject" in vars(self._open.pipeline)

    @cached_property
    def pass_cache(self) -> PassCache:
        """Forward passes that clicks start from, for the run's own dictionary."""
        from semascope.causal.attribution.pass_cache import PassCache

        return PassCache()

    @property
    def run(self) -> Run:
        """The run with its model, dictionary and evidence. ServeError where it cannot be asked."""
        with self._lock:
            if self._open is None:
                from semascope.api.run import OpenRun
                from semascope.pipeline import recorded

                if why := self.why_not():
                    raise ServeError(why)
                device = recorded(self.workspace).train.device
                self._open = OpenRun.of_workspace(self.workspace, device)
            return self._open.pipeline

    @property
    def steerable(self) -> SteerableModel:
        """The model with the run's dictionary, whose features explain answers."""
        return self.steerable_on([self.run.dictionary_id])

    def steerable_on(self, keys: Iterable[str]) -> SteerableModel:
        """The model with these dictionaries, and the statistics of those that were gathered.

        Raises NotThere where the workspace has no weights of one.
        """
        from semascope.causal.steering.steerable_model import SteerableModel

        run, wanted = self.run, list(dict.fromkeys(keys))
        dictionaries = {key: self._dictionary(run, key) for key in wanted}
        gathered = {key: self._evidence(run, key) for key in wanted}
        statistics = {key: evidence for key, evidence in gathered.items() if evidence is not None}
        return SteerableModel(run.same_subject, dictionaries, statistics)

    def steerable_for(self, interventions: Sequence[Intervention]) -> SteerableModel:
        """The model with the run's dictionary and every other that interventions name.

        Raises NotThere where the workspace has no weights of one.
        """
        from semascope.causal.steering.borrowed_directions import home_key

        named = [home_key(key) for one in interventions for key, _ in one.features]
        return self.steerable_on([self.run.dictionary_id, *named]) if named else self.steerable

    def share_of(self, interventions: Sequence[Intervention]) -> float:
        """How many features interventions change, as a share of their dictionaries' features."""
        from semascope.causal.steering.borrowed_directions import home_key

        changed = {feature for one in interventions for feature in one.features}
        keys = sorted({home_key(key) for key, _ in changed})
        return len(changed) / sum(dictionary.width for dictionary in self.dictionaries(keys))

    def dictionaries(self, keys: Sequence[str]) -> list[Dictionary]:
        """Those of ``keys`` whose weights are in the workspace; imported features have none."""
        run, trained = self.run, self.trained()
        return [self._dictionary(run, key) for key in keys if key in trained]

    def trained(self) -> dict[str, Path]:
        """Folder of each dictionary whose weights are in the workspace, by ``site/name``."""
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

            trained = self.trained()
            if key not in trained:
                names = ", ".join(sorted(trained)) or "none"
                raise NotThere(f"There is no dictionary {key!r} here. Dictionaries: {names}.")
            dictionary = load(trained[key])
            dictionary.name = key.rpartition("/")[2]  # its folder's: a copy is another dictionary
            self._others[key] = dictionary
        return self._others[key]

    def _evidence(self, run: Run, key: str) -> Evidence | None:
        """A dictionary's evidence, opened once; None where none was gathered."""
        if key == run.dictionary_id:
            return run.evidence
        if key not in self._gathered:
            from semascope.evidence import Evidence
            from semascope.evidence.store.evidence import dictionaries

            folder = self.workspace.evidence()
            if key not in dictionaries(folder):
                return None
            self._gathered[key] = Evidence.open(folder, key)
        return self._gathered[key]

    # -- samples ---------------------------------------------------------------------------

    def question_sample(self, ask: Ask) -> Sample:
        """A single question as the model reads it."""
        images = () if ask.picture is None else (self.picture(ask.picture),)
        turns = [Turn("system", ask.system)] if ask.system else []
        turns.append(Turn("user", ask.question, images=len(images)))
        return Sample(id="asked", turns=tuple(turns), images=images)

    def conversation_sample(self, ask: ChatAsk) -> Sample:
        """A conversation with its pictures as the model reads it; plain text as a document."""
        if ask.plain:
            return Sample(id="asked", text=ask.messages[0].text)
        images = [self.picture(p) for message in ask.messages for p in message.pictures]
        turns = [turn(message) for message in ask.messages]
        return Sample(id="asked", turns=tuple(turns), images=tuple(images))

    def example_sample(self, ask: Example) -> Sample:
        """An example as the model reads it: text alone as a document, a picture as a turn."""
        if ask.picture is None:
            return Sample(id="yours", text=ask.text)
        turn = Turn("user", ask.text, images=1)
        return Sample(id="yours", turns=(turn,), images=(self.picture(ask.picture),))

    def conversation(
        self, ask: FollowedAsk, steerable: SteerableModel | None = None
    ) -> Conversation:
        """A conversation and its answer so far, as attribution takes it."""
        from semascope.monitor.conversation import Conversation

        return Conversation(
            steerable=steerable or self.steerable,
            sample=self.conversation_sample(ask),
            prefill=ask.prefill,
            answer=tuple(ask.answer),
            interventions=tuple(ask.interventions),
            pass_cache=self.pass_cache if steerable is None else None,
            editable=self.steerable_for(ask.interventions) if ask.interventions else None,
        )

    def check_length(self, subject: Subject, sample: Sample) -> None:
        """Raise TooLong where the prompt does not fit into the model's context.

        Prompts that are short by far are not tokenized.
        """
        context = context_of(subject.model)
        letters = len(sample.text) + sum(len(turn.text) for turn in sample.turns)
        if not context or letters + PICTURE * len(sample.images) < context:
            return
        tokens = int(subject.encode([sample], max_tokens=None, answer="").mask.sum())
        if tokens >= context:
            raise TooLong(
                f"The prompt has {tokens:,} tokens, and the model reads {context:,} with its "
                "answer: shorten it."
            )

    # -- answers ---------------------------------------------------------------------------

    def compare(self, ask: CompareAsk, emit: Emit) -> None:
        """Answer twice, token by token, then tell how far the answers are apart."""
        steerable = self.steerable_for(ask.interventions)
        writer = EventWriter(emit)
        result = steerable.compare(
            self.question_sample(ask),
            ask.interventions,
            max_new_tokens=ask.max_new_tokens,
            temperature=ask.temperature,
            seed=ask.seed,
            sinks=(writer.sink("before"), writer.sink("after")),
        )
        writer.done("before", result.base)
        writer.done("after", result.steered)
        emit(compared(result.shifts, changed=result.changed, notes=result.notes))

    def chat(self, ask: ChatAsk, emit: Emit) -> Generator[None, None, More]:
        """One answer, one token per step; then the pass that clicks on it start from."""
        writer = EventWriter(emit)
        answer = yield from self.answer(ask, writer, "answer")
        return None if writer.stopped else self.prepare_clicks(ask, answer)

    def prepare_clicks(self, ask: ChatAsk, answer: Generation) -> BackgroundWork:
        """Work for idle time: the forward pass that clicks on an answer start from."""
        fields = {name: getattr(ask, name) for name in ChatAsk.model_fields}
        followed = FollowedAsk(**fields, answer=[token.id for token in answer.tokens])
        return BackgroundWork(lambda: self.conversation(followed).cached_pass())

    def answer(
        self, ask: ChatAsk, writer: EventWriter, side: Side
    ) -> Generator[None, None, Generation]:
        """Generate one side's answer, one token per step, and write each token as an event."""
        sample, steerable = self.conversation_sample(ask), self.steerable_for(ask.interventions)
        self.check_length(steerable.subject, sample)
        answer: Generation = yield from steerable.subject.answering(
            sample,
            edits=steerable.edits(ask.interventions),
            max_new_tokens=ask.max_new_tokens,
            temperature=ask.temperature,
            seed=ask.seed,
            top=ask.top,
            sink=writer.sink(side),
            answer=ask.prefill,
            top_p=ask.top_p,
        )
        writer.done(side, answer)
        return answer


def turn(message: Message) -> Turn:
    """A message as a turn, its pictures where U+FFFC marks them, else before its text."""
    pieces = message.text.split(HERE)
    if not message.pictures or len(pieces) != len(message.pictures) + 1:
        return Turn(message.role, message.text, images=len(message.pictures))
    at = tuple(accumulate(len(piece) for piece in pieces[:-1]))
    return Turn(message.role, "".join(pieces), images=len(message.pictures), at=at)


def context_of(model: Any) -> int:
    """Tokens in a model's context; 0 where its configuration does not say."""
    config = model.config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return int(getattr(text, "max_position_embeddings", 0) or 0)
