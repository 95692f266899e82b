"""The types that a subject takes and returns: batches, token maps, edits, answers.

They depend on no model family, dictionary or file.
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
    """What a token is."""

    PAD = 0
    TEXT = 1
    SPECIAL = 2
    """Template and control tokens, BOS included."""
    IMAGE = 3
    """A token of the whole picture (the base view), or of a frame of a video."""
    TILE = 4
    """A token of a high-resolution tile of the picture."""
    NEWLINE = 5
    """Row separators and other tokens of a picture that look at no place in it."""


IMAGE_KINDS = (Kind.IMAGE, Kind.TILE)
"""Tokens that look at a place in a picture."""
PICTURE_KINDS = (*IMAGE_KINDS, Kind.NEWLINE)
"""All tokens that a picture becomes."""
Side = Literal["left", "right"]
"""Where padding stands."""


class Role(IntEnum):
    """Who says a token."""

    NONE = 0
    SYSTEM = 1
    USER = 2
    ASSISTANT = 3


@dataclass(frozen=True, slots=True, eq=False)
class TokenMap:
    """The T tokens of one sequence: what each is, who says it, and where in a picture it looks."""

    ids: NDArray[np.int64]
    """(T,) token ids."""
    tokens: tuple[str, ...]
    """(T,) each token as text, spaces kept."""
    kinds: NDArray[np.int8]
    """(T,) of ``Kind``."""
    roles: NDArray[np.int8]
    """(T,) of ``Role``."""
    image: NDArray[np.int16]
    """(T,) index of the picture that the token looks at, −1 for none. Images come first, then the
    frames of videos (``Sample.pictures``)."""
    rects: NDArray[np.float32]
    """(T, 4) left, top, right, bottom in pixels of the original picture; NaN for none."""
    sizes: tuple[tuple[int, int], ...]
    """(width, height) of each original picture, in pixels."""
    geometry: str = "known"
    """'known', or why the rectangles are not."""
    spans: NDArray[np.int16] | None = None
    """(T,) number of consecutive pictures, from ``image`` on, that the token looks at: frames of a
    video that the model merges. None if every token looks at one."""
    cut: int = 0
    """Number of tokens that were cut from the end, past ``max_tokens``."""
    mark: str = ""
    """Hash of the model's input for this row; empty if it was not computed."""

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
        """Number of tokens of each kind, by the kind's name."""
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
    """Which picture each token looks at: a ``TokenMap``, or a stored sample.

    May also have ``spans``, as ``TokenMap`` does.
    """

    @property
    def image(self) -> NDArray[np.int16]:
        """(T,) index of the picture, −1 for none."""
        ...


def looking_at(where: PictureMap, picture: int) -> NDArray[np.bool_]:
    """(T,) bool: tokens that look at a picture, including those that look at several frames."""
    first, spans = where.image, getattr(where, "spans", None)
    past = first + (1 if spans is None else spans)
    found: NDArray[np.bool_] = (first >= 0) & (first <= picture) & (picture < past)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Padded model inputs and their token maps."""

    inputs: Mapping[str, Any]
    """Keyword arguments of the model's forward pass: input_ids (B, T), attention_mask (B, T),
    pixel_values …"""
    maps: tuple[TokenMap, ...]
    """One for each row, of length T; padding is ``Kind.PAD``."""
    sample_ids: tuple[str, ...] = ()

    @property
    def mask(self) -> Tensor:
        """(B, T) bool: positions that are not padding."""
        return self.inputs["attention_mask"].bool()  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class EditContext:
    """Where the tensor that an edit receives lies in the sequence."""

    start: int
    """Position of the tensor's first token in the sequence: 0 at prefill, the number of cached
    tokens while decoding."""
    maps: tuple[TokenMap, ...]
    """Token map of each row's prompt; positions past its end were generated."""


Edit = Callable[[Tensor, EditContext], Tensor]
"""(B, T, d) -> (B, T, d): changes the output of a site."""
Edits = Mapping[str, Edit]
"""By site name."""


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """A generated token, and the distribution that it was drawn from."""

    id: int
    text: str
    logprob: float
    top: tuple[tuple[int, str, float], ...] = ()
    """(id, text, log-probability) of the most likely tokens."""
    entropy: float = 0.0
    """Of the distribution, in nats."""
    ends: bool = False
    """Whether the token ends the answer (EOS)."""


@dataclass(frozen=True, slots=True)
class Generation:
    """An answer and its tokens."""

    text: str
    tokens: tuple[TokenChoice, ...]
    prompt_tokens: int
    stopped: str = "eos"
    """Why generation stopped: 'eos', 'length' or 'cancelled'."""
    extra: Mapping[str, Any] = field(default_factory=dict)


TokenSink = Callable[[TokenChoice], bool | None]
"""Called with each generated token; return True to stop."""

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
