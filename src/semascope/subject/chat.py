"""A sample as the text that a subject's own chat template makes of it, and who says each letter.

Roles are found for any template by rendering the conversation's prefixes: what a turn adds
to the text is that turn's. Knows templates and letters; nothing of token ids or tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2.exceptions import TemplateError
from numpy.typing import NDArray

from semascope.corpus.sample import Sample, Turn
from semascope.errors import SubjectError
from semascope.subject.types import Role

ROLE = {"system": Role.SYSTEM, "user": Role.USER, "assistant": Role.ASSISTANT}


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """What the tokenizer will read."""

    text: str
    roles: NDArray[np.int8]
    """(letters,) of ``Role``."""
    content: NDArray[np.bool_]
    """(letters,) False where the template itself speaks."""
    templated: bool
    """Made by a chat template, which writes its own BOS."""


@dataclass(frozen=True, slots=True)
class Template:
    """A tokenizer's or processor's chat template, and how it writes a picture."""

    owner: Any
    placeholder: str | None
    """The text that stands for one picture; None for subjects without sight."""

    @property
    def exists(self) -> bool:
        """Whether there is a chat template at all."""
        return bool(getattr(self.owner, "chat_template", None))

    def render(self, turns: tuple[Turn, ...], *, generate: bool) -> str:
        """The conversation as text; ``generate`` opens the assistant's next turn."""
        images = sum(turn.images for turn in turns)
        for listed in (True, False) if self.placeholder else (False,):
            messages = [self._message(turn, listed) for turn in turns]
            try:
                text = self.owner.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=generate
                )
            except (TemplateError, TypeError, KeyError):
                if not listed:
                    raise
                continue
            if not listed or str(text).count(str(self.placeholder)) == images:
                return str(text)
        raise AssertionError("unreachable")

    def _message(self, turn: Turn, listed: bool) -> dict[str, Any]:
        if not listed:
            return {
                "role": turn.role,
                "content": (self.placeholder or "") * turn.images + turn.text,
            }
        parts: list[dict[str, str]] = [{"type": "image"}] * turn.images
        return {"role": turn.role, "content": [*parts, {"type": "text", "text": turn.text}]}


def render(template: Template, sample: Sample, answer: str | None) -> Rendered:
    """A sample as text: by the chat template where it has turns or pictures, plain otherwise.

    ``answer`` opens the assistant's turn and begins it with these words ("" for none).
    """
    turns = _turns(sample, template)
    if not turns:
        text = (template.placeholder or "") * len(sample.images) + sample.text + (answer or "")
        return _plain(text)
    if not template.exists:
        placed = [(template.placeholder or "") * t.images + t.text for t in turns]
        return _plain("\n".join(placed) + ("\n" + answer if answer is not None else ""))
    try:
        text = template.render(turns, generate=answer is not None)
    except TemplateError as error:
        raise SubjectError(
            f"The subject's chat template refuses sample {sample.id!r}: {error}. "
            "Give the turns in an order that it knows (most want user, assistant, user, …)."
        ) from error
    roles = _roles(template, turns, text)
    content = _content(turns, text)
    tail = answer or ""
    return Rendered(
        text=text + tail,
        roles=np.concatenate([roles, np.full(len(tail), Role.ASSISTANT, np.int8)]),
        content=np.concatenate([content, np.ones(len(tail), np.bool_)]),
        templated=True,
    )


def _turns(sample: Sample, template: Template) -> tuple[Turn, ...]:
    """The sample's turns; every picture has its place in one of them."""
    turns = sample.turns
    if not turns:
        if not sample.images or not template.exists:
            return ()
        turns = (Turn("user", sample.text),)
    left = len(sample.images) - sum(turn.images for turn in turns)
    if left < 0:
        raise SubjectError(
            f"Sample {sample.id!r} has {len(sample.images)} pictures and its turns show "
            f"{len(sample.images) - left}: give as many pictures as the turns show."
        )
    if left == 0:
        return turns
    first = next((n for n, turn in enumerate(turns) if turn.role == "user"), 0)
    shown = Turn(turns[first].role, turns[first].text, turns[first].images + left)
    return (*turns[:first], shown, *turns[first + 1 :])


def _plain(text: str) -> Rendered:
    size = len(text)
    return Rendered(text, np.zeros(size, np.int8), np.ones(size, np.bool_), templated=False)


def _roles(template: Template, turns: tuple[Turn, ...], text: str) -> NDArray[np.int8]:
    """(letters,) the role of each letter, from what each turn adds to the rendered prefix."""
    roles = np.full(len(text), Role.ASSISTANT, np.int8)  # what follows the last turn is an answer
    start = 0
    for n, turn in enumerate(turns, start=1):
        end = _prefix_end(template, turns[:n], text)
        if end is None or end < start:
            continue  # a prefix that the template refuses is the next turn's
        roles[start:end] = ROLE[turn.role]
        start = end
    implicit = _implicit_system(template, turns, text)
    roles[:implicit] = Role.SYSTEM
    return roles


def _prefix_end(template: Template, turns: tuple[Turn, ...], text: str) -> int | None:
    try:
        part = template.render(turns, generate=False)
    except TemplateError:
        return None
    return _shared(part, text)


def _implicit_system(template: Template, turns: tuple[Turn, ...], text: str) -> int:
    """Letters of a system prompt that the template adds of itself before a user's first turn."""
    if turns[0].role != "user":
        return 0
    marker = "\x00"
    try:
        spoken = template.render((Turn("system", marker), turns[0]), generate=False)
        alone = template.render(turns[:1], generate=False)
    except TemplateError:
        return 0
    if spoken.count(marker) != 1:
        return 0
    before, after = spoken.split(marker)
    shared = _shared(after[::-1], alone[::-1])
    # ``after`` is the system turn's closing and then the user's turn, which is ours as well
    # where the template spoke as the system: both then share the closing too.
    own = len(alone) - shared
    if own == 0 or not _shared(before, alone) or shared < len(after):
        return 0
    closing = _shared(after, alone[alone.find(turns[0].text) + len(turns[0].text) :])
    return own + closing


def _content(turns: tuple[Turn, ...], text: str) -> NDArray[np.bool_]:
    """(letters,) True where a turn's own words stand; True all over a turn that is not found."""
    content = np.zeros(len(text), np.bool_)
    cursor = 0
    for turn in turns:
        words = turn.text.strip()
        found = text.find(words, cursor) if words else -1
        if found >= 0:
            content[found : found + len(words)] = True
            cursor = found + len(words)
    return content


def _shared(a: str, b: str) -> int:
    """How many letters two texts have in common from the start."""
    return next(
        (n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
