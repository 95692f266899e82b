"""Different interventions for the rows of one batch, to try many features at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from semascope.errors import CausalError
from semascope.subject.types import Edit, EditContext, Edits


def per_row(edits: Sequence[Edits]) -> Edits:
    """Edits of a batch whose row i has ``edits[i]``; a row without edits runs unchanged."""
    sites = dict.fromkeys(site for by_site in edits for site in by_site)
    return {site: _Rows(site, [by_site.get(site) for by_site in edits]) for site in sites}


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """At one site, one edit for each row."""

    site: str
    edits: Sequence[Edit | None]

    def __call__(self, x: Tensor, context: EditContext) -> Tensor:
        if len(x) != len(self.edits) or len(context.maps) != len(self.edits):
            raise CausalError(
                f"{self.site} holds {len(x)} rows, and there are edits for {len(self.edits)}."
            )
        parts = []
        for row, edit in enumerate(self.edits):
            part = x[row : row + 1]  # (1, T, d)
            inner = EditContext(start=context.start, maps=(context.maps[row],))
            parts.append(part if edit is None else edit(part, inner))
        return torch.cat(parts)
