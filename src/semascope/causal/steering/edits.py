"""Interventions as edits of activations that keep the SAE error.

``x' = x + Σ_f (z'_f − z_f) W_dec[f]`` at the chosen tokens: what the dictionary does not
explain, its error, stays as it is (Templeton et al. 2024, "Scaling Monosemanticity",
Methods: steering). The same closures run at prefill and at every decoded token, for any
batch and with or without a KV cache, because positions come from the edit's context.

z is read with the dictionary's own gating: a feature that its TopK leaves out is 0 here,
whatever its pre-activation. All changes at one site are computed from the unedited x and
added together. Attention sinks are never edited (``subject.sinks``).

For a dictionary that reads one site and writes another (a transcoder), the subject must run the
reading site first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from semascope.causal.steering.borrowed_directions import HOWS, BorrowedDirections, lookup
from semascope.causal.steering.interventions import How, Intervention, Where
from semascope.causal.steering.token_masks import Mask, select
from semascope.causal.steering.units import Statistics, by_id, output_site, unit_sizes
from semascope.dictionary.types import Dictionary, gain
from semascope.errors import CausalError, Conflict
from semascope.subject.patches import VisionPatches, is_pictured
from semascope.subject.readable import without_sinks
from semascope.subject.types import Edit, EditContext, Edits, TokenMap

_AHEAD = 64
"""Positions past the prompt covered by a mask, so that decoding rarely makes a new one."""
_MASKS = 256
"""Most masks in the cache of one site."""


@dataclass(frozen=True, slots=True, eq=False)
class FeatureEdit:
    """One intervention on the features of one dictionary, with the sizes of its units."""

    label: str
    where: Where
    how: How
    strength: float
    only_active: bool
    ids: Tensor
    """(F,) int64."""
    units: Tensor
    """(F,) float32, one unit of each feature in activations."""
    basis: Tensor | None = None
    """(d, r) orthonormal columns, for ``project``."""

    @property
    def reads(self) -> bool:
        """Whether it needs the activations z."""
        return self.how in ("clamp", "scale", "ablate") or self.only_active

    def change(self, z: Tensor) -> Tensor:
        """(M, F) activations -> (M, F) z' − z."""
        dose = self.strength * self.units.to(z.device)  # (F,)
        if self.how == "clamp":
            change = dose - z
        elif self.how == "add":
            change = dose.expand_as(z)
        elif self.how == "scale":
            change = (self.strength - 1.0) * z
        else:
            change = -self.strength * z
        return torch.where(z > 0, change, 0.0) if self.only_active else change


def edits_for(
    interventions: Iterable[Intervention],
    dictionaries: Iterable[Dictionary] | Mapping[str, Dictionary],
    statistics: Statistics | None = None,
) -> Edits:
    """Edits by site, for ``Subject.run``, ``logits``, ``generate`` and ``editing``.

    Interventions that change nothing make no edit.

    Args:
        interventions: what to do; features name dictionaries as ``site/name``.
        dictionaries: every dictionary that a feature names.
        statistics: sizes of units by dictionary; needed for ``clamp`` and ``add`` unless
            their unit is ``absolute``.

    Raises:
        Conflict: two interventions change one feature at one token. If this depends on the
            prompt (two different texts, say), the edit raises it when it runs.
        CausalError: an unknown dictionary or feature, or a unit without statistics.
    """
    known = by_id(dictionaries)
    acts: dict[str, list[FeatureEdit]] = {}
    for intervention in interventions:
        for key, act in _resolve(intervention, known, statistics):
            acts.setdefault(key, []).append(act)
    parts: dict[str, list[_Part]] = {}
    readers: dict[str, list[_Reader]] = {}
    for key, group in acts.items():
        dictionary, source = _known(key, known), None
        if output_site(dictionary) != dictionary.site:
            source = _Reader()
            readers.setdefault(dictionary.site, []).append(source)
        parts.setdefault(output_site(dictionary), []).append(_Part(key, dictionary, group, source))
    edits: dict[str, Edit] = {site: SiteEdit(site, group) for site, group in parts.items()}
    for site, readers_here in readers.items():
        edits[site] = _Chain([edits[site]] if site in edits else [], readers_here)
    return edits


