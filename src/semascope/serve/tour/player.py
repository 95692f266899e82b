"""Playing a guided tour on an Explorer: every question is answered by measuring.

The command line plays a whole tour, the page one step at a time with the state of the step before;
both get the same figures. A step that cannot be done (no explanations yet, a conflict) leaves a
note, and the tour goes on.
"""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future
from typing import Any, TypeVar

from pydantic import ValidationError

from semascope.causal.steering.interventions import Intervention, Where
from semascope.errors import NotThere, SemascopeError, ServeError
from semascope.serve.explorer.guides import NEAR
from semascope.serve.explorer.protocol import Explorer
from semascope.serve.queue.jobs import BackgroundWork, More
from semascope.serve.schema.answers import Answered, Compared, Token
from semascope.serve.schema.events import Emit, Event, Tried
from semascope.serve.schema.explanations import Clustered, ClusterRecord, EffectRecord, Explained
from semascope.serve.schema.requests import (
    ChatAsk,
    ConceptQuery,
    Message,
    RequestBody,
    SteerAsk,
    TourAsk,
    TryAsk,
    WhyAsk,
)
from semascope.serve.schema.responses import PictureRecord
from semascope.serve.schema.tours import TourEvent, TourRecord, TourState

LISTED = 5
"""Concepts behind a token that are listed and measured."""
PLACES = {
    "all": Where(),
    "image": Where(kinds=("image", "tile")),
    "user": Where(roles=("user",), kinds=("text",)),
}
"""Tokens at which a step acts, by its ``at``."""
Step = dict[str, Any]
Heard = Generator[None, None, list[Event]]
Steps = Generator[None, None, None]
Body = TypeVar("Body", bound=ChatAsk)


def play_step(data: Explorer, ask: TourAsk, emit: Emit) -> Generator[None, None, More]:
    """One step of a tour, for the page. NotThere where the tour has no such step.

    Raises:
        ServeError: the state is not one that a step of this server gave.
    """
    tour = data.guides.tour(ask.name)
    if ask.step >= len(tour.steps):
        raise NotThere(f"The tour {ask.name!r} has {len(tour.steps)} steps.")
    try:
        state = None if ask.state is None else TourState.model_validate(ask.state)
    except ValidationError as error:
        raise ServeError(
            "The tour's state is from another version: begin the tour again."
        ) from error
    player = TourPlayer(data, emit, state, heat=False)
    yield from player.step(tour.steps[ask.step])
    return player.left


