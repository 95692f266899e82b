"""Attributions as notebooks and reports show them: by feature, by token, by region of the picture.

Turns numbers into HTML and pictures and computes nothing anew. Colours are those of
``semascope.heat``: warm for what raises the metric, blue for what lowers it.
"""

from __future__ import annotations

from collections.abc import Sequence

from semascope.causal.attribution.feature_share import FeatureShare
from semascope.causal.attribution.result import Attribution, at
from semascope.causal.steering.interventions import Region
from semascope.causal.steering.token_masks import region_mask
from semascope.causal.steering.units import Statistics, statistic

COMMON = 0.1
"""A feature that fires at more than this share of tokens is shown apart, as low-level."""


def by_region(attribution: Attribution, region: Region, prompt: int = 0) -> list[FeatureShare]:
    """Features summed over the image tokens that look at a region, strongest first."""
    own = attribution.of(prompt)
    return own.features(at(region_mask(region, own.maps[0])))


def set_apart(
    shares: Sequence[FeatureShare], statistics: Statistics, limit: float = COMMON
) -> tuple[list[FeatureShare], list[FeatureShare]]:
    """(specific, common): features by how often they fire on everything that was gathered.

    The common ones are mostly low-level: edges, positions, surfaces. They are shown apart
    rather than dropped, since they can matter.
    """
    density = {key: statistic(statistics, key, "density") for key in {s.key for s in shares}}
    common = [s for s in shares if density[s.key][s.index] > limit]
    specific = [s for s in shares if density[s.key][s.index] <= limit]
    return specific, common
