"""Renders a sample with the subject's own chat template, and finds the role of each character.

This works for any template: prefixes of the conversation are rendered, and the text that a turn
adds belongs to that turn.
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
"""A character that occurs in no text."""
ROLE = {"system": Role.SYSTEM, "user": Role.USER, "assistant": Role.ASSISTANT}


@dataclass(frozen=True, slots=True, eq=False)
class RenderedChat:
    """The text for the tokenizer."""

    text: str
    roles: NDArray[np.int8]
    """(characters,) of ``Role``."""
    content: NDArray[np.bool_]
    """(characters,) bool: text of turns, not of the template."""
    templated: bool
    """Whether a chat template, which writes its own BOS, made the text."""
    order: tuple[int, ...] = ()
    """Images and videos in the order of the text: the index of an image, or the number of images
    plus that of a video."""


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A tokenizer's or processor's chat template, and its placeholders."""

    owner: Any
    placeholder: str | None
    """Placeholder of a picture; None for subjects that read text only."""
    moving: str | None = None
    """Placeholder of a video; None for subjects that read none."""

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
            # Older templates take plain strings, and print lists as Python does.
            if PRINTED not in text and self._shows(text, turns):
                return text
        return self._render(turns, generate, listed=False)

    def _shows(self, text: str, turns: tuple[Turn, ...]) -> bool:
        """Whether the text has as many placeholders as the turns have pictures and videos."""
        images, videos = sum(t.images for t in turns), sum(t.videos for t in turns)
        moving = text.count(self.moving) if self.moving and videos else 0
        return text.count(self.placeholder or "") == images and moving == videos

    def put(self, images: int, videos: int) -> str:
        """The placeholders of some images and videos."""
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
        """The text of a turn with its placeholders."""
        if not turn.at:
            return self.put(turn.images, turn.videos) + turn.text
        return self.put(0, turn.videos) + (self.placeholder or "").join(turn.pieces)


def render(template: ChatTemplate, sample: Sample, answer: str | None) -> RenderedChat:
    """A sample as text: with the chat template if it has turns or pictures, plain otherwise.

    Args:
        template: of the subject.
        sample: to render.
        answer: opens the assistant's turn and begins it with this text; None opens no turn.

    Raises:
        SubjectError: the template refuses the turns, or moves pictures.
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
            "Give the turns in an order that it accepts (mostly user, assistant, user, …)."
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
    """Raise SubjectError if a template moves pictures that are between words."""
    place = 0
    for turn in turns:
        pieces = [piece.strip() for piece in turn.pieces]
        if not turn.at or sum(map(bool, pieces)) < 2:
            continue  # text before or after all pictures: a template may have its own order
        for number, piece in enumerate(pieces):
            expected = [template.placeholder or ""] * (number > 0) + [piece]
            for string in expected:
                start = text.find(string, place)
                if start < 0:
                    raise SubjectError(
                        f"The subject's chat template puts all pictures of a message before its "
                        f"text, and in sample {sample!r} they are within the text. Put each "
                        "picture into a separate message, or all before the text."
                    )
                place = start + len(string)


def placed(sample: Sample, template: ChatTemplate) -> tuple[Turn, ...]:
    """The sample's turns, with every picture and video in one of them.

    Raises:
        SubjectError: the turns show more pictures or videos than there are.
    """
    turns = sample.turns
    if not turns:
        if not (sample.images or sample.videos) or not template.exists:
            return ()
        turns = (Turn("user", sample.text),)
    images = len(sample.images) - sum(turn.images for turn in turns)
    videos = len(sample.videos) - sum(turn.videos for turn in turns)
    for kind, count, left in (
        ("pictures", len(sample.images), images),
        ("videos", len(sample.videos), videos),
    ):
        if left < 0:
            raise SubjectError(
                f"Sample {sample.id!r} has {count} {kind} and its turns show "
                f"{count - left}: give as many {kind} as the turns show."
            )
    if images == videos == 0:
        return turns
    at = next((n for n, turn in enumerate(turns) if turn.role == "user"), 0)
    first = turns[at]
    shown = replace(first, images=first.images + images, videos=first.videos + videos)
    return (*turns[:at], shown, *turns[at + 1 :])


def _order(turns: tuple[Turn, ...], images: int, videos: int) -> tuple[int, ...]:
    """Images and videos in the order of the text: those of a turn, images first."""
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
    """Turns without a chat template: one line for each, with the role of its turn."""
    texts = [(template.put(t.images, t.videos) + t.text, ROLE[t.role]) for t in turns]
    texts += [(answer, Role.ASSISTANT)] if answer is not None else []
    ends = [*["\n"] * (len(texts) - 1), ""]
    lines = [(line + end, role) for (line, role), end in zip(texts, ends, strict=True)]
    plain = _plain("".join(line for line, _ in lines), order)
    roles = [np.full(len(line), role, np.int8) for line, role in lines]
    return replace(plain, roles=np.concatenate(roles))


def _roles(template: ChatTemplate, turns: tuple[Turn, ...], text: str) -> NDArray[np.int8]:
    """(characters,) role of each, from what each turn adds to the rendered prefix."""
    roles = np.full(len(text), Role.ASSISTANT, np.int8)  # text after the last turn is an answer
    start = 0
    for n in range(1, len(turns) + 1):
        end = _turn_end(template, turns, n, text)
        if end is None or end < start:
            continue  # the template refuses this prefix: its text goes to the next turn
        roles[start:end] = ROLE[turns[n - 1].role]
        start = end
    roles[: _implicit_system(template, turns, text)] = Role.SYSTEM
    return roles


def _turn_end(template: ChatTemplate, turns: tuple[Turn, ...], n: int, text: str) -> int | None:
    """Where the first ``n`` turns end in the text; None if the template refuses them alone."""
    try:
        part = template.render(turns[:n], generate=False)
    except TemplateError:
        return None
    if text.startswith(part):
        return len(part)
    # The template looks ahead (a system prompt that depends on later pictures, thoughts removed
    # from past answers): go by the position of the turn's text, and what follows it in the prefix.
    end = _words(template, turns, n - 1, text)[1]
    limit = _words(template, turns, n, text)[0] if n < len(turns) else len(text)
    closing = part[_words(template, turns[:n], n - 1, part)[1] :]
    return end + _shared(text[end:limit], closing)


def _implicit_system(template: ChatTemplate, turns: tuple[Turn, ...], text: str) -> int:
    """Length of a system prompt that the template adds before a user's first turn."""
    if turns[0].role != "user":
        return 0
    try:
        spoken = template.render((Turn("system", MARK), *turns), generate=False)
        first = template.render(turns[:1], generate=False)
    except TemplateError:
        return 0
    if spoken.count(MARK) != 1:
        return 0
    # ``after`` closes the system turn and continues with the turns. If the template added a
    # system prompt, the text ends in the same way.
    after = spoken.split(MARK)[1]
    start = text.find(after)
    if start <= 0:
        return 0
    header = _words(template, turns, 0, text)[0] - start
    closing = first[_words(template, turns[:1], 0, first)[1] :]
    return start + _shared(after[:header], closing)


def _content(template: ChatTemplate, turns: tuple[Turn, ...], text: str) -> NDArray[np.bool_]:
    """(characters,) bool: text of turns."""
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
    """Start and end of the text of turn ``n`` in the rendered text.

    Text that occurs once is looked up. Other text ("user" is in many templates) is replaced by
    something else, to see where the rendered text changes.
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
    """Start and end of a turn that has pictures within its text."""
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
    """Length of the common prefix of two texts."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((n for n, (x, y) in pairs if x != y), min(len(a), len(b)))
