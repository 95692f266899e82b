"""Selections of an attribution that pages and reports show: a region, without common features."""

from __future__ import annotations

from collections.abc import Sequence

from semascope.causal.attribution.feature_share import FeatureShare
from semascope.causal.attribution.result import Attribution, at
from semascope.causal.steering.interventions import Region
from semascope.causal.steering.token_masks import region_mask
from semascope.causal.steering.units import Statistics, statistic

COMMON = 0.1
"""A feature that fires at more than this share of tokens counts as common."""


def by_region(attribution: Attribution, region: Region, prompt: int = 0) -> list[FeatureShare]:
    """Features summed over the image tokens that look at a region, strongest first."""
    one = attribution.of(prompt)
    return one.features(at(region_mask(region, one.maps[0])))


def split_common(
    shares: Sequence[FeatureShare], statistics: Statistics, limit: float = COMMON
) -> tuple[list[FeatureShare], list[FeatureShare]]:
    """(specific, common): features by how often they fire on everything that was gathered.

    Common features are mostly low-level: edges, positions, surfaces. They are listed separately
    rather than dropped, since they can matter.
    """
    density = {key: statistic(statistics, key, "density") for key in {s.key for s in shares}}
    common = [s for s in shares if density[s.key][s.index] > limit]
    specific = [s for s in shares if density[s.key][s.index] <= limit]
    return specific, common
