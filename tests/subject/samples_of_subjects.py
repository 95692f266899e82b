"""Pictures and questions for the tests of this folder."""

import numpy as np
from PIL import Image

from semascope.corpus.sample import Sample, Turn


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def asked(text: str, *images: Image.Image, answer: str | None = None, name: str = "q") -> Sample:
    turns = [Turn("user", text, images=len(images))]
    if answer is not None:
        turns.append(Turn("assistant", answer))
    return Sample(name, turns=tuple(turns), images=images)