def _resolve(
    intervention: Intervention, known: Mapping[str, Dictionary], statistics: Statistics | None
) -> list[tuple[str, FeatureEdit]]:
    """The edits of one intervention, by dictionary; none if it changes nothing."""
    if intervention.is_identity:
        return []
    groups: dict[str, list[int]] = {}
    for key, index in intervention.features:
        dictionary = lookup(key, known)
        if dictionary is None:
            raise CausalError(
                f"{intervention.label}: there is no dictionary {key!r}; "
                f"there are {', '.join(sorted(known)) or 'none'}."
            )
        if index >= dictionary.width:
            raise CausalError(
                f"{intervention.label}: {key} has {dictionary.width} features, no number {index}."
            )
        borrowed = isinstance(dictionary, BorrowedDirections)
        if borrowed and (intervention.how not in HOWS or intervention.only_active):
            raise CausalError(
                f"{intervention.label}: {key} has directions and no activations, as no dictionary "
                f"was trained there. Choose one of: {', '.join(HOWS)}, at all tokens."
            )
        groups.setdefault(key, []).append(index)
    return [
        (key, _act(intervention, key, _known(key, known), ids, statistics))
        for key, ids in groups.items()
    ]


def _known(key: str, known: Mapping[str, Dictionary]) -> Dictionary:
    """A loaded dictionary, or one with borrowed directions."""
    dictionary = lookup(key, known)
    assert dictionary is not None  # _resolve raises for one that is missing
    return dictionary


def _act(
    intervention: Intervention,
    key: str,
    dictionary: Dictionary,
    indices: list[int],
    statistics: Statistics | None,
) -> FeatureEdit:
    """One edit, with its units and, for a projection, an orthonormal basis."""
    units = unit_sizes(intervention, key, np.asarray(indices, dtype=np.int64), statistics)
    ids = torch.as_tensor(indices, dtype=torch.int64)
    basis = None
    if intervention.how == "project":
        rows = dictionary.directions(ids).detach().float()  # (F, d)
        left, sizes, _ = torch.linalg.svd(rows.T, full_matrices=False)
        basis = left[:, sizes > sizes.max() * 1e-5]  # (d, r): parallel directions count once
    return FeatureEdit(
        label=intervention.label,
        where=intervention.where,
        how=intervention.how,
        strength=intervention.strength,
        only_active=intervention.only_active,
        ids=ids,
        units=torch.from_numpy(units),
        basis=basis,
    )


@dataclass(slots=True, eq=False)
class _Reader:
    """Records the activations where a transcoder reads, for the edit where it writes."""

    seen: Tensor | None = None

    def __call__(self, x: Tensor, context: EditContext) -> Tensor:
        self.seen = x
        return x


@dataclass(slots=True, eq=False)
class _Chain:
    """Several edits at one site, one after the other; readers last, as the model reads them."""

    edits: Sequence[Edit]
    readers: Sequence[_Reader]

    def __call__(self, x: Tensor, context: EditContext) -> Tensor:
        steps: tuple[Edit, ...] = (*self.edits, *self.readers)
        for edit in steps:
            x = edit(x, context)
        return x


