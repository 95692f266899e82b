"""Exact ablation of the features that attribution ranks first, and how well the two agree.

Each feature is ablated alone, at every token where it fires, keeping the SAE error:
``x' = x − z_f W_dec[f]``; the model runs again, and the effect is the drop in the metric.
Many features are ablated as rows of one batch. Attribution is a first-order estimate of this;
Pearson's r over the top features says how good (Templeton et al. 2024, "Attributions").

"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semascope.causal.attribution.feature_share import FeatureShare
from semascope.causal.attribution.forced_tokens import ForcedTokens, Remove, parting, repeat
from semascope.causal.attribution.metrics import Metric, measured, prepare
from semascope.causal.attribution.result import Attribution, SiteAttribution
from semascope.causal.steering.units import by_id, output_site
from semascope.dictionary.types import Dictionary
from semascope.errors import CausalError
from semascope.statistics import correlation
from semascope.subject.model import Subject
from semascope.subject.types import Batch, Edits

TOP = 15
"""Features in the HTML view."""


@dataclass(frozen=True, slots=True, eq=False)
class AblationResult:
    """Attributed and exact effects of the same features."""

    features: tuple[FeatureShare, ...]
    effects: NDArray[np.float32]
    """(n,) the metric minus its value without the feature."""

    @property
    def scores(self) -> NDArray[np.float32]:
        """(n,) first-order scores by attribution."""
        return np.asarray([f.score for f in self.features], dtype=np.float32)

    @property
    def r(self) -> float | None:
        """Pearson's r of scores and effects; None if one is constant or there are fewer than 3."""
        return correlation(self.scores, self.effects)

    @property
    def agreement(self) -> str:
        """``r`` in words."""
        if self.r is not None:
            return f"r = {self.r:.3f}"
        few = len(self.features) < 3
        return "no r: fewer than 3 features" if few else "no r: all scores or effects are equal"

    def __repr__(self) -> str:
        return f"AblationResult({len(self.features)} features, {self.agreement})"

    def _repr_html_(self) -> str:
        from semascope import html

        rows = [
            (f"{share.key}/{share.index}", float(effect), f"attributed {share.score:+.3g}")
            for share, effect in zip(self.features, self.effects, strict=True)
        ]
        return html.bars(rows[:TOP], f"Exact effects and attributed ones: {self.agreement}")


def ablate_exactly(
    subject: Subject,
    batch: Batch,
    dictionaries: Iterable[Dictionary] | Mapping[str, Dictionary],
    metric: Metric,
    attribution: Attribution,
    *,
    top: int = 50,
    features: Sequence[FeatureShare] | None = None,
    rows: int = 16,
    edits: Edits | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> AblationResult:
    """Ablate features one at a time, ``rows`` of them to a forward pass.

    Args:
        subject: a ``Subject``.
        batch: the one prompt that was attributed.
        dictionaries: those of the attribution.
        metric: the metric of the attribution.
        attribution: which features, where they fire and how strongly.
        top: how many of the strongest by |score|.
        features: others to ablate instead of the top.
        rows: features a forward pass.
        edits: the interventions under which it was attributed.
        progress: called with (done, total, note).

    Raises:
        CausalError: several prompts, or a feature that fires nowhere in this one.
    """
    if len(batch.maps) != 1:
        raise CausalError("Ablate one prompt at a time: take `attribution.of(i)` and its sample.")
    known = by_id(dictionaries)
    chosen = tuple(attribution.features()[:top] if features is None else features)
    base = float(attribution.values[0])
    one = prepare(batch, metric)
    effects: list[float] = []
    for start in range(0, len(chosen), rows):
        part = chosen[start : start + rows]
        removal = _removals(part, attribution, known, one, edits or {})
        parts = parting(subject, one, removal)
        forced = one if parts else prepare(repeat(batch, len(part)), metric)
        with torch.no_grad():
            fork = (parts, len(part)) if parts else None
            values = measured(subject, forced, metric, removal, fork)  # (len(part),)
        effects += (base - values.float()).tolist()
        if progress is not None:
            progress(len(effects), len(chosen), "ablating")
    return AblationResult(chosen, np.asarray(effects, dtype=np.float32))


def _removals(
    part: Sequence[FeatureShare],
    attribution: Attribution,
    known: Mapping[str, Dictionary],
    one: ForcedTokens,
    edits: Edits,
) -> Edits:
    """Edits that take feature i out of row i (and of the metric's other copies of it)."""
    copies = attribution.copies
    gone: dict[str, Tensor] = {}
    rows, length = one.batch.inputs["input_ids"].shape
    shape = (len(part) * rows, length)
    for number, feature in enumerate(part):
        site = attribution.site(feature.key)
        row, position, activation = fires(site, feature.index)
        if site.gain is not None:
            activation = activation * torch.from_numpy(site.gain[site.feature == feature.index])
        if len(row) == 0:
            raise CausalError(
                f"Feature {feature.key}/{feature.index} never fires in this prompt, so there is "
                "nothing to ablate."
            )
        dictionary = known[feature.key]
        direction = dictionary.directions(torch.tensor([feature.index]))[0].float().cpu()  # (d,)
        where = output_site(dictionary)
        if where not in gone:
            gone[where] = torch.zeros((*shape, len(direction)))  # (R, T, d)
        gone[where][number * copies + row, position] += activation[:, None] * direction
    return {**edits, **{site: Remove(away, edits.get(site)) for site, away in gone.items()}}


def fires(site: SiteAttribution, index: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where one feature fires: (E,) rows, (E,) positions, (E,) activations."""
    chosen = site.feature == index
    return (
        torch.from_numpy(site.row[chosen].astype(np.int64)),
        torch.from_numpy(site.position[chosen].astype(np.int64)),
        torch.from_numpy(site.activation[chosen]),
    )
