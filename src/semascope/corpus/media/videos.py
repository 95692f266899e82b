"""Video files to a limited number of frames.

Animated GIF, WebP and PNG are read by Pillow; films (mp4, webm, mkv …) by PyAV, where it is
installed (the extra ``video``). Frames of a long video are sampled evenly.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from semascope.corpus.media.pictures import BROKEN, MOST_PIXELS, file_bytes, opened, rgb
from semascope.corpus.sample import Video
from semascope.corpus.tabular.base import BadRow
from semascope.errors import CorpusError

MOST_FRAMES = 32
"""Most frames of a video, by default."""
MOST_DECODED = 2_000_000_000
"""Most pixels over all frames of a file; longer files are not decoded."""
LEAST = 0.02
"""Seconds: shorter frames of an animation are shown for ``USUAL``, as in browsers."""
USUAL = 0.1
FILMS = frozenset(".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .wmv .flv .ogv .3gp .ts".split())


def decode_video(source: bytes | Path, most: int = MOST_FRAMES) -> Video:
    """Up to ``most`` frames of a file, with their times; BadRow if it cannot be decoded."""
    data = source if isinstance(source, bytes) else file_bytes(source)
    if not data:
        raise BadRow("video file is empty")
    if isinstance(source, Path) and source.suffix.lower() in FILMS:
        return _film(data, most)
    try:
        image = opened(data)
    except BadRow as reason:
        if str(reason) != "not an image":
            raise
        return _film(data, most)
    return _animation(image, most)


def of_frames(frames: Sequence[Image.Image]) -> Video:
    """A video made of pictures; BadRow if they differ in size."""
    try:
        return Video(tuple(frames))
    except CorpusError as error:
        raise BadRow("frames of a video differ in size, or there are none") from error


def evenly(total: int, most: int) -> list[int]:
    """At most ``most`` of ``total`` indices, evenly spaced, including the first and the last."""
    if total <= most:
        return list(range(total))
    return [int(n) for n in np.linspace(0, total - 1, most).round()]


def _animation(image: Image.Image, most: int) -> Video:
    total, pixels = int(getattr(image, "n_frames", 1)), image.width * image.height
    wanted = evenly(total, most)
    if pixels * len(wanted) > MOST_PIXELS:
        raise BadRow("decompression bomb")
    if pixels * total > MOST_DECODED:
        raise BadRow("video is too long to decode")
    frames, times, now = [], [], 0.0
    try:
        for number in range(total):
            image.seek(number)
            image.load()  # WebP tells a frame's time only then
            if number in wanted:
                frames.append(rgb(image).copy())
                times.append(round(now, 4))
            shown = float(image.info.get("duration") or 0) / 1000
            now += shown if shown >= LEAST else USUAL
    except BROKEN as error:
        raise BadRow("video is cut short or damaged") from error
    return Video(tuple(frames), tuple(times))


def _film(data: bytes, most: int) -> Video:
    try:
        import av
    except ImportError as error:
        raise BadRow(
            "films such as mp4 need the package av: pip install 'semascope[video]', or give "
            "an animated GIF or a list of frames"
        ) from error
    kept: list[tuple[float, Image.Image]] = []
    every, left = 1, MOST_DECODED
    try:
        with av.open(io.BytesIO(data)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                left -= frame.width * frame.height
                if left < 0 or frame.width * frame.height * most > MOST_PIXELS:
                    raise BadRow("video is too long to decode")
                if number % every == 0:
                    kept.append((float(frame.time or 0.0), frame.to_image()))
                if len(kept) > 2 * most:  # the length of a film is known only at its end
                    kept, every = kept[::2], 2 * every
    except (av.error.FFmpegError, *BROKEN) as error:
        raise BadRow("video is cut short or damaged") from error
    if not kept:
        raise BadRow("video has no frames")
    chosen = [kept[n] for n in evenly(len(kept), most)]
    start = chosen[0][0]
    return Video(
        tuple(rgb(image) for _, image in chosen), tuple(round(t - start, 4) for t, _ in chosen)
    )
