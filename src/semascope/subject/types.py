"""What passes between a subject and those who look at it: batches, token maps, edits, answers.

Nothing here knows a model family, a dictionary or a corpus on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class Kind(IntEnum):
    """What a position holds."""

    PAD = 0
    TEXT = 1
    SPECIAL = 2
    """Template and control tokens, BOS included."""
    IMAGE = 3
    """A token of the whole (base) picture, or of a frame of a video."""
    TILE = 4
    """A token of a high-resolution tile of the picture."""
    NEWLINE = 5
    """Image-row separators and other image tokens that look nowhere."""


IMAGE_KINDS = (Kind.IMAGE, Kind.TILE)
"""Tokens that look at a place in a picture."""
PICTURE_KINDS = (*IMAGE_KINDS, Kind.NEWLINE)
"""All tokens that a picture becomes."""
Side = Literal["left", "right"]
"""Where padding stands."""


class Role(IntEnum):
    """Who speaks at a position."""

    NONE = 0
    SYSTEM = 1
    USER = 2
    ASSISTANT = 3


@dataclass(frozen=True, slots=True, eq=False)
class TokenMap:
    """For each position of one sequence (T of them): who, what, and where in the picture."""

    ids: NDArray[np.int64]
    """(T,) token ids."""
    tokens: tuple[str, ...]
    """(T,) each token as text, spaces kept."""
    kinds: NDArray[np.int8]
    """(T,) of ``Kind``."""
    roles: NDArray[np.int8]
    """(T,) of ``Role``."""
    image: NDArray[np.int16]
    """(T,) which picture of the sample, −1 where none. Images come first, then the frames of its
    videos, one after another (``Sample.pictures``)."""
    rects: NDArray[np.float32]
    """(T, 4) left, top, right, bottom in pixels of the picture as given; NaN where none."""
    sizes: tuple[tuple[int, int], ...]
    """(width, height) of each picture as given."""
    geometry: str = "known"
    """'known', or why the rectangles are not."""
    spans: NDArray[np.int16] | None = None
    """(T,) how many pictures, from ``image`` on, the token looks at: frames of a video that the
    model merges in time. None where each looks at one."""
    cut: int = 0
    """Tokens of words that were cut from the end, past ``max_tokens``."""
    mark: str = ""
    """A hash of all that the model is given of this row; empty where it was not taken."""

    def __len__(self) -> int:
        return len(self.ids)

    def at(self, chosen: slice | NDArray[np.int64]) -> Self:
        """The map of some of its positions: a slice, or their indices in rising order."""
        positions = np.arange(len(self))[chosen]
        if len(positions) == len(self):
            return self
        return replace(
            self,
            ids=self.ids[chosen],
            tokens=tuple(self.tokens[i] for i in positions),
            kinds=self.kinds[chosen],
            roles=self.roles[chosen],
            image=self.image[chosen],
            rects=self.rects[chosen],
            spans=None if self.spans is None else self.spans[chosen],
        )

    def padded(self, length: int, pad_id: int, side: Side) -> Self:
        """The map with padding up to ``length`` positions, whose token id is ``pad_id``."""
        n = length - len(self)
        if n == 0:
            return self
        width = (0, n) if side == "right" else (n, 0)
        return replace(
            self,
            ids=np.pad(self.ids, width, constant_values=pad_id),
            tokens=("",) * width[0] + self.tokens + ("",) * width[1],
            kinds=np.pad(self.kinds, width, constant_values=Kind.PAD),
            roles=np.pad(self.roles, width, constant_values=Role.NONE),
            image=np.pad(self.image, width, constant_values=-1),
            rects=np.pad(self.rects, (width, (0, 0)), constant_values=np.nan),
            spans=None if self.spans is None else np.pad(self.spans, width, constant_values=1),
        )

    def counts(self) -> dict[str, int]:
        """How many tokens there are of each kind, by its name."""
        kinds, counts = np.unique(self.kinds, return_counts=True)
        return {Kind(k).name.lower(): int(n) for k, n in zip(kinds, counts, strict=True)}

    def __repr__(self) -> str:
        kinds = ", ".join(f"{n} {name}" for name, n in self.counts().items())
        return f"TokenMap({len(self)} tokens: {kinds}; {len(self.sizes)} pictures)"

    def _repr_html_(self) -> str:
        from semascope import html

        rows = [(f"{name} tokens", n) for name, n in self.counts().items()]
        sizes = ", ".join(f"{width} × {height}" for width, height in self.sizes) or "none"
        words = [
            text if kind in (Kind.TEXT, Kind.SPECIAL) else "▪"
            for text, kind in zip(self.tokens, self.kinds, strict=True)
        ]
        return html.block(
            html.table([*rows, ("pictures, pixels", sizes), ("geometry", self.geometry)]),
            html.by_activation(words, np.zeros(len(words), np.float32), 1.0),
        )


class PictureMap(Protocol):
    """Which picture each token looks at: token maps are such, and so is a sample kept on disk.

    Those that know of frames have ``spans`` too, as ``TokenMap`` has.
    """

    @property
    def image(self) -> NDArray[np.int16]:
        """(T,) which picture, −1 where none."""
        ...


def looking_at(where: PictureMap, picture: int) -> NDArray[np.bool_]:
    """(T,): the tokens that look at a picture, those that look at several frames among them."""
    first, spans = where.image, getattr(where, "spans", None)
    past = first + (1 if spans is None else spans)
    found: NDArray[np.bool_] = (first >= 0) & (first <= picture) & (picture < past)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Model inputs, padded on the left or right as the subject wants, and their maps."""

    inputs: Mapping[str, Any]
    """Keyword arguments of the model's forward: input_ids (B, T), attention_mask, pixel_values…"""
    maps: tuple[TokenMap, ...]
    """One a row, each of length T (padding is ``Kind.PAD``)."""
    sample_ids: tuple[str, ...] = ()

    @property
    def mask(self) -> Tensor:
        """(B, T) bool: real positions."""
        return self.inputs["attention_mask"].bool()  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class EditContext:
    """What an edit may know about the tensor in its hands."""

    start: int
    """Position in the whole sequence of the tensor's first token: 0 at prefill, the
    number of cached tokens while decoding."""
    maps: tuple[TokenMap, ...]
    """Maps of the prompt, one a row; positions past their end were generated."""


Edit = Callable[[Tensor, EditContext], Tensor]
"""(B, T, d) -> (B, T, d): what a site's output becomes."""
Edits = Mapping[str, Edit]
"""By site name."""


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """One generated or prompt token with the distribution that it came from."""

    id: int
    text: str
    logprob: float
    top: tuple[tuple[int, str, float], ...] = ()
    """(id, text, logprob) of the likeliest alternatives."""
    entropy: float = 0.0
    """Nats."""
    ends: bool = False
    """Whether it closes the answer: no word of it."""


@dataclass(frozen=True, slots=True)
class Generation:
    """An answer."""

    text: str
    tokens: tuple[TokenChoice, ...]
    prompt_tokens: int
    stopped: str = "eos"
    """'eos', 'length' or 'cancelled'."""
    extra: Mapping[str, Any] = field(default_factory=dict)


TokenSink = Callable[[TokenChoice], bool | None]
"""Called at each generated token; returning True stops the generation."""

__all__ = [
    "IMAGE_KINDS",
    "PICTURE_KINDS",
    "Batch",
    "Edit",
    "EditContext",
    "Edits",
    "Generation",
    "Kind",
    "PictureMap",
    "Role",
    "Sequence",
    "Side",
    "TokenChoice",
    "TokenMap",
    "TokenSink",
    "looking_at",
]
