"""The result of an attribution: one entry for each active (row, token, feature), and its sums.

Arrays and token maps only: ``attribute`` computes them, ``views`` and ``notebook`` show them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from semascope.causal.attribution.feature_share import FeatureShare
from semascope.errors import CausalError
from semascope.subject.types import TokenMap

Floats = NDArray[np.float32]
_ROUNDING = 1e-6
"""Rounding error of a sum as a share of Σ|terms|: eight units of float32's last place."""


@dataclass(frozen=True, slots=True, eq=False)
class SiteAttribution:
    """The entries of one dictionary: E of them, over R rows of T positions."""

    key: str
    """``site/name``."""
    row: NDArray[np.int32]
    """(E,) row of the batch that was run."""
    position: NDArray[np.int32]
    """(E,)"""
    feature: NDArray[np.int64]
    """(E,)"""
    activation: Floats
    """(E,) z."""
    score: Floats
    """(E,) z · (W_dec · g), signed: first-order drop of the metric if the entry is ablated."""
    error: Floats
    """(R, T) ε · g, the part of the SAE error."""
    bias: Floats
    """(R, T) the part of the decoder's bias (and of a skip transcoder's linear path)."""
    total: Floats
    """(R, T) x · g; features, error and bias sum to it."""
    gain: Floats | None = None
    """(E,) factors of the directions there (``dictionary.types.gain``); None if all are 1."""

    def __len__(self) -> int:
        return len(self.feature)

    def feature_sums(self) -> Floats:
        """(R, T) Σ over features of their scores."""
        sums = np.zeros_like(self.total)
        np.add.at(sums, (self.row, self.position), self.score)
        return sums

    def missing(self) -> NDArray[np.float64]:
        """(R,) |features + error + bias − x·g| of each row, in units of the metric."""
        parts = (self.feature_sums() + self.error + self.bias).sum(1, dtype=np.float64)
        return np.asarray(np.abs(parts - self.total.sum(1, dtype=np.float64)))

    def gap(self) -> float:
        """Largest ``missing`` of a row, relative to Σ|x·g| of that row.

        Where x is almost orthogonal to the gradient, Σ|x·g| is almost 0 although its terms are
        not, and rounding alone makes the ratio large: ``sums_up`` also knows the terms.
        """
        whole = np.maximum(np.abs(self.total).sum(1), 1e-12)
        return float((self.missing() / whole).max(initial=0.0))

    def sums_up(self) -> bool:
        """Whether features, error and bias sum to x·g, up to the rounding of these terms.

        Floating-point sums err in proportion to Σ|terms|, however small their sum is (Higham
        2002, "Accuracy and Stability of Numerical Algorithms", §4.2).
        """
        features = np.zeros(self.total.shape, dtype=np.float64)
        np.add.at(features, (self.row, self.position), np.abs(self.score))
        others = np.abs(self.error) + np.abs(self.bias) + np.abs(self.total)
        terms = (features + others).sum(1)  # (R,)
        return bool((self.missing() <= _ROUNDING * terms).all())

    def error_share(self) -> float:
        """|error| as a share of |features| + |error| + |bias|, summed over tokens."""
        error = float(np.abs(self.error).sum())
        whole = float(np.abs(self.score).sum()) + error + float(np.abs(self.bias).sum())
        return error / whole if whole else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """Attribution of a metric to features, errors and biases."""

    metric: str
    values: Floats
    """(P,) the metric of each prompt: nats, a probability, or logits."""
    sites: tuple[SiteAttribution, ...]
    maps: tuple[TokenMap, ...]
    """(R,) maps of the rows: the prompts, without their continuations."""
    copies: int = 1
    """Rows that one prompt was run in: R = P · copies."""
    steps: int = 1
    """Steps of integrated gradients; 1 is the plain gradient."""

    def __repr__(self) -> str:
        entries = ", ".join(f"{site.key}: {len(site)} entries" for site in self.sites)
        value = f"{self.values[0]:.4g}" if len(self.values) == 1 else f"{len(self.values)} prompts"
        return f"Attribution({self.metric} = {value}; {entries})"

    def _repr_html_(self) -> str:
        from semascope.causal.attribution.notebook import AttributionView

        return AttributionView(self)._repr_html_()

    def site(self, key: str) -> SiteAttribution:
        """The entries of one dictionary. CausalError for one that was not attributed."""
        for site in self.sites:
            if site.key == key:
                return site
        names = ", ".join(s.key for s in self.sites)
        raise CausalError(f"Nothing was attributed to {key}, only to {names}.")

    def of(self, prompt: int = 0) -> Attribution:
        """The same for one prompt of the batch."""
        rows = range(prompt * self.copies, (prompt + 1) * self.copies)
        if not 0 <= prompt < len(self.values):
            raise CausalError(f"There is no prompt {prompt}: {len(self.values)} were attributed.")
        return replace(
            self,
            values=self.values[prompt : prompt + 1],
            sites=tuple(_rows(site, rows) for site in self.sites),
            maps=self.maps[rows.start : rows.stop],
        )

    def features(
        self, keep: Callable[[SiteAttribution], NDArray[np.bool_]] | None = None
    ) -> list[FeatureShare]:
        """Every feature that fired, strongest |score| first, summed over rows and tokens.

        Args:
            keep: chooses entries, (E,) bool; see ``at`` for those of some tokens.
        """
        shares = [share for site in self.sites for share in _shares(site, keep)]
        return sorted(shares, key=lambda share: -abs(share.score))

    def feature(self, key: str, index: int) -> FeatureShare:
        """One feature's share. CausalError if it never fires in these prompts."""
        for share in _shares(self.site(key), lambda site: site.feature == index):
            return share
        raise CausalError(
            f"Feature {key}/{index} never fires in this prompt, so nothing is attributed to it. "
            "Ask for one that does, or steer it up instead."
        )

    def by_token(self, key: str | None = None) -> Floats:
        """(T,) Σ scores of features by position of the prompt, rows added up."""
        length = max(len(m) for m in self.maps)
        sites = self.sites if key is None else (self.site(key),)
        sums = np.zeros(length, dtype=np.float32)
        for site in sites:
            sums += site.feature_sums()[:, :length].sum(0)
        return sums


