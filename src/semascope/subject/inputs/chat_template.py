"""A sample as the text that a subject's own chat template makes of it, and who says each letter.

Roles are found for any template by rendering the conversation's prefixes: what a turn adds
to the text is that turn's. Knows templates and letters; nothing of token ids or tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jinja2.exceptions import TemplateError
from numpy.typing import NDArray

from semascope.corpus.sample import Sample, Turn
from semascope.errors import SubjectError
from semascope.subject.types import Role

PRINTED = "{'type': 'text'"
MARK = "\x00"
"""A letter that nobody says."""
ROLE = {"system": Role.SYSTEM, "user": Role.USER, "assistant": Role.ASSISTANT}


@dataclass(frozen=True, slots=True, eq=False)
class RenderedChat:
    """What the tokenizer will read."""

    text: str
    roles: NDArray[np.int8]
    """(letters,) of ``Role``."""
    content: NDArray[np.bool_]
    """(letters,) False where the template itself speaks."""
    templated: bool
    """Made by a chat template, which writes its own BOS."""
    order: tuple[int, ...] = ()
    """What is shown, in the order of the text: the number of an image, or, past the images, of a
    video."""


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A tokenizer's or processor's chat template, and how it writes a picture."""

    owner: Any
    placeholder: str | None
    """The text that stands for one picture; None for subjects without sight."""
    moving: str | None = None
    """The text that stands for one video; None for subjects that read none."""

    @property
    def exists(self) -> bool:
        """Whether there is a chat template at all."""
        return bool(getattr(self.owner, "chat_template", None))

    def render(self, turns: tuple[Turn, ...], *, generate: bool) -> str:
        """The conversation as text; ``generate`` opens the assistant's next turn."""
        if self.placeholder is not None:
            try:
                text = self._render(turns, generate, listed=True)
            except (TemplateError, TypeError, KeyError):
                text = PRINTED
            # Templates of older subjects take plain strings, and print a list as Python would.
            if PRINTED not in text and self._shows(text, turns):
                return text
        return self._render(turns, generate, listed=False)

    def _shows(self, text: str, turns: tuple[Turn, ...]) -> bool:
        """Whether the text holds as many placeholders as the turns show."""
        images, videos = sum(t.images for t in turns), sum(t.videos for t in turns)
        moving = text.count(self.moving) if self.moving and videos else 0
        return text.count(self.placeholder or "") == images and moving == videos

    def put(self, images: int, videos: int) -> str:
        """The placeholders of so many of each."""
        return (self.placeholder or "") * images + (self.moving or "") * videos

    def _render(self, turns: tuple[Turn, ...], generate: bool, *, listed: bool) -> str:
        messages = [self._message(turn, listed) for turn in turns]
        return str(
            self.owner.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)
        )

    def _message(self, turn: Turn, listed: bool) -> dict[str, Any]:
        if not listed:
            return {"role": turn.role, "content": self.woven(turn)}
        first, *rest = turn.pieces
        parts: list[dict[str, Any]] = [{"type": "text", "text": first}] if rest and first else []
        for piece in rest:
            parts.append({"type": "image"})
            parts += [{"type": "text", "text": piece}] if piece else []
        parts += [{"type": "video"}] * turn.videos
        if not turn.at:
            parts = [{"type": "image"}] * turn.images + [{"type": "video"}] * turn.videos
            parts.append({"type": "text", "text": turn.text})
        return {"role": turn.role, "content": parts}

    def woven(self, turn: Turn) -> str:
        """The words of a turn with the placeholders of what it shows."""
        if not turn.at:
            return self.put(turn.images, turn.videos) + turn.text
        return self.put(0, turn.videos) + (self.placeholder or "").join(turn.pieces)


