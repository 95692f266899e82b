"""Sites on the vision side, seen token by token: which patch is which image token.

``vision.N`` and ``projector`` hold (pictures, patches, d) where the language model's sites hold
(prompts, tokens, d). Where every image token stands for one patch, in order, the two are the same
thing laid out twice, and attribution and steering work there as anywhere else. Where they are not
(patches merged into one token, tiles reordered, several pictures' tiles in one row), a sentence
says so and names a site that does work.

A leading entry of each picture that no token stands for (a class token) is left alone. Knows token
maps and shapes; nothing of dictionaries or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from semascope.errors import CausalError
from semascope.subject.sinks import sinks
from semascope.subject.types import Batch, Kind, TokenMap


def is_pictured(site: str) -> bool:
    """Whether a site holds patches of pictures rather than tokens of prompts."""
    return site == "projector" or site.startswith("vision.")


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
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
    def of(cls, site: str, x: Tensor, maps: Sequence[TokenMap]) -> Patches:
        """Lay out ``x``, (pictures, patches, d) or (patches, d), over the prompts of ``maps``.

        Raises CausalError where patches and image tokens are not one to one.
        """
        kinds = [token_map.kinds for token_map in maps]
        places = [np.flatnonzero(k == Kind.IMAGE) for k in kinds]
        tokens = sum(map(len, places))
        shown = sum(len(m.sizes) for m in maps)
        pictures, patches = x.shape[:2] if x.ndim == 3 else (shown, len(x) // max(1, shown))
        beams = pictures // max(1, shown)
        skip = patches - tokens // max(1, shown)
        tiled = any(bool((k == Kind.TILE).any()) for k in kinds)
        if tiled or not tokens or skip not in (0, 1) or beams * shown != pictures:
            why = "the pictures are cut into tiles" if tiled else f"there are {tokens} of these"
            raise CausalError(
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


def at_tokens(site: str, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """What ran through a site, as (R, T, d), and the (R, T) bool mask of tokens that it has,
    attention sinks left out (``sinks``)."""
    if not is_pictured(site):
        return x, batch.mask & ~sinks(x, batch.mask)
    if x.numel() == 0:
        return x.new_zeros((*batch.mask.shape, x.shape[-1])), torch.zeros_like(batch.mask)
    layout = Patches.of(site, x, batch.maps)
    length = batch.mask.shape[1]
    return layout.spread(x, length), layout.mask(length)