def at(mask: NDArray[np.bool_]) -> Callable[[SiteAttribution], NDArray[np.bool_]]:
    """Keep entries at the positions of ``mask`` (T,): a span, a token, a region."""

    def keep(site: SiteAttribution) -> NDArray[np.bool_]:
        inside: NDArray[np.bool_] = site.position < len(mask)
        inside[inside] = mask[site.position[inside]]
        return inside

    return keep


def _rows(site: SiteAttribution, rows: range) -> SiteAttribution:
    """The entries of some rows, renumbered from 0."""
    keep = (site.row >= rows.start) & (site.row < rows.stop)
    return replace(
        site,
        row=site.row[keep] - np.int32(rows.start),
        position=site.position[keep],
        feature=site.feature[keep],
        activation=site.activation[keep],
        score=site.score[keep],
        gain=None if site.gain is None else site.gain[keep],
        error=site.error[rows.start : rows.stop],
        bias=site.bias[rows.start : rows.stop],
        total=site.total[rows.start : rows.stop],
    )


def _shares(
    site: SiteAttribution, keep: Callable[[SiteAttribution], NDArray[np.bool_]] | None
) -> list[FeatureShare]:
    """Sums by feature of one dictionary's entries."""
    chosen = slice(None) if keep is None else keep(site)
    score, activation = site.score[chosen], site.activation[chosen]
    ids, inverse, counts = np.unique(site.feature[chosen], return_inverse=True, return_counts=True)
    positive = np.bincount(inverse, np.maximum(score, 0), len(ids))
    negative = np.bincount(inverse, np.minimum(score, 0), len(ids))
    peak = np.zeros(len(ids), dtype=np.float32)
    np.maximum.at(peak, inverse, activation)
    return [
        FeatureShare(site.key, int(i), float(p + n), float(p), float(n), float(top), int(count))
        for i, p, n, top, count in zip(ids, positive, negative, peak, counts, strict=True)
    ]
