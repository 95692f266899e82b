"""Families that read the whole picture as one grid: Qwen-VL, GLM-4V, Pixtral, PaliGemma, Gemma 3.

Qwen-VL, GLM-4V and Pixtral keep the resolution and may merge patches; PaliGemma and Gemma 3 resize
to a square. Gemma 3 may pan and scan: crops of a long picture follow the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from semascope.subject.geometry.base import (
    AdapterInput,
    Size,
    TokenClaims,
    VideoClaims,
    claims,
    folded,
    grid,
    join,
    option,
    patches,
    square,
    tower_patch,
)
from semascope.subject.types import Kind


class QwenVL:
    """Qwen2-VL to Qwen3.5, and GLM-4V: ``image_grid_thw`` is the number of patches."""

    model_types: tuple[str, ...] = (
        "qwen2_vl",
        "qwen2_5_vl",
        "qwen3_vl",
        "qwen3_vl_moe",
        "qwen3_5",
        "qwen3_5_moe",
        "glm4v",
        "glm4v_moe",
    )

    def claim(self, seen: AdapterInput) -> Sequence[TokenClaims]:
        """A grid of merged patches over each picture."""
        merge = int(seen.processor.image_processor.merge_size)
        grids = seen.outputs["image_grid_thw"].tolist()
        return [
            claims(Kind.IMAGE, grid(rows // merge, columns // merge, (0, 0, *size)))
            for size, (_, rows, columns) in zip(seen.sizes, grids, strict=True)
        ]

    def claim_videos(self, seen: AdapterInput) -> Sequence[VideoClaims]:
        """The same grid at every step; frames are merged in time by so many."""
        reader = seen.processor.video_processor
        grids = seen.outputs["video_grid_thw"].tolist()
        found = []
        for (_, size), (steps, rows, columns) in zip(seen.videos, grids, strict=True):
            merged = grid(rows // reader.merge_size, columns // reader.merge_size, (0, 0, *size))
            found.append(
                VideoClaims([claims(Kind.IMAGE, merged)] * steps, reader.temporal_patch_size)
            )
        return found


class Pixtral:
    """Mistral 3, and Pixtral's tower in LLaVA: pictures at their own aspect, neighbours merged.

    Tokens that end a row have ids of their own and are none of the picture's.
    """

    model_types: tuple[str, ...] = ("mistral3",)

    def claim(self, seen: AdapterInput) -> Sequence[TokenClaims]:
        """Merged patches over each picture; those left over at an edge are in no token."""
        patch, merge = tower_patch(seen), int(getattr(seen.config, "spatial_merge_size", 1))
        shapes = seen.outputs["image_sizes"].tolist()
        return [
            claims(Kind.IMAGE, patches((width, height), patch, (0, 0, *size), pool=merge))
            for size, (height, width) in zip(seen.sizes, shapes, strict=True)
        ]


class PaliGemma:
    """PaliGemma 1 and 2."""

    model_types: tuple[str, ...] = ("paligemma",)

    def claim(self, seen: AdapterInput) -> Sequence[TokenClaims]:
        """A square grid over each picture."""
        tokens = int(seen.processor.image_seq_length)
        return [claims(Kind.IMAGE, folded(seen, (0, 0, *size), 1, tokens)) for size in seen.sizes]


class Gemma3:
    """Gemma 3, with pan-and-scan or without."""

    model_types: tuple[str, ...] = ("gemma3",)

    def claim(self, seen: AdapterInput) -> Sequence[TokenClaims]:
        """A square grid over each picture, then one over each of its crops."""
        tokens = int(seen.processor.image_seq_length)
        edge = int(seen.outputs["pixel_values"].shape[-1])
        pool = edge // tower_patch(seen) // square(tokens)  # patches left over are not averaged
        found = []
        for size in seen.sizes:
            views = [claims(Kind.IMAGE, folded(seen, (0, 0, *size), pool, tokens))]
            for box in _crops(seen.processor, size):
                views.append(claims(Kind.TILE, folded(seen, box, pool, tokens)))
            found.append(join(views))
        return found


def _crops(processor: Any, size: Size) -> list[tuple[int, int, int, int]]:
    """The boxes of pan-and-scan, got by letting the processor crop the pixels' coordinates."""
    if not option(processor, "do_pan_and_scan", False):
        return []
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    coordinates = np.stack([x, y, x])  # (3, H, W)
    crops = processor.image_processor.pan_and_scan(
        coordinates,
        option(processor, "pan_and_scan_min_crop_size"),
        option(processor, "pan_and_scan_max_num_crops"),
        option(processor, "pan_and_scan_min_ratio_to_activate"),
    )
    return [
        (int(c[0, 0, 0]), int(c[1, 0, 0]), int(c[0, -1, -1]) + 1, int(c[1, -1, -1]) + 1)
        for c in crops
    ]
