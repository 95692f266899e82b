"""Tests geometry causally: change some pixels, and see which image tokens change.

Each probe paints over a small box of the picture. The image tokens whose vectors change most, as
they enter the language model, must be those whose rectangles overlap the box; if no token claims
the box (a crop hides it), none may change. In a video one frame is painted, and the tokens that
change must claim that frame. The test is the same for every family.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semascope.corpus.sample import Sample, Turn, Video
from semascope.subject.geometry.base import Size
from semascope.subject.types import Kind, TokenMap, looking_at

if TYPE_CHECKING:
    from semascope.subject.model import Subject

Box = tuple[int, int, int, int]
Changes = NDArray[np.float32]
"""(probes, T) length of each token's change."""

AT_ONCE = 6
"""Probes in one forward pass."""
SMALLEST = 6
"""Edge in pixels of the smallest rectangle of which a corner is painted."""
SITE = "resid_pre.0"
"""Input of the language model, after the vision tower and the projector."""


@dataclass(frozen=True, slots=True)
class GeometryProof:
    """Result of the probes of one picture size."""

    family: str
    size: Size
    """(width, height)"""
    tokens: int
    """Image tokens of the picture, or of the video, that have a rectangle."""
    probes: int
    unseen: int
    """Number of probes at places that no token claims."""
    first: float
    """Share of probes at which the token that changes most claims the place, whole views and tiles
    apart; NaN if no probe was claimed."""
    precision: float
    """Share of the n tokens that change most that claim the place; n is the number that clearly
    claim it."""
    leak: float
    """Largest change of an image token when an unclaimed place is painted, relative to the median
    change at claimed places; 0 is ideal."""
    newline: float
    """Largest change of a token without a rectangle, relative to the same."""
    frames: int = 0
    """Frames of the video; 0 for a picture."""
    fine: float = float("nan")
    """The same as ``first`` for small boxes: a third of a token's edges, in a corner of its
    rectangle. Detects rectangles that are off by a quarter of their size; NaN if no token is large
    enough."""
    fine_probes: int = 0
    """Number of boxes of ``fine``."""


@dataclass(frozen=True, slots=True)
class ProofSample:
    """Pictures and videos of a sample of the test."""

    size: Size
    pictures: int
    videos: int = 0
    frames: int = 0

    @property
    def total(self) -> int:
        """Pictures and frames."""
        return self.pictures + self.videos * self.frames

    @property
    def painted(self) -> range:
        """Pictures that are painted on: the last, or the frames of the last video."""
        return range(self.total - max(self.frames, 1), self.total)


def prove(
    subject: Subject,
    sizes: Sequence[Size] = ((96, 96), (150, 70), (60, 160)),
    *,
    probes: int = 12,
    pictures: int = 1,
    seed: int = 0,
) -> list[GeometryProof]:
    """One ``GeometryProof`` for each picture size; with several ``pictures``, the last is
    painted."""
    rng = np.random.default_rng(seed)
    return [_prove(subject, ProofSample(size, pictures), probes, rng) for size in sizes]


def prove_videos(
    subject: Subject,
    sizes: Sequence[Size] = ((150, 70), (60, 160)),
    *,
    frames: int = 3,
    videos: int = 1,
    pictures: int = 0,
    probes: int = 12,
    seed: int = 0,
) -> list[GeometryProof]:
    """The same for videos: paints on a random frame of the last one; pictures come before it.

    An odd number of frames tests families that merge frames by two.
    """
    rng = np.random.default_rng(seed)
    return [_prove(subject, ProofSample(s, pictures, videos, frames), probes, rng) for s in sizes]


def _prove(
    subject: Subject, scene: ProofSample, probes: int, rng: np.random.Generator
) -> GeometryProof:
    base = [_noise(scene.size, rng) for _ in range(scene.total)]
    boxes = [_box(scene.size, rng) for _ in range(probes)]
    where = (
        [int(n) for n in rng.choice(scene.painted, probes)]
        if scene.frames
        else ([scene.total - 1] * probes)
    )
    before, m = _read(subject, scene, [base])
    spots = list(zip(where, boxes, strict=True))
    changes = _changes(subject, scene, base, before, spots, rng)
    return _finely(subject, scene, probes, _judge(subject, scene, spots, changes, m), m)


