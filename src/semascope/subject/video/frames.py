"""Video processors of our own: frames to the input of a family's vision tower.

transformers' video processors need torchvision, whose wheels do not work with every build of
torch. Frames are prepared here with torch's own resizing, which torchvision calls too: every frame
is resized, cropped and normalised by the family's settings, then laid out for its model. The result
equals that of transformers' video processors pixel for pixel. Frames of a long video are sampled
when it is decoded, not here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_utils import (
    IMAGENET_STANDARD_MEAN,
    IMAGENET_STANDARD_STD,
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
)
from transformers.processing_utils import VideosKwargs

from semascope.errors import SubjectError

Frames = NDArray[np.uint8]
"""(F, H, W, 3)"""
STANDARD = {"image_mean": IMAGENET_STANDARD_MEAN, "image_std": IMAGENET_STANDARD_STD}
MODES: Mapping[int, str] = {
    Image.Resampling.BILINEAR: "bilinear",
    Image.Resampling.BICUBIC: "bicubic",
    Image.Resampling.LANCZOS: "lanczos",
}
LONGEST = 4096
"""Longest edge in pixels of a frame while SmolVLM resizes it."""


class FrameReader:
    """Replaces a processor's video processor; subclasses have a family's layout."""

    model_input_names: ClassVar[tuple[str, ...]] = ("pixel_values_videos",)
    valid_kwargs = VideosKwargs
    num_frames = None
    fps = None
    _auto_class = None
    usual: ClassVar[Mapping[str, Any]] = {}
    """Default settings of the family."""
    common: ClassVar[Mapping[str, Any]] = {
        "do_resize": True,
        "resample": Image.Resampling.BICUBIC,
        "do_center_crop": False,
        "crop_size": None,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": OPENAI_CLIP_MEAN,
        "image_std": OPENAI_CLIP_STD,
    }

    def __init__(self, **settings: Any) -> None:
        """Settings by their names in a checkpoint's file; unknown names are ignored."""
        known = {**self.common, **self.usual}
        given = {k: v for k, v in settings.items() if k in known and v is not None}
        self.settings = {**known, **given}
        for name in ("size", "crop_size"):
            self.settings[name] = _sized(self.settings.get(name), name)

    def __getattr__(self, name: str) -> Any:
        settings = self.__dict__.get("settings", {})
        if name in settings:
            return settings[name]
        raise AttributeError(f"{type(self).__name__} has no {name!r}")

    def to_dict(self) -> dict[str, Any]:
        """The settings, as a checkpoint keeps them."""
        return {k: int(v) if k == "resample" else v for k, v in self.settings.items()}

    def __call__(
        self, videos: Sequence[Frames], *, video_metadata: Any = None, **_: Any
    ) -> BatchFeature:
        """The model's inputs, and ``video_metadata`` as given, for the text around the video."""
        made = self.lay_out([np.asarray(video) for video in videos])
        return BatchFeature({**made, "video_metadata": video_metadata})

    def lay_out(self, videos: list[Frames]) -> dict[str, Tensor]:
        """The family's tensors for these videos."""
        raise NotImplementedError

    def seen(self, frames: Frames, *sizes: tuple[int, int]) -> Tensor:
        """(F, 3, H, W) float32: frames resized to each of ``sizes``, (width, height), in turn."""
        x = torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()  # (F, 3, H, W) uint8
        for size in sizes if self.do_resize else ():
            x = _scaled(x, size, self.resample)
        if self.do_center_crop and self.crop_size:
            x = _middle(x, self.crop_size["width"], self.crop_size["height"])
        x = x.float() * self.rescale_factor if self.do_rescale else x.float()
        if self.do_normalize:
            mean, std = torch.tensor(self.image_mean), torch.tensor(self.image_std)
            x = (x - mean.view(3, 1, 1)) / std.view(3, 1, 1)
        return x


class FrameViews(FrameReader):
    """One view a frame, (videos, F, 3, H, W): LLaVA-OneVision, InternVL, LLaVA-NeXT-Video."""

    usual = {"size": {"height": 384, "width": 384}}  # noqa: RUF012

    def lay_out(self, videos: list[Frames]) -> dict[str, Tensor]:
        """(videos, F, 3, H, W). ValueError if videos differ in their number of frames."""
        if len({len(video) for video in videos}) > 1:
            counts = " and ".join(str(len(video)) for video in videos)
            raise ValueError(
                f"videos of {counts} frames; in one sample, this model reads only videos "
                "of equally many frames"
            )
        views = [self.seen(video, _resized(video, self.size)) for video in videos]
        return {"pixel_values_videos": torch.stack(views)}


