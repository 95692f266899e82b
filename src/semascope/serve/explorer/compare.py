"""One prompt beside itself: through two dictionaries of a model, or through two models.

Called by the model thread. A ``ComparedModel`` is a model with its words; the first is of the
workspace that is served, the others of workspaces named beside it. Joins ``monitor.live`` with
words; holds no tensor.
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
from semascope.serve.explorer.to_events import EventWriter, reasons
from semascope.serve.explorer.why import TokenExplainer
from semascope.serve.schema.events import (
    ClusterRecord,
    Emit,
    Pair,
    Side,
    Target,
    VersusFound,
    VersusSide,
)
from semascope.serve.schema.requests import VersusAsk
from semascope.serve.schema.responses import ModelInfo
from semascope.workspace import Workspace

if TYPE_CHECKING:
    from semascope.monitor import try_out
    from semascope.monitor.conversation import Conversation

SIDES: tuple[Side, Side] = ("one", "other")


@dataclass(frozen=True, slots=True)
class ComparedModel:
    """One model, what its features are called, and what looks behind its answers."""

    name: str
    asker: ModelSession
    words: FeatureIndex
    behind: TokenExplainer


class SideBySide:
    """Sets two sides beside each other."""

    def __init__(self, benches: Sequence[ComparedModel], ask: VersusAsk, emit: Emit) -> None:
        self.ask = ask
        self.emit = emit
        known = {bench.name: bench for bench in benches} | {"": benches[0]}
        for name in ask.models:
            if name not in known:
                names = ", ".join(bench.name for bench in benches)
                raise NotThere(f"No model {name!r} is served here; there are {names}.")
        self.benches = [known[name] for name in ask.models]
        self.same = self.benches[0] is self.benches[1]
        if self.same and len(set(ask.dictionaries)) < 2:
            raise ServeError("Two dictionaries are compared: name two different ones.")
        if not self.same and ask.answer:
            raise ServeError(
                "Two models may cut words into other tokens, so one answer's ids do not do for "
                "both: let them write, or give the answers of each."
            )

    def run(self) -> Generator[None, None, None]:
        """Answers as they are written, a token a step, then both sides."""
        answers = yield from self._answers()
        if answers is None:
            return
        asked = self._asked(answers)
        if self.same:
            position = self._position(asked[0], answers[0])
            self._tell_same(asked[0], position)
            return
        from semascope.monitor.try_out import alone

        sides = []
        for n, one in enumerate(asked):
            found = alone(one, self._most, self._position(one, answers[n]))
            sides.append(self._side(n, found, one))
        self.emit(VersusFound(value=sides[0].value, sides=sides))

    @property
    def _most(self) -> int:
        """Features that are read off each side."""
        return max(self.ask.limit, self.ask.features if self.ask.clusters else 0)

    def _asked(self, answers: Sequence[Sequence[int]]) -> list[Conversation]:
        """The conversation under each side's dictionary; once, under both, for one model."""
        first = self.benches[0].asker
        if self.same:
            ask = self.ask.model_copy(update={"answer": list(answers[0])})
            return [first.asked(ask, first.steerable_on(self.ask.dictionaries))]
        return [
            bench.asker.asked(
                self.ask.model_copy(update={"answer": list(answer)}),
                bench.asker.steerable_on([key]),
            )
            for bench, answer, key in zip(self.benches, answers, self.ask.dictionaries, strict=True)
        ]

    def _answers(self) -> Generator[None, None, list[list[int]] | None]:
        """What each side's model answers; None where nobody listens any more."""
        if self.ask.answers:
            return [self.ask.answers[0], self.ask.answers[-1]]
        if not self.ask.write:
            return [self.ask.answer, self.ask.answer]
        teller = EventWriter(self.emit)
        written: list[list[int]] = []
        for n in range(1 if self.same else 2):
            written.append((yield from self._write(n, teller)))
        return None if teller.stopped else [written[0], written[-1]]

    def _write(self, n: int, teller: EventWriter) -> Generator[None, None, list[int]]:
        if teller.stopped:
            return []
        ask, asker = self.ask, self.benches[n].asker
        steerable = asker.steerable_on(ask.dictionaries if self.same else [ask.dictionaries[n]])
        answer = yield from asker.answer(ask, steerable, teller, SIDES[n])
        return [token.id for token in answer.tokens]

    def _position(self, asked: Conversation, answer: Sequence[int]) -> int | None:
        """Of the token asked about; None for the answer's last, or the one to come."""
        if not answer or not (self.ask.write or self.ask.answers):
            return None
        return len(asked.map) + min(self.ask.token, len(answer) - 1)

    def _tell_same(self, asked: Conversation, position: int | None) -> None:
        from semascope.monitor.try_out import versus

        found = versus(asked, self._most, position)
        self.emit(
            VersusFound(
                value=found.value,
                sides=[self._side(n, side, asked) for n, side in enumerate(found.sides)],
                pairs=[
                    Pair(one=f"{a[0]}/{a[1]}", other=f"{b[0]}/{b[1]}", together=value)
                    for a, b, value in found.pairs
                ],
            )
        )

    def _side(self, n: int, side: try_out.DictionaryView, asked: Conversation) -> VersusSide:
        bench, target = self.benches[n], side.target
        known = side.key in {d.key for d in bench.words.atlas.dictionaries()}
        shown = side.shares[: self.ask.limit]
        rows = bench.words.rows(share.id for share in shown) if known else {}
        clusters: list[ClusterRecord] = []
        note = ""
        if self.ask.clusters:
            looked = side.shares[: self.ask.features] if known else ()
            own = side.key == bench.asker.run.dictionary_id
            _, clusters, note = bench.behind.grouped(looked, self.ask, asked, self.emit, own)
        return VersusSide(
            dictionary=side.key,
            l0=side.l0,
            fvu=side.fvu,
            unexplained=side.unexplained,
            reasons=reasons(shown, places={}, ratios={}, rows=rows),
            model=bench.name,
            value=side.value,
            target=Target(
                id=target.token,
                text=str(asked.steerable.subject.encoder.text(target.token)),
                position=target.position,
                probability=math.exp(side.value),
            ),
            clusters=clusters,
            note=note,
        )


def benches(
    workspace: Workspace,
    asker: ModelSession,
    words: FeatureIndex,
    behind: TokenExplainer,
    beside: Sequence[Workspace],
) -> list[ComparedModel]:
    """The models that can be compared, the workspace's own first, each by a name of its own.

    Pictures of the others are looked for where the first one's are: uploads have one store.
    """
    found = [ComparedModel(workspace.record().subject or workspace.root.name, asker, words, behind)]
    for space in beside:
        other = ModelSession(space, asker.picture)
        told = FeatureIndex(space, Atlas.open(space.atlas, readonly=True))
        taken = {bench.name for bench in found}
        first = space.record().subject or space.root.name
        names = (first, f"{first} ({space.root.name})", *(f"{first} {n}" for n in range(2, 99)))
        name = next(name for name in names if name not in taken)
        found.append(ComparedModel(name, other, told, TokenExplainer(other, told)))
    return found


def model_info(bench: ComparedModel) -> ModelInfo:
    """Its name and its dictionaries, those of the atlas and those that were only trained."""
    folder = bench.words.workspace.root / "dictionaries"
    trained = {f"{p.parent.parent.name}/{p.parent.name}" for p in folder.glob("*/*/cfg.json")}
    known = [row.key for row in bench.words.atlas.dictionaries()]
    return ModelInfo(name=bench.name, dictionaries=[*known, *sorted(trained - set(known))])
