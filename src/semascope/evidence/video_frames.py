"""Which pictures of a sample are worth showing, and what to call a frame of a video.

A video may have dozens of frames and a feature fire in two of them. Knows samples as they were
kept; draws nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semascope.corpus.media.videos import evenly
from semascope.corpus.sample import Moment
from semascope.subject.types import PictureMap, looking_at

FRAMES = 4
"""Frames of a video that are shown, the strongest."""


class KeptSample(PictureMap, Protocol):
    """A sample as evidence or an atlas keeps it."""

    @property
    def media(self) -> tuple[str, ...]:
        """Content hash of each picture."""
        ...

    @property
    def moments(self) -> Sequence[Moment | None]:
        """Which frame each picture is; () without videos."""
        ...


def worth_showing(
    sample: KeptSample, activations: NDArray[np.floating], frames: int = FRAMES
) -> list[int]:
    """Every image, and of each video up to ``frames`` frames on which a feature fires most, in the
    order of time; the middle one where it is silent on all."""
    if not sample.moments:
        return list(range(len(sample.media)))
    heat = strengths(sample, activations)
    out = [n for n, moment in enumerate(sample.moments) if moment is None]
    for video in sorted({m.video for m in sample.moments if m is not None}):
        own = [n for n, m in enumerate(sample.moments) if m is not None and m.video == video]
        fired = sorted((n for n in own if heat[n] > 0), key=lambda n: -heat[n])[:frames]
        out += sorted(fired) or [own[len(own) // 2]]
    return out


def glimpse(sample: KeptSample, most: int = FRAMES) -> list[int]:
    """Pictures that tell what a sample is, whatever fires: the first; with videos, some evenly."""
    return evenly(len(sample.media), most) if sample.moments else [0]


def strengths(sample: KeptSample, activations: NDArray[np.floating]) -> NDArray[np.float64]:
    """(pictures,) the largest activation of the tokens that look at each."""
    seen = (np.where(looking_at(sample, n), activations, 0.0) for n in range(len(sample.media)))
    return np.array([float(values.max(initial=0.0)) for values in seen])


def told(sample: KeptSample, picture: int) -> str:
    """ "frame 3 of 8, 0.5 s"; empty for a picture that is no frame."""
    moment = sample.moments[picture] if sample.moments else None
    if moment is None:
        return ""
    videos = [m for m in sample.moments if m is not None]
    total = sum(m.video == moment.video for m in videos)
    which = f"video {moment.video + 1}, " if videos[-1].video else ""
    when = "" if moment.seconds is None else f", {moment.seconds:.3g} s"
    return f"{which}frame {moment.frame + 1} of {total}{when}"
