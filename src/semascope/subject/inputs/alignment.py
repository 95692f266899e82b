"""Which characters of a text each of its tokens covers.

Fast tokenizers report offsets, which are compared with the tokens' own text. For other tokenizers,
and if offsets are wrong, tokens are decoded one after another and matched with the text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np
from numpy.typing import NDArray

Span = tuple[int, int]
"""First character and the one past the last; empty if the token covers none."""
BROKEN = "\ufffd"
"""What a decoder writes for an incomplete character."""
BEHIND = 6
"""Tokens decoded together with the next: some decoders drop a space at the start."""


def spans(
    tokenizer: Any,
    text: str,
    ids: Sequence[int],
    offsets: Sequence[Span] | None,
    piece: Callable[[int], str],
) -> list[Span] | None:
    """The characters that each token covers; None if they cannot be found.

    Args:
        tokenizer: decodes ids.
        text: that was tokenized.
        ids: (T,) its tokens.
        offsets: (T,) spans by a fast tokenizer, if there is one.
        piece: a token id as text.

    Returns:
        (T,) spans.
    """
    if offsets is not None and all(
        _agree(text[a:b], piece(i)) for i, (a, b) in zip(ids, offsets, strict=True)
    ):
        return [(int(a), int(b)) for a, b in offsets]
    matched = _match(tokenizer, text, ids)
    if matched is None and offsets is not None:
        # A normaliser rewrites the text (NFKC, accents): there is nothing but its own offsets.
        return [(int(a), int(b)) for a, b in offsets]
    return matched


def expanded_roles(
    short: NDArray[np.int64],
    long: NDArray[np.int64],
    roles: NDArray[np.int8],
    content: NDArray[np.bool_],
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Roles and content of the tokens after the processor expanded the pictures.

    Tokens that the processor added (image tokens, tile markers) take the role of the token before
    them, and are not text of a turn.

    Args:
        short: (S,) ids before expansion.
        long: (T,) ids after it.
        roles: (S,) role of each token.
        content: (S,) whether it is text of a turn.

    Returns:
        (T,) roles and (T,) content.
    """
    matcher = SequenceMatcher(None, short.tolist(), long.tolist(), autojunk=False)
    source = np.full(len(long), -1, np.int64)
    for block in matcher.get_matching_blocks():
        source[block.b : block.b + block.size] = np.arange(block.a, block.a + block.size)
    inherited = np.maximum(np.maximum.accumulate(source), 0)
    return roles[inherited], content[inherited] & (source >= 0)


def _agree(letters: str, piece: str) -> bool:
    """Whether a token may cover these characters, ignoring spaces and case."""
    a, b = _plain(letters), _plain(piece)
    return not a or not b or BROKEN in piece or a == b


def _plain(text: str) -> str:
    return "".join(text.split()).casefold()


def _match(tokenizer: Any, text: str, ids: Sequence[int]) -> list[Span] | None:
    """The spans by decoding token after token; None if that does not give the text."""
    found: list[Span] = []
    at = start = done = 0
    for n in range(len(ids)):
        before = _decoded(tokenizer, ids[start:done])
        new = _decoded(tokenizer, ids[start : n + 1])
        if new.endswith(BROKEN) and n + 1 < len(ids):
            continue  # an incomplete character: the next token completes it
        written = new[len(before) :] if new.startswith(before) else None
        span = None if written is None else _next(text, at, written)
        if span is None and done == n and ids[n] in set(tokenizer.all_special_ids):
            span = (at, at)  # added by the tokenizer: BOS or EOS
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
    """Where the text continues with ``written``, with or without a space; None if it does not."""
    bare = written.strip(" ")
    space = len(text) - len(text[at:].lstrip(" ")) - at
    for word, start in ((written, at), (bare, at), (bare, at + space)):
        end = start + len(word)
        if (word or not bare) and text[start:end].casefold() == word.casefold():
            return (at, at) if not word else (start, end)
    return None
