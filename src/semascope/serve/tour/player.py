"""Playing a guided tour on an Explorer, without a page: every question is answered by measuring.

One ``TourPlayer`` keeps one conversation with its changes, does the steps in order and tells lines;
a step that cannot be done (no words yet, a conflict) is told in a sentence and the tour goes on.
Knows Explorers and events; no model, no console.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from semascope.causal.steering.interventions import Intervention, Where
from semascope.errors import SemascopeError
from semascope.serve.explorer.guides import NEAR
from semascope.serve.explorer.protocol import Explorer
from semascope.serve.queue.jobs import BackgroundWork, More
from semascope.serve.schema.events import (
    Answered,
    Clustered,
    ClusterRecord,
    Compared,
    EffectRecord,
    Event,
    Explained,
    Token,
    Tried,
)
from semascope.serve.schema.requests import ChatAsk, ConceptQuery, Message, SteerAsk, TryAsk, WhyAsk
from semascope.serve.schema.responses import PictureRecord
from semascope.serve.schema.tours import TourRecord

TOLD = 5
"""Concepts that are told of one look."""


@dataclass(frozen=True, slots=True)
class TourEvent:
    """One thing that the tour tells."""

    kind: str
    """say, ask, answer, why, change, expect, note."""
    text: str
    figures: dict[str, Any] = field(default_factory=dict)
    """What was measured."""
    picture: str = ""
    """Hash of the picture that belongs to it."""
    heat: PictureRecord | None = None
    """Where on it a concept fires."""


Tell = Callable[[TourEvent], None]
_AT = {
    "all": Where(),
    "image": Where(kinds=("image", "tile")),
    "user": Where(roles=("user",), kinds=("text",)),
}


@dataclass
class _Talk:
    """The conversation of the moment."""

    question: dict[str, Any]
    tokens: list[Token] = field(default_factory=list)
    """The unchanged answer."""
    base_text: str = ""
    answer: str = ""
    wishes: list[Intervention] = field(default_factory=list)
    looked: int = 0
    """Place in the answer of the token that was asked about."""
    clusters: list[ClusterRecord] = field(default_factory=list)
    apart: dict[str, Compared] = field(default_factory=dict)
    """The last comparison, by side."""

    @property
    def base(self) -> list[int]:
        """Ids of the unchanged answer."""
        return [token.id for token in self.tokens]

    def place(self, words: str) -> int:
        """Where in the answer the first token stands that holds one of some words; where none
        does, the first that says something."""
        asked = words.lower().split()  # of "french fries", the token of either
        held = (n for n, t in enumerate(self.tokens) if any(w in t.text.lower() for w in asked))
        return next(held, next((n for n, token in enumerate(self.tokens) if token.tells), 0))


class TourPlayer:
    """Plays one tour."""

    def __init__(self, data: Explorer, tell: Tell) -> None:
        self.data = data
        self.tell = tell
        self.talk: _Talk | None = None

    def play(self, tour: TourRecord) -> None:
        """All steps, in order."""
        self.tell(TourEvent("say", tour.about))
        for step in tour.steps:
            try:
                self._step(step)
            except SemascopeError as error:
                self.tell(TourEvent("note", f"This step could not be done: {error}"))

    def _step(self, step: dict[str, Any]) -> None:
        do = step["do"]
        if do == "say":
            self.tell(TourEvent("say", step["text"]))
        elif do == "ask":
            self._ask(step)
        elif self.talk is None:
            self.tell(
                TourEvent("note", "Nothing was asked yet, so this step has nothing to stand on.")
            )
        elif do == "why":
            self._why(self.talk, step)
        elif do in ("suppress", "strengthen"):
            self._change(self.talk, step)
        elif do == "switch_off":
            self._switch_off(self.talk, step)
        elif do == "undo":
            self.talk.wishes, self.talk.answer, self.talk.apart = [], self.talk.base_text, {}
            self.tell(TourEvent("change", "All changes are dropped."))
        else:
            self._expect(self.talk, step)

    # -- asking ----------------------------------------------------------------------------

    def _ask(self, step: dict[str, Any]) -> None:
        pictures = [step["picture"]] if step.get("picture") else []
        messages = [Message(role="user", text=step["text"], pictures=pictures)]
        if step.get("system"):
            messages.insert(0, Message(role="system", text=step["system"]))
        question = {
            "messages": messages, "prefill": step["prefill"], "max_new_tokens": step["tokens"],
        }  # fmt: skip
        if step.get("note"):
            self.tell(TourEvent("note", step["note"]))
        self.tell(TourEvent("ask", step["text"], picture=pictures[0] if pictures else ""))
        told = _heard(lambda emit: self.data.ask(ChatAsk(**question), emit))
        text = next((e.text for e in told if isinstance(e, Answered)), "")
        tokens = [e for e in told if isinstance(e, Token)]
        self.talk = _Talk(question, tokens, text, text)
        self.tell(TourEvent("answer", text, {"tokens": len(tokens)}))

    def _asked(self, talk: _Talk, **more: Any) -> dict[str, Any]:
        return {**talk.question, "interventions": talk.wishes, **more}

    def _why(self, talk: _Talk, step: dict[str, Any]) -> None:
        talk.looked = talk.place(step["token"])
        pictured = step["pictured"] and any(m.pictures for m in talk.question["messages"])
        ask = WhyAsk(
            **self._asked(talk, answer=talk.base[: talk.looked + 1]),
            mode=step["mode"],
            at=_AT["image" if pictured else "all"],
            clusters=True,
            effects=TOLD,
        )
        told = _heard(lambda emit: self.data.ask(ask, emit))
        talk.clusters = [c for e in told if isinstance(e, Clustered) for c in e.clusters]
        effects = {e.cluster: e for e in told if isinstance(e, EffectRecord)}
        (explained,) = [e for e in told if isinstance(e, Explained)]
        about = explained.target
        assert about is not None  # every explanation names its token
        self.tell(
            TourEvent(
                "why", f"{step['text']} ({about.text!r}, probability {about.probability:.3f})"
            )
        )
        for note in (e.note for e in told if isinstance(e, Clustered) and e.note):
            self.tell(TourEvent("note", note))
        for group in talk.clusters[:TOLD]:
            self._concept(talk, group, effects.get(group.number))

    def _concept(self, talk: _Talk, group: ClusterRecord, effect: EffectRecord | None) -> None:
        figures = {
            "score": group.score,
            "coherence": group.coherence,
            "surprise": group.surprise,
            "effect": effect.effect if effect else None,
        }
        said = ", ".join(f"{n} {v:.3g}" for n, v in figures.items() if v is not None)
        shown = next((p for m in talk.question["messages"] for p in m.pictures), "")
        heat = self._heat(talk, group, shown) if shown else None
        text = f"{group.label} ({len(group.features)} features): {said}"
        self.tell(TourEvent("concept", text, figures, picture=shown if heat else "", heat=heat))

    def _heat(self, talk: _Talk, group: ClusterRecord, shown: str) -> PictureRecord | None:
        """Where the concept's first feature fires on the picture; None where it does not."""
        text = talk.question["messages"][-1].text
        ask = TryAsk(feature=group.features[0].id, text=text, picture=shown)
        told = _heard(lambda emit: self.data.ask(ask, emit))
        pictures = [p for e in told if isinstance(e, Tried) for p in e.exemplar.pictures]
        return next((p for p in pictures if any(p.values)), None)

    # -- changing --------------------------------------------------------------------------

    def _change(self, talk: _Talk, step: dict[str, Any]) -> None:
        found = self.data.concept(ConceptQuery(q=step["words"], k=step["k"], dictionary=""))
        if not found.rows:
            self.tell(
                TourEvent("note", found.note or f"No feature's words are of '{step['words']}'.")
            )
            return
        less = step["do"] == "suppress"
        wish = Intervention(
            features=tuple((row.dictionary, row.index) for row in found.rows),
            how="ablate" if less else "clamp",
            strength=min(1.0, step["strength"]) if less else step["strength"],
            where=_AT[step.get("at", "all")],
            name=f"{'without' if less else 'more'} '{step['words']}'",
        )
        nearest = ", ".join(
            f"{r.label or r.index} ({r.similarity or 0:.2f})" for r in found.rows[:3]
        )
        self._hold(talk, wish, f"the nearest: {nearest}", {"share": found.share})

    def _switch_off(self, talk: _Talk, step: dict[str, Any]) -> None:
        """The concept of the last look that comes nearest to the step's words is taken out."""
        if not talk.clusters:
            self.tell(TourEvent("note", "There are no concepts here that could be switched off."))
            return
        group, cosine = self._nearest(talk, step["words"])
        wish = Intervention.model_validate(group.suppress)
        said = f"of the concepts behind the word, the nearest to '{step['words']}'"
        self._hold(talk, wish, f"{said} (cosine {cosine:.2f})", {"cosine": cosine})

    def _hold(self, talk: _Talk, wish: Intervention, said: str, figures: dict[str, Any]) -> None:
        """Add a change, of the features that no other holds, and answer again."""
        held = {feature for other in talk.wishes for feature in other.features}
        free = tuple(feature for feature in wish.features if feature not in held)
        if not free:
            note = f"All {len(wish.features)} features are held already."
            self.tell(TourEvent("note", note))
            return
        text = f"{wish.label}: {len(free)} features; {said}"
        self.tell(TourEvent("change", text, {"features": len(free), **figures}))
        talk.wishes.append(wish.model_copy(update={"features": free}))
        self._again(talk)

    def _again(self, talk: _Talk) -> None:
        ask = SteerAsk(**self._asked(talk, answer=talk.base))
        told = _heard(lambda emit: self.data.ask(ask, emit))
        talk.apart = {e.side: e for e in told if isinstance(e, Compared)}
        for event in told:
            if isinstance(event, Answered) and event.side == "after":
                talk.answer = event.text
                self.tell(TourEvent("answer", event.text))
        for note in (note for e in talk.apart.values() for note in e.notes):
            self.tell(TourEvent("note", note))

    # -- expecting -------------------------------------------------------------------------

    def _expect(self, talk: _Talk, step: dict[str, Any]) -> None:
        measure = getattr(self, f"_by_{step['measure']}")
        answer, figures = measure(talk, step)
        self.tell(TourEvent("expect", f"{step['question']} {answer}", figures))

    def _by_changed(self, talk: _Talk, step: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        changed = talk.answer != talk.base_text
        said = f"Yes: {talk.base_text!r} became {talk.answer!r}." if changed else "No."
        return said, {"changed": changed, "before": talk.base_text, "after": talk.answer}

    def _by_contains(self, talk: _Talk, step: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        here = step["text"].lower() in talk.answer.lower()
        before = step["text"].lower() in talk.base_text.lower()
        said = f"{_yes(here)} Before the changes: {_yes(before).lower()}"
        return said, {"contains": here, "before": before}

    def _by_kl(self, talk: _Talk, step: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        after, control = talk.apart.get("after"), talk.apart.get("control")
        if after is None:
            return "Nothing was changed, so there is nothing to measure.", {}
        beside = f"; the control {control.kl:.4f}" if control else "; there is no control"
        figures = {"kl": after.kl, "control": control.kl if control else None}
        return f"{after.kl:.4f} nats a token{beside}.", figures

    def _by_probability(self, talk: _Talk, step: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        before, after = (self._probability(talk, wishes) for wishes in ([], talk.wishes))
        return f"{before:.3f} before, {after:.3f} after.", {"before": before, "after": after}

    def _probability(self, talk: _Talk, wishes: list[Intervention]) -> float:
        more = {**talk.question, "interventions": wishes, "answer": talk.base[: talk.looked + 1]}
        told = _heard(lambda emit: self.data.ask(WhyAsk(**more, limit=1), emit))
        return next(e.target.probability for e in told if isinstance(e, Explained) and e.target)

    def _by_clusters(self, talk: _Talk, step: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        if not talk.clusters:
            return "There are no concepts here.", {"nearest": None, "cosine": None}
        group, cosine = self._nearest(talk, step["text"])
        text = f"{_yes(cosine >= NEAR)} The nearest is '{group.label}' (cosine {cosine:.2f})."
        return text, {"nearest": group.label, "cosine": cosine}

    def _nearest(self, talk: _Talk, words: str) -> tuple[ClusterRecord, float]:
        """The concept of the last look that comes nearest to the words, and its cosine."""
        said = [f"{c.label}. {c.features[0].description}" for c in talk.clusters]
        cosines = self.data.guides.near(words, said).cosines
        best = max(range(len(cosines)), key=lambda n: cosines[n])
        return talk.clusters[best], cosines[best]


def _yes(value: bool) -> str:
    return "Yes." if value else "No."


def _heard(job: More) -> list[Event]:
    """All events of one question, step after step."""
    told: list[Event] = []

    def emit(event: Event) -> bool:
        told.append(event)
        return False

    while job is not None and not isinstance(job, Future | BackgroundWork):
        job = job(emit)
    if isinstance(job, Future):
        job.result()
    return told