def render(template: ChatTemplate, sample: Sample, answer: str | None) -> RenderedChat:
    """A sample as text: by the chat template where it has turns or pictures, plain otherwise.

    ``answer`` opens the assistant's turn and begins it with these words ("" for none).
    """
    turns = placed(sample, template)
    order = _order(turns, len(sample.images), len(sample.videos))
    if not turns:
        text = template.put(len(sample.images), len(sample.videos)) + sample.text + (answer or "")
        return _plain(text, order)
    if not template.exists:
        return _untemplated(template, turns, answer, order)
    try:
        text = template.render(turns, generate=answer is not None)
    except TemplateError as error:
        raise SubjectError(
            f"The subject's chat template refuses sample {sample.id!r}: {error}. "
            "Give the turns in an order that it knows (most want user, assistant, user, …)."
        ) from error
    _check_order(template, turns, text, sample.id)
    roles = _roles(template, turns, text)
    content = _content(template, turns, text)
    tail = answer or ""
    return RenderedChat(
        text=text + tail,
        roles=np.concatenate([roles, np.full(len(tail), Role.ASSISTANT, np.int8)]),
        content=np.concatenate([content, np.ones(len(tail), np.bool_)]),
        templated=True,
        order=order,
    )


def _check_order(template: ChatTemplate, turns: tuple[Turn, ...], text: str, sample: str) -> None:
    """Raise SubjectError where a template moves pictures that stand between words."""
    place = 0
    for turn in turns:
        pieces = [piece.strip() for piece in turn.pieces]
        if not turn.at or sum(map(bool, pieces)) < 2:
            continue  # words before or after all pictures: a template may have its own order
        for number, piece in enumerate(pieces):
            wanted = [template.placeholder or ""] * (number > 0) + [piece]
            for part in wanted:
                found = text.find(part, place)
                if found < 0:
                    raise SubjectError(
                        f"The subject's chat template shows all pictures of a message before its "
                        f"words, and in sample {sample!r} they stand between words. Give each "
                        "picture in a message of its own, or all before the words."
                    )
                place = found + len(part)


def placed(sample: Sample, template: ChatTemplate) -> tuple[Turn, ...]:
    """The sample's turns; every picture and video has its place in one of them."""
    turns = sample.turns
    if not turns:
        if not (sample.images or sample.videos) or not template.exists:
            return ()
        turns = (Turn("user", sample.text),)
    images = len(sample.images) - sum(turn.images for turn in turns)
    videos = len(sample.videos) - sum(turn.videos for turn in turns)
    for what, has, left in (
        ("pictures", len(sample.images), images),
        ("videos", len(sample.videos), videos),
    ):
        if left < 0:
            raise SubjectError(
                f"Sample {sample.id!r} has {has} {what} and its turns show "
                f"{has - left}: give as many {what} as the turns show."
            )
    if images == videos == 0:
        return turns
    at = next((n for n, turn in enumerate(turns) if turn.role == "user"), 0)
    first = turns[at]
    shown = replace(first, images=first.images + images, videos=first.videos + videos)
    return (*turns[:at], shown, *turns[at + 1 :])


def _order(turns: tuple[Turn, ...], images: int, videos: int) -> tuple[int, ...]:
    """What the text shows, in its order: a turn shows its pictures, then its videos."""
    still, moving, out = 0, images, []
    for turn in turns or (Turn("user", "", images, videos),):
        out += [*range(still, still + turn.images), *range(moving, moving + turn.videos)]
        still, moving = still + turn.images, moving + turn.videos
    return tuple(out)


def _plain(text: str, order: tuple[int, ...]) -> RenderedChat:
    size = len(text)
    return RenderedChat(text, np.zeros(size, np.int8), np.ones(size, np.bool_), False, order)


def _untemplated(
    template: ChatTemplate, turns: tuple[Turn, ...], answer: str | None, order: tuple[int, ...]
) -> RenderedChat:
    """Turns without a chat template: a line each, which are those of who says them."""
    said = [(template.put(t.images, t.videos) + t.text, ROLE[t.role]) for t in turns]
    said += [(answer, Role.ASSISTANT)] if answer is not None else []
    ends = [*["\n"] * (len(said) - 1), ""]
    lines = [(line + end, role) for (line, role), end in zip(said, ends, strict=True)]
    plain = _plain("".join(line for line, _ in lines), order)
    roles = [np.full(len(line), role, np.int8) for line, role in lines]
    return replace(plain, roles=np.concatenate(roles))