@dataclass(slots=True, eq=False)
class _Part:
    """The edits of one dictionary, and its reader if it reads another site."""

    key: str
    dictionary: Dictionary
    acts: list[FeatureEdit]
    reader: _Reader | None
    ids: Tensor = field(init=False)
    """(G,) every feature that an edit names, once."""
    columns: list[Tensor] = field(init=False)
    """For each edit, (F,) the indices of its features in ``ids``."""
    pairs: list[tuple[int, int]] = field(init=False)
    """Pairs of edits that share a feature, and must not share a token."""
    lookup: Tensor = field(init=False)
    """(width,) int64: index of each feature in ``ids``, −1 for all others."""

    def __post_init__(self) -> None:
        named = torch.cat([act.ids for act in self.acts])
        self.ids, inverse = torch.unique(named, return_inverse=True)
        self.columns = list(inverse.split([len(act.ids) for act in self.acts]))
        self.lookup = torch.full((self.dictionary.width,), -1, dtype=torch.int64)
        self.lookup[self.ids] = torch.arange(len(self.ids))
        self.pairs = [
            (i, j)
            for (i, one), (j, other) in combinations(enumerate(self.columns), 2)
            if bool(torch.isin(one, other).any())
        ]
        for i, j in self.pairs:
            if self.acts[i].where == self.acts[j].where:
                raise self.conflict(i, j)

    def conflict(self, i: int, j: int) -> Conflict:
        """The error for two edits of one feature at one token."""
        one, other = self.acts[i], self.acts[j]
        shared = one.ids[torch.isin(one.ids, other.ids)][0].item()
        return Conflict(
            f"Two interventions change feature {self.key}/{shared} at the same token: "
            f"'{one.label}' and '{other.label}'. Drop one, or give them different tokens."
        )

    def delta(self, x: Tensor, source: Tensor, chosen: Tensor) -> Tensor:
        """What to add to each token.

        Args:
            x: (M, d_out) the tokens to change.
            source: (M, d_in) the same tokens where the dictionary reads.
            chosen: (edits, M) bool, the tokens of each edit.

        Returns:
            (M, d_out) float32.
        """
        directions = self.dictionary.directions(self.ids.to(x.device)).detach()  # (G, d_out)
        if directions.shape[1] != x.shape[1]:
            raise CausalError(
                f"The directions of {self.key} have {directions.shape[1]} numbers, and what runs "
                f"at its site has {x.shape[1]}: they belong to another site."
            )
        if any(act.reads for act in self.acts):
            z = chosen_codes(self.dictionary, source, self.lookup, len(self.ids))  # (M, G)
        else:
            z = source.new_zeros((len(source), len(self.ids)))
        moved = torch.zeros_like(z)  # (M, G)
        total = torch.zeros_like(x)  # (M, d_out)
        for act, columns, tokens in zip(self.acts, self.columns, chosen, strict=True):
            if act.basis is not None:
                basis = act.basis.to(x.device)
                away = act.strength * (x @ basis) @ basis.T  # (M, d_out)
                if act.only_active:
                    tokens = tokens & (z[:, columns.to(x.device)] > 0).any(1)
                total = total - torch.where(tokens[:, None], away, 0.0)
                continue
            columns = columns.to(x.device)
            change = torch.where(tokens[:, None], act.change(z[:, columns]), 0.0)  # (M, F)
            moved = moved.index_add(1, columns, change)
        times = gain(self.dictionary, source)  # (M, 1)
        written = moved @ directions.float()
        return total + (written if times is None else written * times)


def chosen_codes(dictionary: Dictionary, x: Tensor, lookup: Tensor, count: int) -> Tensor:
    """(M, count) activations of the chosen features alone, under the dictionary's own gating.

    Args:
        dictionary: whose ``encode`` decides what fires.
        x: (M, d_in) tokens.
        lookup: (width,) column of each chosen feature, −1 for all others.
        count: how many are chosen.
    """
    values, indices = dictionary.encode(x)  # (M, k) each
    columns = lookup.to(indices.device)[indices]  # (M, k)
    # Padding entries have value 0, so adding them anywhere is harmless.
    columns = torch.where(columns < 0, count, columns)
    spread = values.new_zeros((len(x), count + 1), dtype=torch.float32)
    return spread.scatter_add(1, columns, values.float())[:, :count]


