"""An attribution as tables and files: by feature, by token, by region; JSON, HTML and a heat map.

Turns arrays into plain records for the command line, the page and files. Features that fire on
many tokens are listed separately.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from semascope.causal.attribution.ablation import AblationResult
from semascope.causal.attribution.feature_share import FeatureShare
from semascope.causal.attribution.notebook import AttributionView, heat_on
from semascope.causal.attribution.result import Attribution, at
from semascope.causal.attribution.views import by_region, split_common
from semascope.causal.steering.interventions import Region
from semascope.causal.steering.units import Statistics
from semascope.files import write_text, write_whole
from semascope.subject.types import PICTURE_KINDS, Kind

Labels = Mapping[tuple[str, int], str]


def tables(
    attribution: Attribution,
    *,
    labels: Labels | None = None,
    statistics: Statistics | None = None,
    top: int = 15,
    region: Region | None = None,
) -> dict[str, Any]:
    """All tables of one prompt's attribution, as JSON.

    Args:
        attribution: of one prompt.
        labels: explanations of features.
        statistics: with ``density``, to list common features separately; by default none are.
        top: rows of each table.
        region: only features at image tokens that look there.
    """
    labels = labels or {}
    shares = attribution.features() if region is None else by_region(attribution, region)
    common: list[FeatureShare] = []
    if statistics:
        shares, common = split_common(shares, statistics)
    return {
        "metric": attribution.metric,
        "value": float(attribution.values[0]),
        "steps": attribution.steps,
        "features": [row(share, labels) for share in shares[:top]],
        "common": [row(share, labels) for share in common[:top]],
        "tokens": _tokens(attribution),
        "regions": regions(attribution, labels),
        "sites": [
            {
                "dictionary": site.key,
                "active": len(site),
                "features": float(site.score.sum(dtype=np.float64)),
                "error": float(site.error.sum(dtype=np.float64)),
                "bias": float(site.bias.sum(dtype=np.float64)),
                "total": float(site.total.sum(dtype=np.float64)),
                "gap": site.gap(),
                "error_share": site.error_share(),
            }
            for site in attribution.sites
        ],
    }


def row(share: FeatureShare, labels: Labels) -> dict[str, Any]:
    """Attribution of one feature, as JSON."""
    return {
        "id": f"{share.key}/{share.index}",
        "label": labels.get(share.id, ""),
        "score": share.score,
        "positive": share.positive,
        "negative": share.negative,
        "peak": share.peak,
        "tokens": share.tokens,
    }


def _tokens(attribution: Attribution) -> list[dict[str, Any]]:
    """Every position of the prompt with the sum of its features' scores."""
    token_map = attribution.maps[0]
    values = attribution.by_token()
    return [
        {
            "position": position,
            "text": "" if kind in PICTURE_KINDS else token_map.tokens[position],
            "kind": Kind(kind).name.lower(),
            "score": float(values[position]),
        }
        for position, kind in enumerate(token_map.kinds.tolist())
        if kind != Kind.PAD
    ]


def regions(attribution: Attribution, labels: Labels, across: int = 3) -> list[dict[str, Any]]:
    """Each picture in ``across`` × ``across`` parts: their sums, and their strongest features.

    A token belongs to the part that its middle lies in, so that the parts sum to the whole.
    """
    token_map = attribution.maps[0]
    if token_map.geometry != "known":
        return []
    values = attribution.by_token()[: len(token_map)]
    rows = []
    for image, (width, height) in enumerate(token_map.sizes):
        rects = token_map.rects
        seen = (token_map.image == image) & np.isfinite(rects).all(1)
        column = np.floor((rects[:, 0] + rects[:, 2]) / 2 / width * across)
        line = np.floor((rects[:, 1] + rects[:, 3]) / 2 / height * across)
        for y in range(across):
            for x in range(across):
                box = Region(
                    left=width * x / across, top=height * y / across,
                    right=width * (x + 1) / across, bottom=height * (y + 1) / across, image=image,
                )  # fmt: skip
                inside = seen & (column == x) & (line == y)
                best = attribution.features(at(inside))[:3]
                rows.append(
                    {
                        "image": image,
                        "box": [round(v, 1) for v in box.box],
                        "score": float(values[inside].sum()),
                        "features": [row(share, labels) for share in best],
                    }
                )
    return rows


def ablation_table(result: AblationResult, labels: Labels) -> dict[str, Any]:
    """Exact effects of the same features, as JSON."""
    return {
        "r": result.r,
        "features": [
            {
                "id": f"{share.key}/{share.index}",
                "label": labels.get(share.id, ""),
                "score": share.score,
                "effect": float(effect),
            }
            for share, effect in zip(result.features, result.effects, strict=True)
        ],
    }


def write(
    folder: Path,
    attribution: Attribution,
    record: Mapping[str, Any],
    pictures: Sequence[Image.Image] = (),
    labels: Labels | None = None,
) -> list[Path]:
    """``heat-N.png`` a picture, ``report.html`` and ``report.json``: their paths, in this order."""
    folder.mkdir(parents=True, exist_ok=True)
    token_map = attribution.maps[0]
    paths = []
    for number, picture in enumerate(pictures[: len(token_map.sizes)]):
        paths.append(folder / f"heat-{number}.png")
        heat = heat_on(picture, attribution, number)
        write_whole(paths[-1], partial(heat.save, format="PNG"))
    view = AttributionView(attribution, pictures, dict(labels or {}))
    page = f"<!doctype html><meta charset=utf-8><title>attribution</title>{view._repr_html_()}"
    for name, text in (("report.html", page), ("report.json", json.dumps(record, indent=2))):
        paths.append(folder / name)
        write_text(paths[-1], text + "\n")
    return paths