def _roles(template: ChatTemplate, turns: tuple[Turn, ...], text: str) -> NDArray[np.int8]:
    """(letters,) the role of each letter, from what each turn adds to the rendered prefix."""
    roles = np.full(len(text), Role.ASSISTANT, np.int8)  # what follows the last turn is an answer
    start = 0
    for n in range(1, len(turns) + 1):
        end = _turn_end(template, turns, n, text)
        if end is None or end < start:
            continue  # a prefix that the template refuses is the next turn's
        roles[start:end] = ROLE[turns[n - 1].role]
        start = end
    roles[: _implicit_system(template, turns, text)] = Role.SYSTEM
    return roles


def _turn_end(template: ChatTemplate, turns: tuple[Turn, ...], n: int, text: str) -> int | None:
    """Where the first ``n`` turns end in the text; None where the template refuses them alone."""
    try:
        part = template.render(turns[:n], generate=False)
    except TemplateError:
        return None
    if text.startswith(part):
        return len(part)
    # The template looks ahead (a system prompt that depends on later pictures, thoughts taken
    # out of past answers): go by where the words stand, and what closes them in the prefix.
    end = _words(template, turns, n - 1, text)[1]
    limit = _words(template, turns, n, text)[0] if n < len(turns) else len(text)
    closing = part[_words(template, turns[:n], n - 1, part)[1] :]
    return end + _shared(text[end:limit], closing)


def _implicit_system(template: ChatTemplate, turns: tuple[Turn, ...], text: str) -> int:
    """Letters of a system prompt that the template adds of itself before a user's first turn."""
    if turns[0].role != "user":
        return 0
    try:
        spoken = template.render((Turn("system", MARK), *turns), generate=False)
        first = template.render(turns[:1], generate=False)
    except TemplateError:
        return 0
    if spoken.count(MARK) != 1:
        return 0
    # ``after`` closes the system turn and goes on with the turns. Where the template spoke as
    # the system itself, the text ends just so, closing included.
    after = spoken.split(MARK)[1]
    own = text.find(after)
    if own <= 0:
        return 0
    header = _words(template, turns, 0, text)[0] - own
    closing = first[_words(template, turns[:1], 0, first)[1] :]
    return own + _shared(after[:header], closing)


def _content(template: ChatTemplate, turns: tuple[Turn, ...], text: str) -> NDArray[np.bool_]:
    """(letters,) True where a turn's own words stand."""
    content = np.zeros(len(text), np.bool_)
    for n, turn in enumerate(turns):
        start, end = _words(template, turns, n, text)
        for piece in turn.pieces if turn.at else ():
            place = text.find(piece.strip(), start, end)
            if place >= 0:
                content[place : place + len(piece.strip())] = True
                start = place + len(piece.strip())
        if not turn.at:
            content[start:end] = True
    return content


def _words(template: ChatTemplate, turns: tuple[Turn, ...], n: int, text: str) -> tuple[int, int]:
    """Where the words of turn ``n`` stand in the rendered text.

    Words that occur once are looked up. Others ("user" is in many a template) are found by
    saying something else in their place, and seeing where the text begins and ends to differ.
    """
    words = turns[n].text.strip()
    if turns[n].at:
        return _between(template, turns, n, text)
    if words and text.count(words) == 1:
        start = text.index(words)
        return start, start + len(words)
    spoken = replace(turns[n], text=MARK)
    try:
        other = template.render((*turns[:n], spoken, *turns[n + 1 :]), generate=False)
    except TemplateError:
        return 0, 0
    start = _shared(text, other)
    after = other[start + 1 :]
    end = text.rfind(after) if after else len(text)
    return (start, end) if end >= start else (start, start)


def _between(template: ChatTemplate, turns: tuple[Turn, ...], n: int, text: str) -> tuple[int, int]:
    """Where the words and pictures of a turn stand that has pictures between its words."""
    spoken = replace(turns[n], text=MARK, at=(0,) * turns[n].images)
    try:
        other = template.render((*turns[:n], spoken, *turns[n + 1 :]), generate=False)
    except TemplateError:
        return 0, 0
    start = _shared(text, other)
    placeholder = template.placeholder or ""
    if placeholder and text.startswith(placeholder, start - len(placeholder)):
        start -= len(placeholder)
    end = text.rfind(other.rpartition(MARK)[2])
    return start, max(start, end)


def _shared(a: str, b: str) -> int:
    """How many letters two texts have in common from the start."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((n for n, (x, y) in pairs if x != y), min(len(a), len(b)))
