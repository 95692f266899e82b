"""What processors make of single samples, stacked into one batch: which axis is what is measured.

A processor's outputs have axes of many meanings: prompts, pictures, tiles, tokens. Which is which
is found by reading a probe three times, with a longer text and with a second picture, and seeing
what grows. What cannot be told so is refused in a sentence. Knows shapes and names of outputs;
nothing of families, models or pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from semascope.errors import SubjectError

Outputs = dict[str, Tensor]
Probe = Callable[[int, int], Outputs]
"""(words, pictures) -> what the processor makes of a prompt of these, ``input_ids`` among it."""

FILLED = {"image_position_ids": -1, "pixel_position_ids": -1, "image_patches_indices": -1}
"""What stands for nothing in an output, where that is not 0."""
FIRST = ("aspect_ratio_mask",)
"""Masks of tiles in which a picture that is not there has its first tile (Mllama's cannot do
without any)."""
PICTURES = (
    "image_sizes",
    "image_grid_thw",
    "pixel_values_videos",
    "video_grid_thw",
    "second_per_grid_ts",
    "video_sizes",
)
"""Outputs with one entry a picture or video in every family; those of videos are not probed."""
APART = ("qformer_input_ids", "qformer_attention_mask")
"""Texts of another tokenizer with a mask of their own, which are padded apart."""
AGAIN = ("cross_attention_mask", "image_attention_mask")
"""Outputs by token that a model with a cache wants again with every further token."""


@dataclass(frozen=True, slots=True)
class AxisLayout:
    """What the axes of one output are."""

    tokens: int | None = None
    """The axis with one entry a token; None where there is none."""
    prompts: bool = False
    """Whether the leading axis has one entry a prompt, however many its pictures. Else it has
    one a picture, or several, and prompts without a picture have none."""
    placed: bool = False
    """Whether its values depend on where in the text the picture stands, without an entry a token:
    they would be wrong after padding."""


def measure(probe: Probe) -> dict[str, AxisLayout]:
    """The layout of every output, by what grows with words and with pictures.

    Raises SubjectError where an axis grows with the words by other than a token each.
    """
    short, long = probe(1, 1), probe(5, 1)
    two = _or_none(probe, 1, 2)
    lengths = (short["input_ids"].shape[1], long["input_ids"].shape[1])
    if lengths[0] == lengths[1]:
        raise SubjectError("The processor makes as many tokens of a long text as of a short one.")
    return {
        name: _layout(
            name, short[name], long.get(name), None if two is None else two.get(name), lengths
        )
        for name in short
        if name != "input_ids"
    }


def _or_none(probe: Probe, words: int, pictures: int) -> Outputs | None:
    """None where the processor takes no more than one picture a prompt."""
    try:
        return probe(words, pictures)
    except SubjectError:
        return None


def _layout(
    name: str, short: Tensor, long: Tensor | None, two: Tensor | None, lengths: tuple[int, int]
) -> AxisLayout:
    if name in APART:
        return AxisLayout(prompts=True)
    if long is None or long.ndim != short.ndim:
        raise SubjectError(_unknown(name))
    grown = [n for n, (a, b) in enumerate(zip(short.shape, long.shape, strict=True)) if a != b]
    if grown and (len(grown) > 1 or (short.shape[grown[0]], long.shape[grown[0]]) != lengths):
        raise SubjectError(_unknown(name))
    prompts = bool(grown and grown[0] > 0)
    if two is not None and two.ndim == short.ndim and short.ndim:
        prompts = prompts or len(two) == len(short)
    placed = not grown and not torch.equal(short, long)
    return AxisLayout(grown[0] if grown else None, prompts and name not in PICTURES, placed)


def _unknown(name: str) -> str:
    return (
        f"The processor's output {name!r} grows with the text in a way that is not known here, so "
        "rows of unlike length cannot be put into one batch: encode one sample at a time."
    )


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One row of a batch."""

    size: int
    """Tokens that the row has."""
    start: int
    """Position of its first token."""


def collate(
    name: str,
    parts: Sequence[Tensor | None],
    places: Sequence[BatchRow],
    length: int,
    layout: AxisLayout,
) -> Tensor:
    """One output of every row, (B or pictures, …): None for rows that do not have it.

    ``length`` is that of the batch in tokens. Smaller pictures, fewer tiles and fewer pictures are
    filled with what stands for nothing. Raises SubjectError for outputs that padding would make
    wrong.
    """
    there = [part for part in parts if part is not None]
    if layout.placed and len(parts) > 1:
        raise SubjectError(
            f"The processor's output {name!r} tells where in the text the pictures stand, and "
            "would be wrong in a padded batch: encode one sample at a time."
        )
    axis = layout.tokens
    shape = [max(p.shape[d] for p in there) for d in range(1, there[0].ndim)]
    if axis is not None:
        shape[axis - 1] = length
    blank = _blank(name, there, shape, axis)
    rows = []
    for part, place in zip(parts, places, strict=True):
        if part is None and not layout.prompts:
            continue
        row = blank.repeat(1 if part is None else len(part), *[1] * len(shape))
        if part is not None:
            row[_where(part, place, axis)] = part
        rows.append(row)
    return torch.cat(rows)


def _where(part: Tensor, place: BatchRow, axis: int | None) -> tuple[slice, ...]:
    """Where in a row of the batch what one sample has goes."""
    at = [slice(0, size) for size in part.shape]
    if axis is not None:
        at[axis] = slice(place.start, place.start + place.size)
    return tuple(at)


def _blank(name: str, parts: Sequence[Tensor], shape: list[int], axis: int | None) -> Tensor:
    """(1, …) a row in which nothing is."""
    ragged = any(
        d + 1 != axis and part.shape[d + 1] != size
        for part in parts
        for d, size in enumerate(shape)
    )
    known = (
        name in FILLED
        or name in FIRST
        or name in APART
        or name.endswith("mask")
        or "type_ids" in name
    )
    if ragged and not known and not parts[0].is_floating_point() and name != "aspect_ratio_ids":
        raise SubjectError(
            f"The processor's output {name!r} is of unlike shape in these samples, and what would "
            "stand for nothing in it is not known: encode one sample at a time."
        )
    blank = parts[0].new_full((1, *shape), FILLED.get(name, 0))
    if name in FIRST:
        blank[..., 0] = 1
    return blank


def again(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What a decoder with a cache is to be given with every further token, as it stands at the last
    token of a left-padded prompt: (B, 1, …) each."""
    return {name: inputs[name][:, -1:] for name in AGAIN if name in inputs}