class CroppedFrameViews(FrameViews):
    """LLaVA-NeXT-Video: the shortest edge resized, the middle cropped."""

    usual = {  # noqa: RUF012
        "size": {"shortest_edge": 224},
        "crop_size": {"height": 224, "width": 224},
        "do_center_crop": True,
    }


class SquareFrames(FrameReader):
    """SmolVLM: frames squashed to a square by way of their longest edge, as pictures of a row."""

    model_input_names = ("pixel_values", "pixel_attention_mask")
    usual = {  # noqa: RUF012
        **STANDARD,
        "size": {"longest_edge": 4 * 364},
        "max_image_size": {"longest_edge": 364},
        "resample": Image.Resampling.LANCZOS,
    }

    def __init__(self, **settings: Any) -> None:
        """As checkpoints have it: ``size``, or the one that ``video_sampling`` names."""
        sampled = (settings.get("video_sampling") or {}).get("video_size")
        super().__init__(**{**settings, "size": settings.get("size") or sampled})

    def lay_out(self, videos: list[Frames]) -> dict[str, Tensor]:
        """(videos, F, 3, S, S), shorter videos filled with frames of nothing, and their mask."""
        edge = int(self.max_image_size["longest_edge"])
        most = max(len(video) for video in videos)
        pixels = torch.zeros(len(videos), most, 3, edge, edge)
        mask = torch.zeros(len(videos), most, edge, edge, dtype=torch.int64)
        for n, video in enumerate(videos):
            pixels[n, : len(video)] = self.seen(video, _even(video, self.size), (edge, edge))
            mask[n, : len(video)] = 1
        return {"pixel_values": pixels, "pixel_attention_mask": mask}