class SiteEdit:
    """All edits at one site, as one ``Edit``: (B, T, d) -> (B, T, d)."""

    def __init__(self, site: str, parts: Sequence[_Part]) -> None:
        self.site = site
        self.parts = parts
        self._masks: dict[tuple[int, Where], tuple[TokenMap, Mask]] = {}

    def __call__(self, x: Tensor, context: EditContext) -> Tensor:
        if not is_pictured(self.site):
            return self._edited(x, context, without_sinks([x]))
        layout = VisionPatches.of(self.site, x, context.maps)
        tokens = layout.spread(x)  # (R, T, d)
        editable = without_sinks([tokens], layout.mask())  # (R, T)
        after = self._edited(tokens, EditContext(0, layout.maps), editable)
        return x if after is tokens else layout.gather(after, x)

    def _edited(self, x: Tensor, context: EditContext, editable: Tensor) -> Tensor:
        """(B, T, d) -> (B, T, d), at ``editable`` tokens, (B, T) bool."""
        chosen = [self._chosen(part, x, context) & editable for part in self.parts]
        # (acts, B, T) each
        for part, masks in zip(self.parts, chosen, strict=True):
            for i, j in part.pairs:
                if bool((masks[i] & masks[j]).any()):
                    raise part.conflict(i, j)
        touched = torch.stack([masks.any(0) for masks in chosen]).any(0)  # (B, T)
        if not bool(touched.any()):
            return x
        rows = x[touched].float()  # (M, d)
        change = torch.zeros_like(rows)  # (M, d)
        for part, masks in zip(self.parts, chosen, strict=True):
            source = rows if part.reader is None else self._read(part.reader, touched)
            change = change + part.delta(rows, source, masks[:, touched])
        if not bool(change.any()):
            return x
        return x.index_put((touched,), self._finite(rows + change, rows).to(x.dtype))

    def _read(self, reader: _Reader, touched: Tensor) -> Tensor:
        """(M, d_in): the touched tokens where a transcoder reads."""
        if reader.seen is None:
            raise CausalError(f"The site that feeds {self.site} did not run before it.")
        return reader.seen[touched].float()

    def _finite(self, rows: Tensor, before: Tensor) -> Tensor:
        """The rows, or an error that names this layer."""
        if bool(torch.isfinite(rows).all()):
            return rows
        labels = ", ".join(f"'{act.label}'" for part in self.parts for act in part.acts)
        if not bool(torch.isfinite(before).all()):
            raise CausalError(
                f"What reaches {self.site} is not finite already, before {labels}: a layer "
                "above it overflowed. Lower the strengths there, or run in float32."
            )
        raise CausalError(f"{labels} gives NaN or infinity at {self.site}: lower its strength.")

    def _chosen(self, part: _Part, x: Tensor, context: EditContext) -> Tensor:
        """(acts, B, T) bool: the positions of this tensor that each act changes."""
        rows, length = x.shape[:2]
        if len(context.maps) == 0 or rows % len(context.maps):
            raise CausalError(
                f"{self.site} holds {rows} rows and there are {len(context.maps)} prompts: "
                "interventions need to know which prompt each row continues."
            )
        stop = context.start + length
        masks = [
            [self._mask(act.where, token_map, stop)[context.start : stop] for act in part.acts]
            for token_map in context.maps
        ]
        # (acts, prompts, T); beams and samples of one prompt stand next to each other.
        stacked = torch.from_numpy(np.asarray(masks)).transpose(0, 1).to(x.device)
        return stacked.repeat_interleave(rows // len(context.maps), dim=1)

    def _mask(self, where: Where, token_map: TokenMap, stop: int) -> Mask:
        """(≥ stop,) bool, cached from one decoding step to the next."""
        key = (id(token_map), where)
        cached = self._masks.get(key)
        if cached is None or cached[0] is not token_map or len(cached[1]) < stop:
            if len(self._masks) >= _MASKS:
                self._masks.clear()
            cached = (token_map, select(where, token_map, stop + _AHEAD))
            self._masks[key] = cached
        return cached[1]
