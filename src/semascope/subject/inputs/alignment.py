"""Which letters of a text each of its tokens stands for.

Fast tokenizers say so themselves; what they say is held against the tokens' own text. For others,
and where what is said is wrong, tokens are decoded one after another and laid along the text.
Knows tokenizers; nothing of roles, pictures or models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Span = tuple[int, int]
"""First letter, and the one past the last; empty where a token stands for none."""
BROKEN = "\ufffd"
"""What a decoder writes for the bytes of half a letter."""
BEHIND = 6
"""Tokens decoded together with the next: some decoders drop a space at the start."""


def spans(
    tokenizer: Any,
    text: str,
    ids: Sequence[int],
    told: Sequence[Span] | None,
    piece: Callable[[int], str],
) -> list[Span] | None:
    """(T,) the letters of each token; None where they cannot be found.

    ``told`` is what a fast tokenizer says, and ``piece`` gives one token as text.
    """
    if told is not None and all(
        _agree(text[a:b], piece(i)) for i, (a, b) in zip(ids, told, strict=True)
    ):
        return [(int(a), int(b)) for a, b in told]
    laid = _lay(tokenizer, text, ids)
    if laid is None and told is not None:
        # A normaliser that rewrites the text (NFKC, accents): its own offsets are all there is.
        return [(int(a), int(b)) for a, b in told]
    return laid


def _agree(letters: str, piece: str) -> bool:
    """Whether a token may stand for these letters, spaces and case aside."""
    a, b = _plain(letters), _plain(piece)
    return not a or not b or BROKEN in piece or a == b


def _plain(text: str) -> str:
    return "".join(text.split()).casefold()


def _lay(tokenizer: Any, text: str, ids: Sequence[int]) -> list[Span] | None:
    """The spans by decoding token after token; None where that does not give the text again."""
    found: list[Span] = []
    at = start = done = 0
    for n in range(len(ids)):
        before = _decoded(tokenizer, ids[start:done])
        new = _decoded(tokenizer, ids[start : n + 1])
        if new.endswith(BROKEN) and n + 1 < len(ids):
            continue  # half a letter: what completes it says what it was
        written = new[len(before) :] if new.startswith(before) else None
        span = None if written is None else _next(text, at, written)
        if span is None and done == n and ids[n] in set(tokenizer.all_special_ids):
            span = (at, at)  # put there by the tokenizer: a BOS, an EOS
        if span is None:
            return None
        found += [span] * (n + 1 - done)
        at, done = span[1], n + 1
        start = max(0, done - BEHIND)
        while start and _decoded(tokenizer, ids[start:done]).startswith(BROKEN):
            start -= 1
    return found if not text[at:].strip() else None


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    if not len(ids):
        return ""
    listed = [int(i) for i in ids]
    return str(
        tokenizer.decode(listed, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    )


def _next(text: str, at: int, written: str) -> Span | None:
    """Where the text goes on with what was written, give or take a space; None where not."""
    bare = written.strip(" ")
    space = len(text) - len(text[at:].lstrip(" ")) - at
    for word, start in ((written, at), (bare, at), (bare, at + space)):
        end = start + len(word)
        if (word or not bare) and text[start:end].casefold() == word.casefold():
            return (at, at) if not word else (start, end)
    return None
