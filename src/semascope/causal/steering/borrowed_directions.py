"""A dictionary's directions at a site where no dictionary was trained.

``resid_post.8/main@resid_post.12`` names the directions of ``resid_post.12/main`` put into
``resid_post.8``: the residual stream is shared, so a decoder direction of one layer often means
much the same in its neighbours. What a feature's activation would be there nobody measured, so
such a direction can be added and projected out, and nothing else; its unit is the maximum that the
feature has at home. Every report carries the whole name, so that nobody takes it for a feature of
that layer.

Knows names and directions; whether it helps is to be measured (see ``naming``).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from semascope.dictionary.types import Codes, Dictionary
from semascope.errors import CausalError

HOWS = ("add", "project")
"""What can be done with a direction that has no activations."""


def borrowed_key(key: str, site: str) -> str:
    """The name of ``key``'s directions at ``site``; its own name at its own site."""
    home, _, name = key.partition("/")
    return key if site in ("", home) else f"{site}/{name}@{home}"


def home_key(key: str) -> str:
    """The dictionary that lends its directions to ``key``; ``key`` itself where none does."""
    _, _, name = key.partition("/")
    base, at, home = name.partition("@")
    return f"{home}/{base}" if at else key


def lookup(key: str, known: Mapping[str, Dictionary]) -> Dictionary | None:
    """The dictionary of that name, lent to another site where the name says so."""
    if key in known:
        return known[key]
    source = known.get(home_key(key))
    return None if source is None else BorrowedDirections(source, key.partition("/")[0])


class BorrowedDirections:
    """The ``Dictionary`` of one site, as directions at another."""

    def __init__(self, source: Dictionary, site: str) -> None:
        """Its name keeps where it is at home."""
        self.source, self.site, self.site_out = source, site, ""
        self.name = f"{source.name}@{source.site}"
        self.width, self.d_in = source.width, source.d_in

    def directions(self, ids: Tensor) -> Tensor:
        """(n,) -> (n, d), as at home."""
        return self.source.directions(ids)

    def encode(self, x: Tensor) -> Codes:
        """Nobody measured activations here."""
        raise CausalError(
            f"{self.site}/{self.name} has directions and no activations: add them or project them "
            "out."
        )

    def decode(self, codes: Codes, x: Tensor | None = None) -> Tensor:
        """As at home."""
        return self.source.decode(codes, x)
