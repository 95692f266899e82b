"""Names for content: which samples are the same, their split, a fair order of draws.

Everything random in the evidence is a hash of content, so that the same corpus gives the
same draws whatever the order, the shards or the batches in which it is read. Knows samples;
knows no model and no feature.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semascope.corpus.sample import Sample, Turn
from semascope.evidence.types import Split

U64 = NDArray[np.uint64]
_SPLIT_SALT = np.uint64(0x5E3A5C0FE5B11751)


class ContentHash(NamedTuple):
    """Two 64-bit names of one sample."""

    content: int
    """Of its text, its turns, its pictures and its videos."""
    picture: int
    """Of its pictures and videos alone; equal to ``content`` where it has none."""


def picture_digest(image: Image.Image) -> bytes:
    """32 bytes that name the pixels of a picture, whatever file it came from."""
    digest = hashlib.sha256(f"{image.mode}:{image.width}x{image.height}:".encode())
    digest.update(image.tobytes())
    return digest.digest()


def content_hash(sample: Sample) -> ContentHash:
    """Both names of a sample; its id and its source play no part."""
    pictures = hashlib.blake2b(digest_size=8)
    for image in sample.images:
        pictures.update(picture_digest(image))
    for video in sample.videos:
        pictures.update(f"video of {len(video.frames)}: {video.times}".encode())
        for frame in video.frames:
            pictures.update(picture_digest(frame))
    seen = bool(sample.images or sample.videos)
    words = hashlib.blake2b(pictures.digest() if seen else b"", digest_size=8)
    for part in (sample.text, *map(_said, sample.turns)):
        data = part.encode("utf-8", "surrogatepass")
        words.update(len(data).to_bytes(8, "little") + data)
    content = int.from_bytes(words.digest(), "little")
    picture = int.from_bytes(pictures.digest(), "little") if seen else content
    return ContentHash(content, picture)


def _said(turn: Turn) -> str:
    shown = f"{turn.images}+{turn.videos}" if turn.videos else str(turn.images)
    return f"{turn.role}\x1f{shown}\x1f{turn.text}"


def mix(x: U64, seed: int = 0) -> U64:
    """(n,) -> (n,) a bijection whose output looks uniform (splitmix64, Steele et al. 2014)."""
    z = x + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    out: U64 = z ^ (z >> np.uint64(31))
    return out


def splits(picture: U64) -> NDArray[np.bool_]:
    """(n,) picture hashes -> (n,) True where the sample is for scoring.

    Two samples that share their picture fall on the same side, so that no picture that an
    explainer saw is ever scored, whatever was asked about it.
    """
    out: NDArray[np.bool_] = (mix(picture ^ _SPLIT_SALT) & np.uint64(1)).astype(bool)
    return out


def split_of(picture: int) -> Split:
    """The split of one sample."""
    return "score" if bool(splits(np.array([picture], np.uint64))[0]) else "explain"
