"""The positions that a ``Where`` selects, in a prompt and past its end.

Text is searched in the tokens as the map spells them: a span that the tokenizer rewrites (accents,
say) is found only in the tokens' spelling.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semascope.causal.steering.interventions import Region, Where
from semascope.errors import CausalError
from semascope.subject.types import Kind, Role, TokenMap, looking_at

Mask = NDArray[np.bool_]

_COVERED = 0.5
"""An image token is in a region when this share of it, or of the region, is covered."""


def select(where: Where, token_map: TokenMap, total: int) -> Mask:
    """(total,) bool: the positions that ``where`` selects in one sequence of ``total`` positions.

    Positions past the end of ``token_map`` were generated. Padding is never selected.

    Raises:
        CausalError: the text is not in the prompt, a position lies outside it, or a
            region lies outside the picture.
    """
    prompt = len(token_map)
    total = max(total, prompt)
    written = np.arange(total) >= prompt
    kinds = _padded(token_map.kinds, total, Kind.TEXT)
    mask: Mask = kinds != Kind.PAD
    if where.generated is not None:
        mask &= written == where.generated
    if where.roles is not None:
        wanted = [Role[name.upper()] for name in where.roles]
        mask &= np.isin(_padded(token_map.roles, total, Role.ASSISTANT), wanted)
    if where.kinds is not None:
        mask &= np.isin(kinds, [Kind[name.upper()] for name in where.kinds])
    for part in _places(where, token_map, total):
        mask &= part
    return mask


def _places(where: Where, token_map: TokenMap, total: int) -> list[Mask]:
    """The masks of text, positions and region, where they are given."""
    parts: list[Mask] = []
    if where.text is not None:
        parts.append(_pad_false(_text_span(where.text, token_map), total))
    if where.positions is not None:
        parts.append(_positions(where.positions, token_map, total))
    if where.region is not None:
        parts.append(_pad_false(region_mask(where.region, token_map), total))
    return parts


def _padded(values: NDArray[np.int8], total: int, fill: int) -> NDArray[np.int8]:
    """(total,): the prompt's values, then ``fill`` for what is generated."""
    return np.concatenate([values, np.full(total - len(values), fill, dtype=np.int8)])


def _pad_false(mask: Mask, total: int) -> Mask:
    """(total,): a prompt's mask, nothing generated in it."""
    return np.concatenate([mask, np.zeros(total - len(mask), dtype=np.bool_)])


def _text_span(text: str, token_map: TokenMap) -> Mask:
    """(T,): tokens that share a character with any occurrence of ``text``."""
    if not text:
        raise CausalError("The text is empty: leave `text` out to select all tokens.")
    real = token_map.kinds != Kind.PAD
    lengths = np.where(real, [len(token) for token in token_map.tokens], 0)
    ends = np.cumsum(lengths)
    joined = "".join(t for t, keep in zip(token_map.tokens, real, strict=True) if keep)
    mask: Mask = np.zeros(len(token_map), dtype=np.bool_)
    start = joined.find(text)
    if start < 0:
        raise CausalError(f"The text {text!r} is not in this prompt.")
    while start >= 0:
        mask |= (ends > start) & (ends - lengths < start + len(text)) & (lengths > 0)
        start = joined.find(text, start + 1)
    return mask


def _positions(positions: tuple[int, ...], token_map: TokenMap, total: int) -> Mask:
    """(total,): the named positions; those past the prompt are tokens still to be written."""
    real = np.flatnonzero(token_map.kinds != Kind.PAD)
    mask: Mask = np.zeros(total, dtype=np.bool_)
    for position in positions:
        if position < -len(real):
            raise CausalError(
                f"Position {position} lies before this prompt, which has {len(real)} tokens."
            )
        if position < len(real):
            mask[real[position]] = True
        elif (later := len(token_map) + position - len(real)) < total:
            mask[later] = True
    return mask


def region_mask(region: Region, token_map: TokenMap) -> Mask:
    """(T,): image tokens that look at ``region``.

    A token belongs when half of its rectangle, or half of the region, lies in both; so a
    region smaller than a patch still finds the patch that it is in.

    Raises:
        CausalError: no such picture, a region outside it, or image tokens of unknown geometry.
    """
    if region.image >= len(token_map.sizes):
        raise CausalError(
            f"There is no picture {region.image}: this prompt has {len(token_map.sizes)}."
        )
    width, height = token_map.sizes[region.image]
    if region.right > width or region.bottom > height:
        raise CausalError(
            f"The region {region.box} lies outside the picture, which is {width} × {height} pixels."
        )
    if token_map.geometry != "known":
        raise CausalError(f"The places of image tokens are not known: {token_map.geometry}.")
    rects = token_map.rects.astype(np.float64)  # (T, 4)
    wide = np.minimum(rects[:, 2], region.right) - np.maximum(rects[:, 0], region.left)
    high = np.minimum(rects[:, 3], region.bottom) - np.maximum(rects[:, 1], region.top)
    shared = np.clip(np.nan_to_num(wide), 0, None) * np.clip(np.nan_to_num(high), 0, None)
    token_area = np.nan_to_num((rects[:, 2] - rects[:, 0]) * (rects[:, 3] - rects[:, 1]))
    area = (region.right - region.left) * (region.bottom - region.top)
    inside: Mask = (shared > 0) & (shared >= _COVERED * np.minimum(token_area, area))
    of_picture: Mask = looking_at(token_map, region.image)
    return np.logical_and(inside, of_picture)
