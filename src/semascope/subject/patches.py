"""Sites on the vision side, seen token by token: which patch is which image token.

``vision.N`` and ``projector`` hold (pictures, patches, d) where the language model's sites hold
(prompts, tokens, d). Where every image token stands for one patch, in order, the two are the same
thing laid out twice, and dictionaries, evidence, attribution and steering work there as anywhere
else. Where they are not, a sentence says so and names a site that does work: patches merged into
one token, tiles, several pictures in one row (whose order is Qwen2.5-VL's own).

A leading entry of each picture that no token stands for (a class token) is left alone, and so are
tokens without a patch: words have no activations there. Knows token maps and shapes; nothing of
dictionaries or models.
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
    """Whether a site holds patches of pictures rather than tokens of prompts."""
    return site == "projector" or site.startswith("vision.")


def sees(inputs: Mapping[str, Any]) -> bool:
    """Whether a model's inputs hold a picture, so that something passes its vision side."""
    return any(name.startswith("pixel_values") for name in inputs)


def has_patch(map_: TokenMap) -> NDArray[np.bool_]:
    """(T,): tokens that a patch stands for, where patches and image tokens are one to one."""
    found: NDArray[np.bool_] = map_.kinds == Kind.IMAGE
    return found


@dataclass(frozen=True, slots=True, eq=False)
class VisionPatches:
    """Which patch of a vision site stands for which token of which prompt."""

    rows: Tensor
    """(N,) int64 row of the batch, for each patch that a token stands for."""
    positions: Tensor
    """(N,) int64 position in that row."""
    skip: int
    """Leading entries of each picture that no token stands for."""
    pictures: int
    maps: tuple[TokenMap, ...]
    """(R,) one a row, repeated for beams."""

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
                f"{site} holds {pictures} × {patches} patches, and they do not stand one for one "
                f"for the image tokens of these prompts ({why}), so what happens there cannot be "
                "told apart by token. Use a site of the language model, such as resid_post.0."
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
        """(pictures, patches, d) -> (R, T, d), 0 where no patch stands."""
        length = length or max(len(m) for m in self.maps)
        out = x.new_zeros((len(self.maps), length, x.shape[-1]))
        own = x.reshape(self.pictures, -1, x.shape[-1])[:, self.skip :]
        return out.index_put((self.rows, self.positions), own.flatten(0, 1))

    def gather(self, tokens: Tensor, like: Tensor) -> Tensor:
        """(R, T, d) -> the shape of ``like``, whose skipped entries stay."""
        own = tokens[self.rows, self.positions].to(like.dtype)
        whole = like.reshape(self.pictures, -1, like.shape[-1])
        parts = [whole[:, : self.skip], own.view(self.pictures, -1, like.shape[-1])]
        return torch.cat(parts, 1).view_as(like)

    def mask(self, length: int = 0) -> Tensor:
        """(R, T) bool: tokens that a patch stands for."""
        length = length or max(len(m) for m in self.maps)
        out = torch.zeros((len(self.maps), length), dtype=torch.bool, device=self.rows.device)
        out[self.rows, self.positions] = True
        return out


def pictures_of(map_: TokenMap) -> int:
    """How many pictures the tokens of one prompt look at, where patches are one to one."""
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
    """Why no layout can be told, whatever the shape of the site; '' where one may."""
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
    """What ran through a site as (R, T, d), and the (R, T) bool tokens that it has.

    None where all of them have activations there, as at sites of the language model. Nothing
    passed the vision side where the batch has no picture: no token has any then.
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