def _finely(
    subject: Subject, scene: ProofSample, probes: int, proof: GeometryProof, m: TokenMap
) -> GeometryProof:
    """The proof with ``fine``, on larger pictures if tokens are only a few pixels wide."""
    rng = np.random.default_rng(probes)
    whole = m.kinds == Kind.IMAGE
    least = float(np.nanmedian(_edges(m.rects[whole]))) if whole.any() else float("nan")
    if math.isnan(least):
        return proof
    times = max(1, math.ceil(SMALLEST / least))
    scene = replace(scene, size=(scene.size[0] * times, scene.size[1] * times))
    base = [_noise(scene.size, rng) for _ in range(scene.total)]
    before, m = _read(subject, scene, [base])
    corners = _corners(m, scene, probes, rng)
    if not corners:
        return proof
    spots = [(picture, box) for picture, box, _ in corners]
    changes = _changes(subject, scene, base, before, spots, rng)
    hits = [_hit(m, *c, x) for c, x in zip(corners, changes, strict=True)]
    return replace(proof, fine=float(np.mean(hits)), fine_probes=len(hits))


def _edges(rects: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) the shorter edge of each rectangle."""
    edges: NDArray[np.float32] = np.minimum(rects[:, 2] - rects[:, 0], rects[:, 3] - rects[:, 1])
    return edges


def _changes(
    subject: Subject,
    scene: ProofSample,
    base: list[Image.Image],
    before: NDArray[np.float32],
    spots: list[tuple[int, Box]],
    rng: np.random.Generator,
) -> Changes:
    """(probes, T) change of each token when a box of a picture is painted over."""
    painted = [[*base[:n], _paint(base[n], box, rng), *base[n + 1 :]] for n, box in spots]
    parts = [painted[n : n + AT_ONCE] for n in range(0, len(spots), AT_ONCE)]
    after = np.concatenate([_read(subject, scene, part)[0] for part in parts])
    changes: Changes = np.linalg.norm(after - before, axis=-1)  # (probes, T)
    return changes


def _corners(
    m: TokenMap, scene: ProofSample, probes: int, rng: np.random.Generator
) -> list[tuple[int, Box, int]]:
    """(picture, box, kind): boxes in corners of tokens' rectangles, large enough that resampling
    does not carry most of the paint into a neighbour."""
    edges = _edges(m.rects)
    whole = m.kinds == Kind.IMAGE
    tiles = (m.kinds == Kind.TILE) & (edges >= SMALLEST)
    large = np.flatnonzero((m.image >= scene.painted[0]) & (edges >= 4) & (whole | tiles))
    found = []
    for token in rng.choice(large, probes) if len(large) else ():
        left, top, right, bottom = (float(x) for x in m.rects[token])
        x = _third(left, right, bool(rng.integers(2)))
        y = _third(top, bottom, bool(rng.integers(2)))
        found.append((int(m.image[token]), (x[0], y[0], x[1], y[1]), int(m.kinds[token])))
    return found


def _third(low: float, high: float, far: bool) -> tuple[int, int]:
    """Whole pixels of the first third of an edge, or of the last; two at least."""
    size = max(round((high - low) / 3), 2)
    start = math.floor(high) - size if far else math.ceil(low)
    return start, start + size


def _hit(m: TokenMap, picture: int, box: Box, kind: int, change: NDArray[np.float32]) -> bool:
    """Whether the token of a kind that changes most is one that claims the box."""
    view = np.flatnonzero(m.kinds == kind)
    best = view[int(change[view].argmax())]
    return bool(looking_at(m, picture)[best] and _overlap(m.rects[best : best + 1], box)[0] > 0)


def _read(
    subject: Subject, scene: ProofSample, shown: list[list[Image.Image]]
) -> tuple[NDArray[np.float32], TokenMap]:
    """((rows, T, d) input of the language model, the rows' token map)."""
    samples = [_sample(n, scene, images) for n, images in enumerate(shown)]
    batch = subject.encode(samples, max_tokens=None)
    return subject.run(batch, [SITE])[SITE].float().cpu().numpy(), batch.maps[0]


def _judge(
    subject: Subject,
    scene: ProofSample,
    boxes: list[tuple[int, Box]],
    changes: Changes,
    m: TokenMap,
) -> GeometryProof:
    looking = np.flatnonzero(np.isin(m.kinds, (Kind.IMAGE, Kind.TILE)))
    nowhere = np.flatnonzero(m.kinds == Kind.NEWLINE)
    firsts: list[bool] = []
    precisions: list[float] = []
    peaks: list[float] = []
    leaks: list[float] = []
    for (picture, box), change in zip(boxes, changes, strict=True):
        shared = np.where(looking_at(m, picture), _overlap(m.rects, box), 0.0)  # (T,)
        if not shared.any():
            leaks.append(float(change[looking].max()))
            continue
        peaks.append(float(change[looking].max()))
        for kind in (Kind.IMAGE, Kind.TILE):  # a view's tokens are judged beside their like
            _rank(shared, change, np.flatnonzero(m.kinds == kind), firsts, precisions)
    scale = (float(np.median(peaks)) if peaks else 0.0) or float("nan")
    return GeometryProof(
        family=str(subject.model.config.model_type),
        size=scene.size,
        tokens=int((m.image[looking] >= scene.painted[0]).sum()),
        probes=len(boxes),
        unseen=len(leaks),
        first=float(np.mean(firsts)) if firsts else float("nan"),
        precision=float(np.mean(precisions)) if precisions else float("nan"),
        leak=max(leaks, default=0.0) / scale,
        newline=float(changes[:, nowhere].max(initial=0.0)) / scale,
        frames=scene.frames,
    )


def _rank(
    shared: NDArray[np.float32],
    change: NDArray[np.float32],
    view: NDArray[np.int64],
    firsts: list[bool],
    precisions: list[float],
) -> None:
    """Evaluate one probe among the tokens of one kind."""
    claimed = shared[view]
    if not claimed.any():
        return
    order = np.argsort(-change[view])
    firsts.append(bool(claimed[order[0]] > 0))
    # A token that shares a sliver with the box need not change much: only those that share at
    # least a quarter of what the best one shares are looked for.
    n = int((claimed >= claimed.max() / 4).sum())
    precisions.append(float((claimed[order[:n]] > 0).mean()))


def _overlap(rects: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
    """(n,) shared area of each rectangle and a box, in pixels."""
    x = np.minimum(rects[:, 2], box[2]) - np.maximum(rects[:, 0], box[0])
    y = np.minimum(rects[:, 3], box[3]) - np.maximum(rects[:, 1], box[1])
    shared: NDArray[np.float32] = np.clip(x, 0, None) * np.clip(y, 0, None)
    return shared


def _sample(n: int, scene: ProofSample, shown: list[Image.Image]) -> Sample:
    turns = (Turn("user", "What is this?", scene.pictures, scene.videos),)
    starts = range(scene.pictures, scene.total, max(scene.frames, 1))
    videos = tuple(Video(tuple(shown[s : s + scene.frames])) for s in starts)
    return Sample(str(n), turns=turns, images=tuple(shown[: scene.pictures]), videos=videos)


def _noise(size: Size, rng: np.random.Generator) -> Image.Image:
    """A grey picture with a little noise, so that no two places are alike."""
    width, height = size
    pixels = rng.integers(96, 160, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _box(size: Size, rng: np.random.Generator) -> Box:
    """A box of a tenth of the picture's edges, anywhere in it."""
    width, height = size
    w, h = max(width // 10, 2), max(height // 10, 2)
    left, top = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
    return left, top, left + w, top + h


def _paint(image: Image.Image, box: Box, rng: np.random.Generator) -> Image.Image:
    """The picture with one box in a strong plain colour."""
    painted = image.copy()
    colour = tuple(int(c) for c in rng.choice([0, 255], 3))
    painted.paste(colour, box)
    return painted
