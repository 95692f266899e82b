"""LLaVA: one square view of the picture, resized, and centre-cropped or padded to a square.

CLIP's processor scales the shortest edge and crops the middle, so that the ends of a long
picture are never seen; LLaVA's own processor can pad to a square first instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from semascope.errors import GeometryUnknown
from semascope.subject.geometry.base import (
    AdapterInput,
    Size,
    TokenClaims,
    claims,
    clip,
    join,
    nowhere,
    patches,
    tower_patch,
)
from semascope.subject.geometry.whole import Pixtral
from semascope.subject.types import Kind


class Llava:
    """``LlavaForConditionalGeneration`` with CLIP, SigLIP or any other tower of one square view."""

    model_types: tuple[str, ...] = ("llava", "vipllava")

    def claim(self, seen: AdapterInput) -> Sequence[TokenClaims]:
        """A grid over the cropped part of each picture."""
        if getattr(seen.config.vision_config, "model_type", "") == "pixtral":
            return Pixtral().claim(seen)
        extra, patch = extra_tokens(seen.processor), tower_patch(seen)
        found = []
        for n, size in enumerate(seen.sizes):
            height, width = (int(x) for x in seen.outputs["pixel_values"][n].shape[-2:])
            box = view_box(seen.processor.image_processor, size, (width, height))
            rects = clip(patches((width, height), patch, box), size)
            found.append(join([nowhere(extra), claims(Kind.IMAGE, rects)]))
        return found


def extra_tokens(processor: Any) -> int:
    """Tokens before a view's patches without a rectangle: the class token, if it is kept."""
    extra = getattr(processor, "num_additional_image_tokens", None)
    if extra is None:
        raise GeometryUnknown(
            f"{type(processor).__name__} is no processor of LLaVA that is supported."
        )
    count = int(extra) - int(processor.vision_feature_select_strategy == "default")
    if count < 0:
        raise GeometryUnknown("The class token is left out, but the processor counts none.")
    return count


def view_box(image_processor: Any, size: Size, seen: Size) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) in pixels: the part of the picture in a view of size ``seen``."""
    width, height = float(size[0]), float(size[1])
    left = top = 0.0
    if getattr(image_processor, "do_pad", False):
        # The picture is centred in a square, in whole pixels as in the processor.
        edge = max(width, height)
        left, top = -((edge - width) // 2), -((edge - height) // 2)
        width = height = edge
    if not getattr(image_processor, "do_center_crop", False):
        return left, top, left + width, top + height
    scaled_w, scaled_h = _resized(image_processor, width, height)
    x0, y0 = (scaled_w - seen[0]) // 2, (scaled_h - seen[1]) // 2
    sx, sy = width / scaled_w, height / scaled_h
    return left + x0 * sx, top + y0 * sy, left + (x0 + seen[0]) * sx, top + (y0 + seen[1]) * sy


def _resized(image_processor: Any, width: float, height: float) -> tuple[int, int]:
    """(width, height) after the processor's resize, before its crop."""
    if not getattr(image_processor, "do_resize", False):
        return int(width), int(height)
    size = image_processor.size
    shortest = size.get("shortest_edge")
    if not shortest:
        if not (size.get("width") and size.get("height")):
            raise GeometryUnknown(f"Pictures are resized to {dict(size)}, which is not supported.")
        return int(size["width"]), int(size["height"])
    if width <= height:
        return int(shortest), int(shortest * height / width)
    return int(shortest * width / height), int(shortest)