class QwenFrames(FrameReader):
    """Qwen2-VL and 2.5-VL: frames at their own aspect, two to a patch, patches in merged order."""

    model_input_names = ("pixel_values_videos", "video_grid_thw")
    usual = {  # noqa: RUF012
        "size": {"shortest_edge": 128 * 28 * 28, "longest_edge": 28 * 28 * 768},
        "min_pixels": None,
        "max_pixels": None,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "cap_pixels_per_frame": False,
        "max_video_tokens": 128000,
    }

    def lay_out(self, videos: list[Frames]) -> dict[str, Tensor]:
        """(all patches, 3 · t · p · p), and their (videos, 3) numbers in time, height and width."""
        parts, grids = [], []
        for video in videos:
            height, width = self.grid_size(len(video), video.shape[1], video.shape[2])
            frames = self.seen(video, (width, height))
            patches, grid = self._patches(frames)
            parts.append(patches)
            grids.append(grid)
        return {"pixel_values_videos": torch.cat(parts), "video_grid_thw": torch.tensor(grids)}

    def bounds(self) -> tuple[int, int]:
        """Least and most pixels."""
        size = self.size
        low = self.min_pixels or size.get("shortest_edge") or size["min_pixels"]
        return low, self.max_pixels or size.get("longest_edge") or size["max_pixels"]

    def grid_size(self, frames: int, height: int, width: int) -> tuple[int, int]:
        """(height, width) to which a frame is resized; bounds hold for each frame."""
        factor, (least, most) = self.patch_size * self.merge_size, self.bounds()
        if self.cap_pixels_per_frame:
            budget = int(self.max_video_tokens * factor**2 * 0.9)
            share = budget * self.temporal_patch_size // frames
            most = max(min(most, share), int(least * 1.05))
        return _fitted(1, 1, height, width, factor, least, most)

    def _patches(self, frames: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
        """Frames (F, 3, H, W), the last repeated until they divide, to rows of patches."""
        t, p, m = self.temporal_patch_size, self.patch_size, self.merge_size
        missing = -len(frames) % t
        frames = torch.cat([frames, *[frames[-1:]] * missing])
        time, rows, columns = len(frames) // t, frames.shape[2] // p, frames.shape[3] // p
        x = frames.view(time, t, 3, rows // m, m, p, columns // m, m, p)
        x = x.permute(0, 3, 6, 4, 7, 2, 1, 5, 8)  # time, rows, columns, m, m, 3, t, p, p
        return x.reshape(time * rows * columns, 3 * t * p * p), (time, rows, columns)


class Qwen3Frames(QwenFrames):
    """Qwen3-VL: the bounds on pixels hold for all frames of a video together."""

    usual = {  # noqa: RUF012
        **QwenFrames.usual,
        "image_mean": IMAGENET_STANDARD_MEAN,
        "image_std": IMAGENET_STANDARD_STD,
        "size": {"shortest_edge": 128 * 32 * 32, "longest_edge": 32 * 32 * 768},
        "patch_size": 16,
        "max_video_tokens": 768,
    }

    def grid_size(self, frames: int, height: int, width: int) -> tuple[int, int]:
        """(height, width) to which every frame is resized."""
        factor, (least, most) = self.patch_size * self.merge_size, self.bounds()
        t = self.temporal_patch_size
        frames = max(frames, t)
        if self.cap_pixels_per_frame:
            share = max(min(self.max_video_tokens * factor**2, most // frames), int(least * 1.05))
            most = share * frames
        if min(height, width) < factor:
            scale = max(factor / height, factor / width)
            height, width = int(height * scale), int(width * scale)
        return _fitted(frames, round(frames / t) * t, height, width, factor, least, most)


def _fitted(
    frames: int, counted: int, height: int, width: int, factor: int, least: int, most: int
) -> tuple[int, int]:
    """(height, width), both multiples of ``factor``, of the same aspect, between the bounds."""
    tall, wide = round(height / factor) * factor, round(width / factor) * factor
    if counted * tall * wide > most:
        shrink = math.sqrt(frames * height * width / most)
        tall = max(factor, math.floor(height / shrink / factor) * factor)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
    elif counted * tall * wide < least:
        grow = math.sqrt(least / (frames * height * width))
        tall = math.ceil(height * grow / factor) * factor
        wide = math.ceil(width * grow / factor) * factor
    return tall, wide


def _sized(value: Any, name: str) -> dict[str, int] | None:
    """A size as a dict, from what checkpoints write: a number, or a dict."""
    if isinstance(value, int):
        return (
            {"height": value, "width": value} if name == "crop_size" else {"shortest_edge": value}
        )
    return {k: int(v) for k, v in dict(value).items() if v is not None} if value else None


def _resized(frames: Frames, size: Mapping[str, int]) -> tuple[int, int]:
    """(width, height) of a view before its crop."""
    height, width = frames.shape[1:3]
    shortest = size.get("shortest_edge")
    if not shortest:
        return size["width"], size["height"]
    if width <= height:
        return shortest, int(shortest * height / width)
    return int(shortest * width / height), shortest


def _even(frames: Frames, size: Mapping[str, int]) -> tuple[int, int]:
    """(width, height) with the longest edge as SmolVLM has it, the other one even."""
    if "longest_edge" not in size:
        return size["width"], size["height"]
    height, width = frames.shape[1:3]
    longest = min(LONGEST, size["longest_edge"])
    other = int(longest / (width / height)) if width >= height else int(longest * (width / height))
    other = max(other + other % 2, 1)
    return (longest, other) if width >= height else (other, longest)


def _scaled(x: Tensor, size: tuple[int, int], resample: int) -> Tensor:
    """(F, 3, H, W) of bytes resized to (width, height)."""
    if resample not in MODES:
        images = [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in x]
        made = np.stack([np.asarray(i.resize(size, Image.Resampling(resample))) for i in images])
        return torch.from_numpy(made).permute(0, 3, 1, 2)
    options: dict[str, Any] = {"size": size[::-1], "antialias": True, "align_corners": False}
    try:
        return interpolate(x, mode=MODES[resample], **options)
    except (NotImplementedError, ValueError) as error:
        raise SubjectError(
            f"This torch ({torch.__version__}) cannot scale frames by {MODES[resample]}, as the "
            "model's processor asks: update torch to 2.13."
        ) from error


def _middle(x: Tensor, width: int, height: int) -> Tensor:
    """The middle of frames (F, 3, H, W); black where they are smaller."""
    over, under = max(width - x.shape[3], 0), max(height - x.shape[2], 0)
    x = pad(x, (over // 2, (over + 1) // 2, under // 2, (under + 1) // 2))
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return x[:, :, top : top + height, left : left + width]


READERS: Mapping[str, type[FrameReader]] = {
    "LlavaOnevisionProcessor": FrameViews,
    "InternVLProcessor": FrameViews,
    "LlavaNextVideoProcessor": CroppedFrameViews,
    "SmolVLMProcessor": SquareFrames,
    "Qwen2VLProcessor": QwenFrames,
    "Qwen2_5_VLProcessor": QwenFrames,
    "Qwen3VLProcessor": Qwen3Frames,
}
"""By the name of the processor."""
