"""Which pictures of a sample a subject is shown, in which order, and which of them each token
looks at.

Pictures are numbered as in ``Sample.pictures``, whatever their order in the text. A subject that
reads no videos is shown some frames of each as pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semascope.corpus.media.videos import evenly
from semascope.corpus.sample import Sample, Turn, Video
from semascope.subject.geometry.base import Size, TokenClaims, VideoClaims

STILLS = 8
"""Most frames, over all videos of a sample, that are shown as pictures."""
SPACING = 0.5
"""Seconds between frames of a video without times: the rate at which Qwen-VL reads."""


@dataclass(frozen=True, slots=True, eq=False)
class ShownPictures:
    """A sample as it is shown."""

    sample: Sample
    """With frames as images if the subject reads no videos."""
    numbers: tuple[int, ...]
    """Index of each image, and of the first frame of each video, in ``Sample.pictures``."""
    sizes: tuple[Size, ...]
    """(width, height) of every original picture of the sample, shown or not."""
    order: tuple[int, ...] = ()
    """Images and videos in the order of the text."""

    @property
    def images(self) -> tuple[Size, ...]:
        """Sizes of the images."""
        return tuple(image.size for image in self.sample.images)

    @property
    def videos(self) -> tuple[tuple[int, Size], ...]:
        """Number of frames and size of each video."""
        return tuple((len(v.frames), v.frames[0].size) for v in self.sample.videos)


def eye(sample: Sample, turns: tuple[Turn, ...], reads_video: bool) -> ShownPictures:
    """What a subject is shown of a sample, whose ``turns`` place all of its pictures and videos."""
    sizes = tuple(picture.size for picture in sample.pictures)
    first = np.cumsum([len(sample.images), *(len(v.frames) for v in sample.videos)]).tolist()
    if reads_video or not sample.videos:
        return ShownPictures(sample, (*range(len(sample.images)), *first[:-1]), sizes)
    images: list[Image.Image] = []
    numbers: list[int] = []
    shown_turns: list[Turn] = []
    still = moving = 0
    most = max(1, STILLS // len(sample.videos))
    for turn in turns or (Turn("user", "", len(sample.images), len(sample.videos)),):
        before = len(images)
        images += sample.images[still : still + turn.images]
        numbers += range(still, still + turn.images)
        for video in range(moving, moving + turn.videos):
            frames = sample.videos[video].frames
            chosen = evenly(len(frames), most)
            images += [frames[n] for n in chosen]
            numbers += [first[video] + n for n in chosen]
        still, moving = still + turn.images, moving + turn.videos
        shown_turns.append(replace(turn, images=len(images) - before, videos=0))
    shown = replace(
        sample, images=tuple(images), videos=(), turns=tuple(shown_turns) if turns else ()
    )
    return ShownPictures(shown, tuple(numbers), sizes)


class ShownTokens(NamedTuple):
    """Kinds and places of n image tokens, in the order of the text."""

    kinds: NDArray[np.int8]
    rects: NDArray[np.float32]
    image: NDArray[np.int16]
    spans: NDArray[np.int16]


def place(
    shown: ShownPictures, pictures: Sequence[TokenClaims], videos: Sequence[VideoClaims]
) -> ShownTokens:
    """The adapter's claims for images and videos, in the order of the text."""
    things = [[(claimed, 0, 1)] for claimed in pictures]
    for (frames, _), (steps, every) in zip(shown.videos, videos, strict=True):
        starts = [min(n * every, frames - 1) for n in range(len(steps))]
        spans = [min(every, frames - start) for start in starts]
        things.append(list(zip(steps, starts, spans, strict=True)))
    parts = [(c, shown.numbers[n] + s, k) for n in shown.order for c, s, k in things[n]]
    return ShownTokens(
        np.concatenate([c.kinds for c, _, _ in parts]),
        np.concatenate([c.rects for c, _, _ in parts]),
        np.concatenate([np.full(len(c.kinds), first, np.int16) for c, first, _ in parts]),
        np.concatenate([np.full(len(c.kinds), span, np.int16) for c, _, span in parts]),
    )


def rate(video: Video) -> tuple[list[float], float]:
    """Time of each frame in seconds, and frames per second."""
    frames = len(video.frames)
    times = list(video.times) or [n * SPACING for n in range(frames)]
    long = times[-1] - times[0]
    return times, (frames - 1) / long if long > 0 else 1 / SPACING
