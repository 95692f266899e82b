"""``Sample``, the type of a corpus's items, and the ground truth of a drawn scene.

A sample is either a plain document (``text``) or a conversation (``turns``), with any number of
pictures and videos, which are already decoded.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semascope.errors import CorpusError

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: Role
    text: str
    images: int = 0
    """How many of the sample's pictures, in order, this message shows before its text."""
    videos: int = 0
    """How many of the sample's videos, in order, it shows after its pictures."""
    at: tuple[int, ...] = ()
    """Characters of the text before each picture, ascending. () if all come before the text."""

    @property
    def pieces(self) -> tuple[str, ...]:
        """The text split at its pictures: n + 1 pieces around n pictures, some of them empty."""
        if not self.at or len(self.at) != self.images:
            return (*("" for _ in range(self.images)), self.text)
        ends = (0, *self.at, len(self.text))
        return tuple(self.text[a:b] for a, b in pairwise(ends))


@dataclass(frozen=True, slots=True, eq=False)
class Video:
    """A short video, as the frames that are read of it.

    Raises:
        CorpusError: there are no frames, they differ in size, or times are not one for each frame
            and ascending.
    """

    frames: tuple[Image.Image, ...]
    """Decoded pictures, mode RGB, all of one size."""
    times: tuple[float, ...] = ()
    """Seconds from the start at which each is shown; empty if unknown."""

    def __post_init__(self) -> None:
        if not self.frames:
            raise CorpusError("A video without frames cannot be read: give at least one.")
        if len({frame.size for frame in self.frames}) > 1:
            raise CorpusError("The frames of a video differ in size: resize them to one.")
        rising = all(a <= b for a, b in pairwise(self.times))
        if self.times and (len(self.times) != len(self.frames) or not rising):
            raise CorpusError("A video's times must be one a frame, rising, in seconds.")


class Moment(NamedTuple):
    """Which frame of a sample a picture is."""

    video: int
    frame: int
    seconds: float | None
    """Since the video's start; None if unknown."""


@dataclass(frozen=True, slots=True, eq=False)
class SceneObject:
    """One thing drawn in a scene, with its exact visible pixels."""

    name: str
    """Its everyday name, one to three words."""
    category: str
    box: tuple[int, int, int, int]
    """Visible extent in pixels: left, top, right, bottom (right and bottom excluded)."""
    mask: NDArray[np.bool_]
    """(H, W) bool: the object's visible pixels."""
    colour: str | None = None
    texture: str | None = None
    emotion: str | None = None
    word: str | None = None
    """The text of a rendered word."""
    style: str = "noto"
    sprite: str = ""
    """Key of the picture in the sprite pack."""

    @property
    def extent(self) -> NDArray[np.bool_]:
        """(H, W) bool: the object's visible pixels; for a word its whole box, as in datasets of
        written text, since letters cover little of any token."""
        if self.word is None:
            return self.mask
        left, top, right, bottom = self.box
        out = np.zeros_like(self.mask)
        out[top:bottom, left:right] = True
        return out


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a scene, with its answer."""

    kind: str
    """describe, presence, position, colour, count, word, emotion or map."""
    text: str
    answer: str
    subject: str = ""
    """The concept that the question is about, if there is one."""


@dataclass(frozen=True, slots=True, eq=False)
class SceneTruth:
    """Ground truth of a drawn scene."""

    objects: tuple[SceneObject, ...]
    background: str
    caption: str
    questions: tuple[Question, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One item that a subject reads: a document or a conversation, with pictures and videos."""

    id: str
    """Unique and stable within its corpus."""
    text: str = ""
    """A plain document; empty when ``turns`` holds a conversation."""
    turns: tuple[Turn, ...] = ()
    images: tuple[Image.Image, ...] = ()
    """Decoded pictures, mode RGB, upright, at their own size."""
    truth: SceneTruth | None = None
    source: str = ""
    """Which part of the corpus it is from, for display."""
    videos: tuple[Video, ...] = ()

    @property
    def pictures(self) -> tuple[Image.Image, ...]:
        """All pictures, as numbered in token maps: images, then the frames of each video."""
        return (*self.images, *(frame for video in self.videos for frame in video.frames))

    @property
    def moments(self) -> tuple[Moment | None, ...]:
        """For each of ``pictures``, which frame it is, or None for an image; () without videos."""
        if not self.videos:
            return ()
        frames = (
            Moment(v, n, video.times[n] if video.times else None)
            for v, video in enumerate(self.videos)
            for n in range(len(video.frames))
        )
        return (*(None for _ in self.images), *frames)


@dataclass(slots=True)
class SkipReport:
    """Counts of rows that could not be read and of what else was left out, by reason."""

    reasons: Counter[str] = field(default_factory=Counter)
    named: list[tuple[str, str]] = field(default_factory=list)
    """(row, reason) of the first hundred."""
    used: dict[str, Counter[str]] = field(default_factory=dict)
    """Number of rows by role and column."""
    unused: Counter[str] = field(default_factory=Counter)
    """Number of rows by column that holds something but is not used."""
    left: Counter[str] = field(default_factory=Counter)
    """What else was left out, by reason: files of a folder, further captions."""
    layout: list[str] = field(default_factory=list)
    """How each part of the corpus was recognised, one line each."""
    refused: Counter[str] = field(default_factory=Counter)
    """Samples that the subject refused, by reason."""

    def add(self, row: str, reason: str) -> None:
        """Count one skipped row."""
        self.reasons[reason] += 1
        if len(self.named) < 100:
            self.named.append((row, reason))

    def columns(self, used: Mapping[str, str], unused: Iterable[str]) -> None:
        """Count one row's columns."""
        for column, role in used.items():
            self.used.setdefault(role, Counter())[column] += 1
        self.unused.update(unused)

    def refuse(self, sample: str, reason: str) -> None:
        """Count a sample that the subject refuses, by the kind of reason (``kind_of``)."""
        self.refused[kind_of(reason, sample)] += 1

    def merge(self, other: SkipReport) -> None:
        """Add the counts of another report."""
        self.reasons.update(other.reasons)
        self.named += other.named[: max(0, 100 - len(self.named))]
        for role, columns in other.used.items():
            self.used.setdefault(role, Counter()).update(columns)
        self.unused.update(other.unused)
        self.left.update(other.left)
        self.layout += [line for line in other.layout if line not in self.layout]
        self.refused.update(other.refused)

    @property
    def total(self) -> int:
        """Rows skipped so far."""
        return sum(self.reasons.values())


def kind_of(reason: str, sample: str = "") -> str:
    """A reason without the sample's name and numbers, so that equal reasons are counted
    together."""
    plain = reason.replace(repr(sample), "…") if sample else reason
    return re.sub(r"\d+", "#", plain)


@runtime_checkable
class Corpus(Protocol):
    """Samples by row number, so that runs can be sharded and resumed, and samples read again."""

    name: str
    skipped: SkipReport

    def __len__(self) -> int:
        """How many rows, good and bad."""
        ...

    def fingerprint(self) -> str:
        """A hash that changes when any row would."""
        ...

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Sample]]:
        """Yield ``(row, sample)`` for the rows [start, stop); bad rows are skipped and counted."""
        ...
