"""A dictionary's directions at a site where no dictionary was trained.

``resid_post.8/main@resid_post.12`` names the directions of ``resid_post.12/main`` put into
``resid_post.8``: the residual stream is shared, so a decoder direction of one layer often means
much the same in its neighbours. Activations at the other site were never measured, so such a
direction can only be added or projected out; its unit is the feature's maximum at its own site.
Reports give the full name, so that it is not mistaken for a feature of that layer.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from semascope.dictionary.types import Codes, Dictionary
from semascope.errors import CausalError

HOWS = ("add", "project")
"""Interventions that need no activations."""


def borrowed_key(key: str, site: str) -> str:
    """The name of ``key``'s directions at ``site``; its own name at its own site."""
    home, _, name = key.partition("/")
    return key if site in ("", home) else f"{site}/{name}@{home}"


def home_key(key: str) -> str:
    """The id of the dictionary whose directions ``key`` borrows; ``key`` itself if none."""
    _, _, name = key.partition("/")
    base, at, home = name.partition("@")
    return f"{home}/{base}" if at else key


def lookup(key: str, known: Mapping[str, Dictionary]) -> Dictionary | None:
    """The dictionary of that id, with borrowed directions for ``a/main@b``; None if missing."""
    if key in known:
        return known[key]
    source = known.get(home_key(key))
    return None if source is None else BorrowedDirections(source, key.partition("/")[0])


class BorrowedDirections:
    """The ``Dictionary`` of one site, as directions at another."""

    def __init__(self, source: Dictionary, site: str) -> None:
        """The new name holds the source's site."""
        self.source, self.site, self.site_out = source, site, ""
        self.name = f"{source.name}@{source.site}"
        self.width, self.d_in = source.width, source.d_in

    def directions(self, ids: Tensor) -> Tensor:
        """(n,) -> (n, d), the directions of the source."""
        return self.source.directions(ids)

    def encode(self, x: Tensor) -> Codes:
        """Always a CausalError: there are no activations at this site."""
        raise CausalError(
            f"{self.site}/{self.name} has directions and no activations: add them or project them "
            "out."
        )

    def decode(self, codes: Codes, x: Tensor | None = None) -> Tensor:
        """(N, k) codes -> (N, d_out), as the source decodes them."""
        return self.source.decode(codes, x)
