"""Words and figures that came from elsewhere, and what an import did.

Knows records only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

INPUTS = "imported"
_SITES = {"res": "resid_post", "mlp": "mlp_out", "att": "attn_out", "transcoder": "mlp_out"}


@dataclass(frozen=True, slots=True)
class Imported:
    """What was brought in."""

    dictionary: str
    """``site/name``."""
    features: int
    alive: int
    explanations: int
    exemplars: int
    notes: tuple[str, ...] = ()
    """What the files did not say, and what was left out, for a person to read."""
    added: int = 0
    """Explanations that came in."""
    there: int = 0
    """Explanations that the atlas has already, word for word."""
    kept: int = 0
    """Explanations that came in beside words of a run, which stay the feature's own."""
    skipped: int = 0
    """Rows of the files that could not be read."""
    own: bool = False
    """The dictionary is a run's: its figures and exemplars were left as they are."""


@dataclass(frozen=True, slots=True)
class ImportedExplanation:
    """An explanation, as it was found."""

    feature: int
    description: str
    label: str = ""
    category: str = ""
    confidence: float = 0.0
    abstained: bool = False
    author: str = ""
    prompt_version: str = ""
    inputs: str = INPUTS
    cost: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImportedScore:
    """A score, as it was found; nothing is known of its interval."""

    feature: int
    kind: str
    value: float
    baseline: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    evidence: Mapping[str, Any] = field(default_factory=dict)
    author: str = ""


def key_of(module: str) -> str:
    """``site/name`` of a module's path (model.layers.24), or of a Neuronpedia source (6-res-jb)."""
    source = re.fullmatch(r"(\d+)-([a-z]+)(?:[_-]?(.*))?", module)
    if source:
        site = _SITES.get(source[2], source[2])
        return f"{site}.{source[1]}/{module}"
    layer = re.search(r"(?:layers|h|blocks)\.(\d+)(\.mlp|\.self_attn|\.attn)?", module)
    if layer:
        kinds = {".mlp": "mlp_out", ".self_attn": "attn_out", ".attn": "attn_out"}
        return f"{kinds.get(layer[2] or '', 'resid_post')}.{layer[1]}/imported"
    return f"unknown/{module.replace('/', '-')}"
