"""Stacks a processor's outputs of single samples into one batch; the meaning of axes is measured.

Axes of a processor's outputs may be prompts, pictures, tiles or tokens. A probe is read three
times, with a longer text and with a second picture, to see which axes grow. Outputs for which this
gives no answer raise a SubjectError.
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
"""(words, pictures) -> the processor's output for such a prompt, ``input_ids`` included."""

FILLED = {"image_position_ids": -1, "pixel_position_ids": -1, "image_patches_indices": -1}
"""Fill value of outputs, where it is not 0."""
FIRST = ("aspect_ratio_mask",)
"""Masks of tiles in which a missing picture has its first tile: Mllama fails without any."""
PICTURES = (
    "image_sizes",
    "image_grid_thw",
    "pixel_values_videos",
    "video_grid_thw",
    "second_per_grid_ts",
    "video_sizes",
)
"""Outputs with one entry for each picture or video in every family; videos are not probed."""
APART = ("qformer_input_ids", "qformer_attention_mask")
"""Texts of a second tokenizer, which have their own mask and padding."""
AGAIN = ("cross_attention_mask", "image_attention_mask")
"""Outputs by token that a model with a cache needs again for every further token."""


@dataclass(frozen=True, slots=True)
class AxisLayout:
    """The meaning of an output's axes."""

    tokens: int | None = None
    """The axis with one entry for each token, or None."""
    prompts: bool = False
    """Whether the first axis has one entry for each prompt. If not, it has one or several for each
    picture, and none for prompts without a picture."""
    placed: bool = False
    """Whether its values depend on the picture's position in the text although it has no entry for
    each token: padding would make them wrong."""


def measure(probe: Probe) -> dict[str, AxisLayout]:
    """The layout of every output, by which axes grow with text and with pictures.

    Raises:
        SubjectError: an axis grows with the text, but not by one entry for each token.
    """
    short, long = probe(1, 1), probe(5, 1)
    two = _or_none(probe, 1, 2)
    lengths = (short["input_ids"].shape[1], long["input_ids"].shape[1])
    if lengths[0] == lengths[1]:
        raise SubjectError("The processor gives a long text as many tokens as a short one.")
    return {
        name: _layout(
            name, short[name], long.get(name), None if two is None else two.get(name), lengths
        )
        for name in short
        if name != "input_ids"
    }


def _or_none(probe: Probe, words: int, pictures: int) -> Outputs | None:
    """The probe's output; None if the processor takes only one picture for each prompt."""
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
        f"The processor's output {name!r} grows with the text in an unknown way, so rows of "
        "different lengths cannot be batched: encode one sample at a time."
    )


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One row of a batch."""

    size: int
    """Number of tokens."""
    start: int
    """Position of its first token."""


def collate(
    name: str,
    parts: Sequence[Tensor | None],
    places: Sequence[BatchRow],
    length: int,
    layout: AxisLayout,
) -> Tensor:
    """Stack one output of every row.

    Smaller pictures, fewer tiles and fewer pictures are padded with the output's fill value.

    Args:
        name: of the output.
        parts: of each row, None for rows that do not have it.
        places: tokens of each row in the batch.
        length: of the batch, in tokens.
        layout: meaning of the output's axes.

    Returns:
        (B or pictures, …).

    Raises:
        SubjectError: padding would make the output wrong.
    """
    present = [part for part in parts if part is not None]
    if layout.placed and len(parts) > 1:
        raise SubjectError(
            f"The processor's output {name!r} depends on the position of pictures in the text and "
            "would be wrong in a padded batch: encode one sample at a time."
        )
    axis = layout.tokens
    shape = [max(p.shape[d] for p in present) for d in range(1, present[0].ndim)]
    if axis is not None:
        shape[axis - 1] = length
    blank = _blank(name, present, shape, axis)
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
    """Where one sample's part goes in its row of the batch."""
    at = [slice(0, size) for size in part.shape]
    if axis is not None:
        at[axis] = slice(place.start, place.start + place.size)
    return tuple(at)


def _blank(name: str, parts: Sequence[Tensor], shape: list[int], axis: int | None) -> Tensor:
    """(1, …) an empty row."""
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
            f"The processor's output {name!r} differs in shape between these samples, and its fill "
            "value is unknown: encode one sample at a time."
        )
    blank = parts[0].new_full((1, *shape), FILLED.get(name, 0))
    if name in FIRST:
        blank[..., 0] = 1
    return blank


def again(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs that a decoder with a cache needs with every further token: (B, 1, …) each, those of
    the last token of a left-padded prompt."""
    return {name: inputs[name][:, -1:] for name in AGAIN if name in inputs}
