"""What of a sample is shown to a subject, in which order, and which picture each token looks at.

Pictures are numbered as ``Sample.pictures`` has them, whatever the order of the text. A subject
that reads no videos is shown some frames of each as pictures. Knows samples and claims of
rectangles; nothing of processors or token ids.
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
"""Frames, of all videos of a sample together, that are shown as pictures."""
SPACING = 0.5
"""Seconds between frames of a video that does not say: the rate at which Qwen-VL reads."""


@dataclass(frozen=True, slots=True, eq=False)
class ShownPictures:
    """A sample as it is shown."""

    sample: Sample
    """With frames as pictures, where the subject reads no videos."""
    numbers: tuple[int, ...]
    """The first picture of each thing shown: images, then videos."""
    sizes: tuple[Size, ...]
    """(width, height) of every picture of the sample as given, shown or not."""
    order: tuple[int, ...] = ()
    """Things shown, in the order of the text."""

    @property
    def images(self) -> tuple[Size, ...]:
        """Sizes of what is shown as images."""
        return tuple(image.size for image in self.sample.images)

    @property
    def videos(self) -> tuple[tuple[int, Size], ...]:
        """Frames and size of what is shown as videos."""
        return tuple((len(v.frames), v.frames[0].size) for v in self.sample.videos)


def eye(sample: Sample, turns: tuple[Turn, ...], reads_video: bool) -> ShownPictures:
    """How a subject is shown a sample, whose ``turns`` place all that it holds."""
    sizes = tuple(picture.size for picture in sample.pictures)
    first = np.cumsum([len(sample.images), *(len(v.frames) for v in sample.videos)]).tolist()
    if reads_video or not sample.videos:
        return ShownPictures(sample, (*range(len(sample.images)), *first[:-1]), sizes)
    images: list[Image.Image] = []
    numbers: list[int] = []
    said: list[Turn] = []
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
        said.append(replace(turn, images=len(images) - before, videos=0))
    shown = replace(sample, images=tuple(images), videos=(), turns=tuple(said) if turns else ())
    return ShownPictures(shown, tuple(numbers), sizes)


class ShownTokens(NamedTuple):
    """Where n tokens look, in the order of the text."""

    kinds: NDArray[np.int8]
    rects: NDArray[np.float32]
    image: NDArray[np.int16]
    spans: NDArray[np.int16]


def place(
    shown: ShownPictures, pictures: Sequence[TokenClaims], videos: Sequence[VideoClaims]
) -> ShownTokens:
    """What the adapter claims for images and for videos, as the text has them."""
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
    """Seconds at which each frame is shown, and frames a second."""
    frames = len(video.frames)
    times = list(video.times) or [n * SPACING for n in range(frames)]
    long = times[-1] - times[0]
    return times, (frames - 1) / long if long > 0 else 1 / SPACING
