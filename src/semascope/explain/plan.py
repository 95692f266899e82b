"""What explaining will cost, before it runs: counted from real questions about a few features.

An explainer that can lay out its questions without asking them (``messages``) is counted, not
run; any other is run on the pilot records and timed. Nothing is assumed that was not counted,
measured or given by the user. Knows explainers by protocol.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from PIL import Image

from semascope.errors import ExplainError
from semascope.evidence.types import FeatureEvidence
from semascope.explain.client import Price
from semascope.explain.types import Cost, Explainer


@runtime_checkable
class Lays(Protocol):
    """An explainer whose questions can be seen before they are asked."""

    def messages(self, record: FeatureEvidence) -> list[dict[str, Any]]:
        """The chat messages about a record."""
        ...


@dataclass(frozen=True, slots=True)
class Rates:
    """What the user knows about the server."""

    prompt_per_second: float = 0.0
    """Prompt tokens a second of one server; 0 where unknown."""
    completion_per_second: float = 0.0
    servers: int = 1
    price: Price = field(default_factory=Price)
    completion_tokens: int = 80
    """Of one answer; the JSON that is asked for takes about so many."""
    pixels_per_token: int = 28 * 28
    """Pixels of picture a prompt token pays for; 28² is Qwen2-VL's and its successors'."""
    characters_per_token: float = 4.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will take."""

    features: int
    each: Cost
    """Of one feature, mean over the pilot."""
    total: Cost
    hours: float
    """Of the clock, with all servers at work; NaN where no rate was given or measured."""
    pilot: int
    measured: bool
    """True where the pilot was run, False where its questions were counted."""

    def __str__(self) -> str:
        how = "measured on" if self.measured else "counted from the questions about"
        money = f", {self.total.money:,.2f} in money" if self.total.money else ""
        time = "an unknown time (give --prompt-per-second)" if math.isnan(self.hours) else (
            f"{self.hours:,.1f} hours"
        )  # fmt: skip
        return (
            f"{self.features:,} features: {self.total.calls:,} calls, "
            f"{self.total.prompt_tokens:,} prompt and {self.total.completion_tokens:,} completion "
            f"tokens, {time}{money}; {how} {self.pilot} features."
        )


def plan(
    n_features: int,
    explainer: Explainer,
    pilot: Sequence[FeatureEvidence],
    rates: Rates | None = None,
) -> Plan:
    """Cost of explaining ``n_features`` like those of the pilot."""
    rates = rates or Rates()
    if not pilot:
        raise ExplainError("A plan needs evidence of a few features: run `semascope gather` first.")
    measured = not isinstance(explainer, Lays)
    if isinstance(explainer, Lays):
        spent = sum((_count(explainer.messages(r), rates) for r in pilot), Cost())
    else:
        spent = sum((e.cost for e in explainer.explain(pilot)), Cost())
    share = n_features / len(pilot)
    total = _scaled(spent, share)
    return Plan(
        features=n_features,
        each=_scaled(spent, 1 / len(pilot)),
        total=total,
        hours=_hours(total, rates, measured),
        pilot=len(pilot),
        measured=measured,
    )


def _hours(total: Cost, rates: Rates, measured: bool) -> float:
    if measured:
        return total.seconds / 3600 / rates.servers
    if not rates.prompt_per_second:
        return math.nan
    seconds = total.prompt_tokens / rates.prompt_per_second
    if rates.completion_per_second:
        seconds += total.completion_tokens / rates.completion_per_second
    return seconds / 3600 / rates.servers


def _scaled(cost: Cost, share: float) -> Cost:
    return Cost(
        math.ceil(cost.calls * share),
        math.ceil(cost.prompt_tokens * share),
        math.ceil(cost.completion_tokens * share),
        cost.seconds * share,
        cost.money * share,
    )


def _count(messages: Sequence[dict[str, Any]], rates: Rates) -> Cost:
    """Tokens of one question by the rates' rules, and what they would be billed."""
    characters, pixels = 0, 0
    for message in messages:
        for part in _parts(message["content"]):
            if part["type"] == "text":
                characters += len(part["text"])
            else:
                pixels += _pixels(part["image_url"]["url"])
    asked = math.ceil(characters / rates.characters_per_token + pixels / rates.pixels_per_token)
    said = rates.completion_tokens
    money = (asked * rates.price.prompt + said * rates.price.completion) / 1e6
    return Cost(1, asked, said, 0.0, money)


def _parts(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _pixels(url: str) -> int:
    with Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1]))) as image:
        return image.width * image.height