class TourPlayer:
    """Plays the steps of a tour in one conversation.

    Args:
        data: what is asked.
        emit: hears the tour's lines, its state after each step, and the events between them.
        state: where the tour stands; None before its first question.
        heat: whether each concept's first feature is drawn on the picture.
    """

    def __init__(
        self, data: Explorer, emit: Emit, state: TourState | None = None, *, heat: bool = True
    ) -> None:
        self.data = data
        self.emit = emit
        self.state = state
        self.heat = heat
        self.left: Future[None] | BackgroundWork | None = None
        """Work that the last question left: names from an LMM, or a pass for clicks."""

    def play(self, tour: TourRecord) -> None:
        """All steps, in order."""
        self._tell("say", tour.about)
        for step in tour.steps:
            for _ in self.step(step):
                pass
            if isinstance(self.left, Future):
                self.left.result()

    def step(self, step: Step) -> Steps:
        """One step; it pauses wherever the model may do something else first."""
        try:
            yield from self._do(step)
        except SemascopeError as error:
            self._tell("note", f"This step could not be done: {error}")
        if self.state is not None:
            self.emit(self.state.model_copy())

    def _do(self, step: Step) -> Steps:
        kind, state = step["do"], self.state
        if kind == "say":
            self._tell("say", step["text"])
        elif kind == "ask":
            yield from self._ask(step)
        elif state is None:
            self._tell("note", "Nothing was asked yet, so this step cannot be done.")
        elif kind == "why":
            yield from self._why(state, step)
        elif kind in ("suppress", "strengthen"):
            yield from self._change(state, step)
        elif kind == "switch_off":
            yield from self._switch_off(state, step)
        elif kind == "undo":
            state.interventions, state.answer, state.compared = [], state.base_text, {}
            self._tell("change", "All changes are undone.")
        else:
            yield from self._expect(state, step)

    def _tell(self, line: str, text: str, **more: Any) -> None:
        self.emit(TourEvent.model_validate({"line": line, "text": text, **more}))

    def _hear(self, question: RequestBody, *, shown: bool = True) -> Heard:
        """All events of one question; ``shown`` passes them on to the listener too."""
        events: list[Event] = []

        def emit(event: Event) -> bool:
            events.append(event)
            return self.emit(event) if shown else False

        job = self.data.ask(question, emit)
        while job is not None and not isinstance(job, Future | BackgroundWork):
            yield
            job = job(emit)
        self.left = job
        return events

    # -- asking ----------------------------------------------------------------------------

    def _ask(self, step: Step) -> Steps:
        pictures = [step["picture"]] if step.get("picture") else []
        messages = [Message(role="user", text=step["text"], pictures=pictures)]
        if step.get("system"):
            messages.insert(0, Message(role="system", text=step["system"]))
        question = ChatAsk.model_validate(
            {"messages": messages, "prefill": step["prefill"], "max_new_tokens": step["tokens"]}
        )
        if step.get("note"):
            self._tell("note", step["note"])
        self._tell("ask", step["text"], picture=pictures[0] if pictures else "")
        events = yield from self._hear(question)
        text = next((e.text for e in events if isinstance(e, Answered)), "")
        tokens = [e for e in events if isinstance(e, Token)]
        self.state = TourState(question=question, tokens=tokens, base_text=text, answer=text)
        self._tell("answer", text, figures={"tokens": len(tokens)})

    def _why(self, state: TourState, step: Step) -> Steps:
        state.explained = place(state.tokens, step["token"])
        self.emit(state.model_copy())  # the page marks the token while it waits
        pictured = step["pictured"] and any(m.pictures for m in state.question.messages)
        ask = _under(
            state,
            WhyAsk,
            answer=_ids(state)[: state.explained + 1],
            mode=step["mode"],
            at=PLACES["image" if pictured else "all"],
            clusters=True,
            effects=LISTED,
        )
        events = yield from self._hear(ask)
        state.clusters = [c for e in events if isinstance(e, Clustered) for c in e.clusters]
        effects = {e.cluster: e for e in events if isinstance(e, EffectRecord)}
        (explained,) = [e for e in events if isinstance(e, Explained)]
        target = explained.target
        assert target is not None  # every explanation names its token
        self._tell("why", f"{step['text']} ({target.text!r}, probability {target.probability:.3f})")
        for note in (e.note for e in events if isinstance(e, Clustered) and e.note):
            self._tell("note", note)
        for group in state.clusters[:LISTED]:
            yield from self._concept(state, group, effects.get(group.number))

    def _concept(
        self, state: TourState, group: ClusterRecord, effect: EffectRecord | None
    ) -> Steps:
        figures = {
            "score": group.score,
            "coherence": group.coherence,
            "surprise": group.surprise,
            "effect": effect.effect if effect else None,
        }
        numbers = ", ".join(f"{n} {v:.3g}" for n, v in figures.items() if v is not None)
        picture = next((p for m in state.question.messages for p in m.pictures), "")
        heat = None
        if picture and self.heat:
            heat = yield from self._heat_of(state, group, picture)
        self._tell(
            "concept",
            f"{group.label} ({_count(len(group.features))}): {numbers}",
            figures=figures,
            picture=picture if heat else "",
            heat=heat,
        )

    def _heat_of(
        self, state: TourState, group: ClusterRecord, picture: str
    ) -> Generator[None, None, PictureRecord | None]:
        """Where the concept's first feature fires on the picture; None where it does not."""
        text = state.question.messages[-1].text
        ask = TryAsk(feature=group.features[0].id, text=text, picture=picture)
        events = yield from self._hear(ask, shown=False)
        pictures = [p for e in events if isinstance(e, Tried) for p in e.exemplar.pictures]
        return next((p for p in pictures if any(p.values)), None)

    # -- changing --------------------------------------------------------------------------

    def _change(self, state: TourState, step: Step) -> Steps:
        concept = self.data.concept(ConceptQuery(q=step["words"], k=step["k"], dictionary=""))
        if not concept.rows:
            self._tell("note", concept.note or f"No feature's words mean '{step['words']}'.")
            return
        less = step["do"] == "suppress"
        intervention = Intervention(
            features=tuple((row.dictionary, row.index) for row in concept.rows),
            how="ablate" if less else "clamp",
            strength=min(1.0, step["strength"]) if less else step["strength"],
            where=PLACES[step.get("at", "all")],
            name=f"{'without' if less else 'more'} '{step['words']}'",
        )
        nearest = ", ".join(
            f"{r.label or r.index} ({r.similarity or 0:.2f})" for r in concept.rows[:3]
        )
        figures = {"share": concept.share}
        yield from self._intervene(state, intervention, f"the nearest: {nearest}", figures)

    def _switch_off(self, state: TourState, step: Step) -> Steps:
        """Ablate the concept behind the last token explained that is nearest to the words."""
        if not state.clusters:
            self._tell("note", "There are no concepts here to switch off.")
            return
        group, cosine = self._nearest(state, step["words"])
        intervention = Intervention.model_validate(group.suppress)
        reason = f"of the concepts behind the word, the nearest to '{step['words']}'"
        reason += f" (cosine {cosine:.2f})"
        yield from self._intervene(state, intervention, reason, {"cosine": cosine})

    def _intervene(
        self, state: TourState, intervention: Intervention, reason: str, figures: dict[str, Any]
    ) -> Steps:
        """Change the features that no other intervention changes, and answer again."""
        held = {feature for other in state.interventions for feature in other.features}
        free = tuple(feature for feature in intervention.features if feature not in held)
        if not free:
            note = f"All {len(intervention.features)} features are under an intervention already."
            self._tell("note", note)
            return
        text = f"{intervention.label}: {_count(len(free))}; {reason}"
        self._tell("change", text, figures={"features": len(free), **figures})
        changed = intervention.model_copy(update={"features": free})
        state.interventions = [*state.interventions, changed]
        yield from self._answer_again(state)

    def _answer_again(self, state: TourState) -> Steps:
        events = yield from self._hear(_under(state, SteerAsk, answer=_ids(state)))
        state.compared = {e.side: e for e in events if isinstance(e, Compared)}
        for event in events:
            if isinstance(event, Answered) and event.side == "after":
                state.answer = event.text
                self._tell("answer", event.text)
        for note in (note for e in state.compared.values() for note in e.notes):
            self._tell("note", note)

    # -- measuring -------------------------------------------------------------------------

    def _expect(self, state: TourState, step: Step) -> Steps:
        if step["measure"] == "probability":
            answer, figures = yield from self._by_probability(state)
        else:
            answer, figures = getattr(self, f"_by_{step['measure']}")(state, step)
        self._tell("expect", f"{step['question']} {answer}", figures=figures)

    def _by_changed(self, state: TourState, step: Step) -> tuple[str, dict[str, Any]]:
        changed = state.answer != state.base_text
        text = f"Yes: {state.base_text!r} became {state.answer!r}." if changed else "No."
        return text, {"changed": changed, "before": state.base_text, "after": state.answer}

    def _by_contains(self, state: TourState, step: Step) -> tuple[str, dict[str, Any]]:
        here = step["text"].lower() in state.answer.lower()
        before = step["text"].lower() in state.base_text.lower()
        text = f"{_yes(here)} Before the changes: {_yes(before).lower()}"
        return text, {"contains": here, "before": before}

    def _by_kl(self, state: TourState, step: Step) -> tuple[str, dict[str, Any]]:
        after, control = state.compared.get("after"), state.compared.get("control")
        if after is None:
            return "Nothing was changed, so there is nothing to measure.", {}
        beside = f"; the control {control.kl:.4f}" if control else "; there is no control"
        figures = {"kl": after.kl, "control": control.kl if control else None}
        return f"{after.kl:.4f} nats a token{beside}.", figures

    def _by_probability(
        self, state: TourState
    ) -> Generator[None, None, tuple[str, dict[str, Any]]]:
        before = yield from self._probability(state, [])
        after = yield from self._probability(state, state.interventions)
        return f"{before:.3f} before, {after:.3f} after.", {"before": before, "after": after}

    def _probability(
        self, state: TourState, interventions: list[Intervention]
    ) -> Generator[None, None, float]:
        """Of the token explained last."""
        ids = _ids(state)[: state.explained + 1]
        ask = _under(state, WhyAsk, interventions=interventions, answer=ids, limit=1)
        events = yield from self._hear(ask, shown=False)
        return next(e.target.probability for e in events if isinstance(e, Explained) and e.target)

    def _by_clusters(self, state: TourState, step: Step) -> tuple[str, dict[str, Any]]:
        if not state.clusters:
            return "There are no concepts here.", {"nearest": None, "cosine": None}
        group, cosine = self._nearest(state, step["text"])
        text = f"{_yes(cosine >= NEAR)} The nearest is '{group.label}' (cosine {cosine:.2f})."
        return text, {"nearest": group.label, "cosine": cosine}

    def _nearest(self, state: TourState, words: str) -> tuple[ClusterRecord, float]:
        """The concept behind the last token explained that is nearest to the words; its cosine."""
        texts = [f"{c.label}. {c.features[0].description}" for c in state.clusters]
        cosines = self.data.guides.near(words, texts).cosines
        best = max(range(len(cosines)), key=lambda n: cosines[n])
        return state.clusters[best], cosines[best]


def place(tokens: list[Token], words: str) -> int:
    """Place of the answer's first token that contains one of the words.

    Where none does, the first token that says something.
    """
    wanted = words.lower().split()  # for "french fries", the token of either word
    matches = (n for n, t in enumerate(tokens) if any(w in t.text.lower() for w in wanted))
    return next(matches, next((n for n, token in enumerate(tokens) if token.tells), 0))


def _ids(state: TourState) -> list[int]:
    """Token ids of the unchanged answer."""
    return [token.id for token in state.tokens]


def _under(state: TourState, body: type[Body], **fields: Any) -> Body:
    """The tour's question as another request, under its interventions."""
    known = {name: getattr(state.question, name) for name in ChatAsk.model_fields}
    return body(**{**known, "interventions": state.interventions, **fields})


def _count(features: int) -> str:
    return f"{features:,} feature{'' if features == 1 else 's'}"


def _yes(value: bool) -> str:
    return "Yes." if value else "No."
