"""Vision sites laid out by token: which patch belongs to which image token.

``vision.N`` and ``projector`` hold (pictures, patches, d), the language model's sites (prompts,
tokens, d). If every image token stands for one patch, in order, activations can be moved from one
layout to the other, and dictionaries, evidence, attribution and steering work at vision sites as
anywhere else. If not (merged patches, tiles, several pictures in one row), a SubjectError says why
and names a site that works.

A class token, the leading entry of a picture, belongs to no token and is left as it is. Text
tokens have no activations at vision sites.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semascope.errors import SubjectError
from semascope.subject.types import Batch, Kind, TokenMap


def is_pictured(site: str) -> bool:
    """Whether a site holds patches of pictures, not tokens of prompts."""
    return site == "projector" or site.startswith("vision.")


def sees(inputs: Mapping[str, Any]) -> bool:
    """Whether a model's inputs hold a picture, so that the vision side runs."""
    return any(name.startswith("pixel_values") for name in inputs)


def has_patch(map_: TokenMap) -> NDArray[np.bool_]:
    """(T,) bool: tokens with a patch, if patches and image tokens are one to one."""
    found: NDArray[np.bool_] = map_.kinds == Kind.IMAGE
    return found


@dataclass(frozen=True, slots=True, eq=False)
class VisionPatches:
    """Which patch of a vision site belongs to which token of which prompt."""

    rows: Tensor
    """(N,) int64 row of the batch, for each patch that has a token."""
    positions: Tensor
    """(N,) int64 position in that row."""
    skip: int
    """Leading entries of each picture without a token: 1 for a class token, else 0."""
    pictures: int
    maps: tuple[TokenMap, ...]
    """Token map of each of the R rows, repeated for beams."""

    @classmethod
    def of(cls, site: str, x: Tensor, maps: Sequence[TokenMap]) -> VisionPatches:
        """Lay out ``x``, (pictures, patches, d), over the prompts of ``maps``.

        Raises SubjectError where patches and image tokens are not one to one.
        """
        places = [np.flatnonzero(has_patch(token_map)) for token_map in maps]
        each = [n for own, m in zip(places, maps, strict=True) for n in _each(m, own)]
        pictures, patches = (int(n) for n in (x.shape[:2] if x.ndim == 3 else (1, len(x))))
        beams = pictures // max(1, len(each))
        skip = patches - max(each, default=0)
        why = _why_not(maps, places, each)
        if x.ndim != 3:
            why = why or "those of all pictures lie in one row"
        if why or skip not in (0, 1) or beams * len(each) != pictures:
            why = why or f"there are {sum(map(len, places))} of these"
            raise SubjectError(
                f"{site} holds {pictures} × {patches} patches, which do not correspond one to one "
                f"to the image tokens of these prompts ({why}), so its activations cannot be "
                "assigned to tokens. Use a site of the language model, such as resid_post.0."
            )
        rows = np.concatenate(
            [
                np.full(len(own), prompt * beams + beam)
                for prompt, own in enumerate(places)
                for beam in range(beams)
            ]
        )
        positions = np.concatenate([own for own in places for _ in range(beams)])
        repeated = tuple(m for m in maps for _ in range(beams))
        tensors = [torch.from_numpy(a.astype(np.int64)).to(x.device) for a in (rows, positions)]
        return cls(tensors[0], tensors[1], skip, pictures, repeated)

    def spread(self, x: Tensor, length: int = 0) -> Tensor:
        """(pictures, patches, d) -> (R, T, d), 0 at tokens without a patch."""
        length = length or max(len(m) for m in self.maps)
        out = x.new_zeros((len(self.maps), length, x.shape[-1]))
        own = x.reshape(self.pictures, -1, x.shape[-1])[:, self.skip :]
        return out.index_put((self.rows, self.positions), own.flatten(0, 1))

    def gather(self, tokens: Tensor, like: Tensor) -> Tensor:
        """(R, T, d) -> the shape of ``like``, whose entries without a token are kept."""
        own = tokens[self.rows, self.positions].to(like.dtype)
        whole = like.reshape(self.pictures, -1, like.shape[-1])
        parts = [whole[:, : self.skip], own.view(self.pictures, -1, like.shape[-1])]
        return torch.cat(parts, 1).view_as(like)

    def mask(self, length: int = 0) -> Tensor:
        """(R, T) bool: tokens with a patch."""
        length = length or max(len(m) for m in self.maps)
        out = torch.zeros((len(self.maps), length), dtype=torch.bool, device=self.rows.device)
        out[self.rows, self.positions] = True
        return out


def pictures_of(map_: TokenMap) -> int:
    """How many pictures the tokens of one prompt look at, if patches are one to one."""
    places = np.flatnonzero(has_patch(map_))
    return len(_each(map_, places)) if len(places) else 0


def _each(map_: TokenMap, places: NDArray[np.int64]) -> list[int]:
    """How many tokens look at each picture of one prompt."""
    known = map_.image[places]
    if map_.geometry == "known" and (known >= 0).all():
        return [int(n) for n in np.unique(known, return_counts=True)[1]]
    shown = max(1, len(map_.sizes))
    return [len(places) // shown] * shown if len(places) % shown == 0 else [len(places)]


def _why_not(
    maps: Sequence[TokenMap], places: Sequence[NDArray[np.int64]], each: Sequence[int]
) -> str:
    """Why patches cannot be assigned to tokens, whatever the site's shape; '' if they may be."""
    if any(bool((m.kinds == Kind.TILE).any()) for m in maps):
        return "the pictures are cut into tiles"
    if not each:
        return "there are none"
    if len({int(i) for m, own in zip(maps, places, strict=True) for i in m.ids[own]}) > 1:
        return "pictures and videos run one after the other"
    if len(set(each)) > 1:
        return f"a picture has {min(each)} to {max(each)} of these"
    return ""


def laid_out(site: str, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor | None]:
    """Activations of a site by token, and which tokens have any.

    Args:
        site: where the activations are from.
        x: (R, T, d), or (pictures, patches, d) on the vision side; empty if nothing ran.
        batch: the prompts.

    Returns:
        (R, T, d) activations, and (R, T) bool tokens that have some, or None if all have, as at
        sites of the language model.

    Raises:
        SubjectError: patches and image tokens are not one to one.
    """
    if not is_pictured(site):
        return x, None
    length = len(batch.maps[0])
    if x.numel() == 0:
        shape = (len(batch.maps), length)
        none = torch.zeros(shape, dtype=torch.bool, device=x.device)
        return x.new_zeros((*shape, x.shape[-1])), none
    layout = VisionPatches.of(site, x, batch.maps)
    return layout.spread(x, length), layout.mask(length)
