"""A feature's record as chat messages: pictures with heat and crop, marked text, values, the rest.

Knows evidence and the chat format; asks nobody. Text of the corpus is set off as data, since it
may hold anything, instructions included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from semascope.evidence.types import EvidenceSample, Exemplar, FeatureEvidence
from semascope.evidence.video_frames import glimpse, told
from semascope.explain.crops import crop, data_url, firing_picture, overlay, region
from semascope.explain.llm import prompts
from semascope.explain.text.exemplar_terms import distinct, mode_of
from semascope.explain.types import CATEGORIES, Pictures
from semascope.subject.types import Kind

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "description": {"type": "string"},
        "label": {"type": "string"},
        "category": {"type": "string", "enum": list(CATEGORIES)},
        "confidence": {"type": "number"},
        "abstain": {"type": "boolean"},
    },
    "required": ["description", "label", "category", "confidence", "abstain"],
    "additionalProperties": False,
}
_AROUND = 32
"""Tokens shown on either side of the strongest."""


def question(
    record: FeatureEvidence,
    pictures: Pictures,
    prompt: prompts.Prompt,
    *,
    firing: int = 8,
    silent: int = 4,
    promoted: Sequence[str] = (),
    size: int = 336,
) -> list[dict[str, Any]]:
    """System and user message about one record; the record is to be of one split only."""
    parts: list[dict[str, Any]] = [_text("FIRING examples")]
    for number, exemplar in enumerate(distinct(record)[:firing], 1):
        parts += _firing(number, exemplar, record.stats.get("max", exemplar.peak), pictures, size)
    if record.silent:
        parts.append(_text("SILENT examples"))
    for number, shown in enumerate(record.silent[:silent], 1):
        parts += _silent(number, shown, pictures, size)
    if promoted:
        parts.append(_text(f"Tokens made likelier: {', '.join(map(repr, promoted[:10]))}"))
    return [
        {"role": "system", "content": prompt.text},
        {"role": "user", "content": parts},
    ]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _image(image: Any, size: int) -> dict[str, Any]:
    """A picture no larger than ``size``: a server bills by its pixels."""
    if max(image.size) > size:
        image = image.copy()
        image.thumbnail((size, size))
    return {"type": "image_url", "image_url": {"url": data_url(image)}}


def _firing(
    number: int, exemplar: Exemplar, largest: float, pictures: Pictures, size: int
) -> list[dict[str, Any]]:
    strength = 10 * exemplar.peak / max(largest, 1e-12)
    head = f"Firing {number}, strength {strength:.1f} of 10"
    if mode_of(exemplar) != "picture":
        return [_text(f"{head}, text:\n```\n{marked(exemplar)}\n```\n{values(exemplar)}")]
    picture = firing_picture(exemplar)
    image = pictures(exemplar.shown.media[picture])
    what = told(exemplar.shown, picture) or "picture"
    parts = [_text(f"{head}, {what}, then crop:"), _image(overlay(image, exemplar, picture), size)]
    box = region(exemplar, picture)
    if box is not None:
        parts.append(_image(crop(image, box), size))
    return parts


def _silent(
    number: int, shown: EvidenceSample, pictures: Pictures, size: int
) -> list[dict[str, Any]]:
    kind = "picture" if shown.media else "text"
    return [_text(f"Silent {number}, {kind}:"), *sample_parts(shown, pictures, size)]


def sample_parts(
    shown: EvidenceSample, pictures: Pictures, size: int = 336
) -> list[dict[str, Any]]:
    """A sample as it is: its first picture, some frames of videos, or the beginning of its text."""
    if shown.media:
        return [_image(pictures(shown.media[n]), size) for n in glimpse(shown)]
    text = "".join(t for t, k in zip(shown.tokens, shown.kinds, strict=True) if k == Kind.TEXT)
    return [_text(f"```\n{_harmless(text[:400])}\n```")]


def marked(exemplar: Exemplar, share: float = 0.3) -> str:
    """The text around the strongest token, tokens at ``share`` of the peak or more in << >>.

    Neighbouring marked tokens share one pair of marks, so that "<< french fries>>" reads whole.
    """
    shown, heat = exemplar.shown, exemplar.activations
    at = int(heat.argmax())
    lo, hi = max(0, at - _AROUND), min(len(heat), at + _AROUND + 1)
    out, inside = [], False
    for token in range(lo, hi):
        if shown.kinds[token] != Kind.TEXT and heat[token] <= 0:
            continue
        strong = bool(heat[token] >= share * exemplar.peak)
        if strong != inside:
            out.append("<<" if strong else ">>")
            inside = strong
        out.append(_harmless(shown.tokens[token]))
    return "".join(out) + (">>" if inside else "")


def values(exemplar: Exemplar, most: int = 8) -> str:
    """Strongest tokens with their strength from 0 to 10."""
    heat = exemplar.activations
    order = [int(t) for t in np.argsort(-heat, kind="stable")[:most] if heat[t] > 0]
    listed = (f"{exemplar.shown.tokens[t].strip()!r} {10 * heat[t] / exemplar.peak:.0f}"
              for t in order)  # fmt: skip
    return "Strengths: " + ", ".join(listed)


def _harmless(text: str) -> str:
    """Text that cannot close the fence or fake a mark."""
    return text.replace("```", "'''").replace("<<", "< <").replace(">>", "> >")
