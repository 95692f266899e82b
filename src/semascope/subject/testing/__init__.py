"""Whole subjects with random weights, made from config in a moment, for tests.

Nothing is downloaded and nothing is learnt: they have the shape of their family, its real
processor, and noise for weights. The same seed gives the same model.
"""

from __future__ import annotations

import torch

from semascope.errors import ModelNotFound
from semascope.subject.model import Subject
from semascope.subject.testing.families import MAKERS
from semascope.subject.testing.tokenizer import make_tokenizer


def tiny(family: str, *, seed: int = 0) -> Subject:
    """A random-weight subject of one family: "llama", "llava", … (``families()`` lists them)."""
    if family not in MAKERS:
        raise ModelNotFound(f"No tiny {family!r}: choose one of {', '.join(MAKERS)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor = MAKERS[family]()
    return Subject(model, processor, name=f"tiny-{family}")


def families() -> list[str]:
    """Every family that ``tiny`` can make."""
    return list(MAKERS)


__all__ = ["families", "make_tokenizer", "tiny"]
