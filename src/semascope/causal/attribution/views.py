"""Attributions as notebooks and reports show them: by feature, by token, by region of the picture.

Turns numbers into HTML and pictures and computes nothing anew. Colours are those of
``semascope.heat``: warm for what raises the metric, blue for what lowers it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
from PIL import Image

from semascope import html
from semascope.causal.attribution.result import Attribution, FeatureShare, at
from semascope.causal.steering.interventions import Region
from semascope.causal.steering.token_masks import region_mask
from semascope.causal.steering.units import Statistics, statistic
from semascope.heat import blend
from semascope.subject.heatmap import heat
from semascope.subject.types import PICTURE_KINDS, Kind

COMMON = 0.1
"""A feature that fires at more than this share of tokens is shown apart, as low-level."""


def heat_on(picture: Image.Image, attribution: Attribution, number: int = 0) -> Image.Image:
    """Picture ``number`` of the prompt, in grey, with the heat map of its image tokens' scores."""
    token_map = attribution.maps[0]
    scores = attribution.by_token()[: len(token_map)]  # (T,)
    return blend(picture.convert("L"), heat(token_map, scores, image=number))


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


@dataclass(frozen=True, slots=True)
class AttributionView:
    """An attribution as a notebook shows it."""

    attribution: Attribution
    pictures: Sequence[Image.Image] = ()
    labels: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """What is known of the features, by (dictionary, index)."""
    top: int = 15

    def _repr_html_(self) -> str:
        attribution = self.attribution
        token_map = attribution.maps[0]
        pictured = np.isin(token_map.kinds, (*PICTURE_KINDS, Kind.PAD))
        words = np.flatnonzero(~pictured)
        scores = attribution.by_token()[words]
        parts = [f"<p><b>{attribution.metric}</b> = {attribution.values[0]:.4g}</p>"]
        for number, picture in enumerate(self.pictures[: len(token_map.sizes)]):
            parts.append(html.picture(heat_on(picture, attribution, number)))
        top = float(np.abs(scores).max(initial=0.0))
        parts.append(html.by_activation([token_map.tokens[n] for n in words], scores, top))
        parts.append(self._table())
        shares = ", ".join(f"{s.key} {s.error_share():.0%}" for s in attribution.sites)
        parts.append(f"<p>Share of what the dictionaries do not explain: {shares}</p>")
        return "".join(parts)

    def _table(self) -> str:
        """The strongest features as an HTML table."""
        rows = [
            f"<tr><td>{escape(s.key)}/{s.index}</td><td>{s.score:+.4g}</td>"
            f"<td>{s.peak:.3g}</td><td>{s.tokens}</td>"
            f"<td>{escape(self.labels.get(s.id, ''))}</td></tr>"
            for s in self.attribution.features()[: self.top]
        ]
        head = "<tr><th>feature</th><th>score</th><th>peak</th><th>tokens</th><th></th></tr>"
        return f"<table>{head}{''.join(rows)}</table>"
