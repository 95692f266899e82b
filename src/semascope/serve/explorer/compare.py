"""One prompt through two dictionaries of a model, or through two models.

The model thread calls this. A ``ComparedModel`` is a model with the words of its features: the
first of the workspace that is served, the others of workspaces that were named beside it. Nothing
here holds a tensor.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semascope.atlas import Atlas
from semascope.errors import NotThere, ServeError
from semascope.serve.explorer.feature_index import FeatureIndex
from semascope.serve.explorer.model import ModelSession
from semascope.serve.explorer.to_events import EventWriter, reasons, target
from semascope.serve.explorer.why import TokenExplainer
from semascope.serve.schema.answers import Side
from semascope.serve.schema.events import Emit, Pair, VersusFound, VersusSide
from semascope.serve.schema.explanations import ClusterRecord
from semascope.serve.schema.requests import VersusAsk
from semascope.serve.schema.responses import ModelInfo
from semascope.workspace import Workspace

if TYPE_CHECKING:
    from semascope.monitor import try_out
    from semascope.monitor.conversation import Conversation

SIDES: tuple[Side, Side] = ("one", "other")


@dataclass(frozen=True, slots=True)
class ComparedModel:
    """One model, what its features are called, and what explains its answers."""

    name: str
    session: ModelSession
    feature_index: FeatureIndex
    explainer: TokenExplainer


class SideBySide:
    """Compares two sides on one prompt."""

    def __init__(self, models: Sequence[ComparedModel], ask: VersusAsk, emit: Emit) -> None:
        self.ask = ask
        self.emit = emit
        known = {model.name: model for model in models} | {"": models[0]}
        for name in ask.models:
            if name not in known:
                names = ", ".join(model.name for model in models)
                raise NotThere(f"No model {name!r} is served here; there are {names}.")
        self.models = [known[name] for name in ask.models]
        self.same = self.models[0] is self.models[1]
        if self.same and len(set(ask.dictionaries)) < 2:
            raise ServeError("Two dictionaries are compared: name two different ones.")
        if not self.same and ask.answer:
            raise ServeError(
                "Two models may have different tokenizers, so one answer's token ids do not fit "
                "both: let each model write its answer, or give the answers of each."
            )

    def run(self) -> Generator[None, None, None]:
        """Answers as they are generated, one token per step, then both sides."""
        answers = yield from self._answers()
        if answers is None:
            return
        conversations = self._conversations(answers)
        if self.same:
            position = self._position(conversations[0], answers[0])
            self._tell_same(conversations[0], position)
            return
        from semascope.monitor.try_out import view_one

        sides = []
        for n, one in enumerate(conversations):
            view = view_one(one, self._most, self._position(one, answers[n]))
            sides.append(self._side(n, view, one))
        self.emit(VersusFound(value=sides[0].value, sides=sides))

    @property
    def _most(self) -> int:
        """Features looked at on each side."""
        return max(self.ask.limit, self.ask.features if self.ask.clusters else 0)

    def _conversations(self, answers: Sequence[Sequence[int]]) -> list[Conversation]:
        """The conversation with each side's dictionary; for one model, once with both."""
        first = self.models[0].session
        if self.same:
            ask = self.ask.model_copy(update={"answer": list(answers[0])})
            return [first.conversation(ask, first.steerable_on(self.ask.dictionaries))]
        return [
            model.session.conversation(
                self.ask.model_copy(update={"answer": list(answer)}),
                model.session.steerable_on([key]),
            )
            for model, answer, key in zip(self.models, answers, self.ask.dictionaries, strict=True)
        ]

    def _answers(self) -> Generator[None, None, list[list[int]] | None]:
        """Token ids of each side's answer; None when the listener has gone."""
        if self.ask.answers:
            return [self.ask.answers[0], self.ask.answers[-1]]
        if not self.ask.write:
            return [self.ask.answer, self.ask.answer]
        writer = EventWriter(self.emit)
        written: list[list[int]] = []
        for n in range(1 if self.same else 2):
            written.append((yield from self._write(n, writer)))
        return None if writer.stopped else [written[0], written[-1]]

    def _write(self, n: int, writer: EventWriter) -> Generator[None, None, list[int]]:
        if writer.stopped:
            return []
        answer = yield from self.models[n].session.answer(self.ask, writer, SIDES[n])
        return [token.id for token in answer.tokens]

    def _position(self, conversation: Conversation, answer: Sequence[int]) -> int | None:
        """Position of the token asked about; None for the answer's last or the next one."""
        if not answer or not (self.ask.write or self.ask.answers):
            return None
        return len(conversation.map) + min(self.ask.token, len(answer) - 1)

    def _tell_same(self, conversation: Conversation, position: int | None) -> None:
        from semascope.monitor.try_out import view_both

        both = view_both(conversation, self._most, position)
        self.emit(
            VersusFound(
                value=both.value,
                sides=[self._side(n, side, conversation) for n, side in enumerate(both.sides)],
                pairs=[
                    Pair(one=f"{a[0]}/{a[1]}", other=f"{b[0]}/{b[1]}", together=value)
                    for a, b, value in both.pairs
                ],
            )
        )

    def _side(self, n: int, side: try_out.DictionaryView, conversation: Conversation) -> VersusSide:
        model = self.models[n]
        indexed = side.key in {d.key for d in model.feature_index.atlas.dictionaries()}
        shown = side.shares[: self.ask.limit]
        rows = model.feature_index.rows(share.id for share in shown) if indexed else {}
        clusters: list[ClusterRecord] = []
        note = ""
        if self.ask.clusters:
            shares = side.shares[: self.ask.features] if indexed else ()
            own = side.key == model.session.run.dictionary_id
            _, clusters, note = model.explainer.grouped(
                shares, self.ask, conversation, self.emit, own
            )
        return VersusSide.of(
            side,
            dictionary=side.key,
            reasons=reasons(shown, places={}, ratios={}, rows=rows),
            model=model.name,
            target=target(conversation, side.target, math.exp(side.value)),
            clusters=clusters,
            note=note,
        )


def compared_models(
    workspace: Workspace,
    session: ModelSession,
    feature_index: FeatureIndex,
    explainer: TokenExplainer,
    beside: Sequence[Workspace],
) -> list[ComparedModel]:
    """The models that can be compared, the workspace's own first, under names that differ.

    All read uploaded pictures from the first one's store.
    """
    name = workspace.record().subject or workspace.root.name
    models = [ComparedModel(name, session, feature_index, explainer)]
    for space in beside:
        other = ModelSession(space, session.picture)
        names_of = FeatureIndex(space, Atlas.open(space.atlas, readonly=True))
        taken = {model.name for model in models}
        first = space.record().subject or space.root.name
        names = (first, f"{first} ({space.root.name})", *(f"{first} {n}" for n in range(2, 99)))
        name = next(name for name in names if name not in taken)
        models.append(ComparedModel(name, other, names_of, TokenExplainer(other, names_of)))
    return models


def model_info(model: ComparedModel) -> ModelInfo:
    """A model's name and its dictionaries: those in the atlas, then those only trained."""
    indexed = [row.key for row in model.feature_index.atlas.dictionaries()]
    others = sorted(model.session.trained().keys() - set(indexed))
    return ModelInfo(name=model.name, dictionaries=[*indexed, *others])
