"""What explaining will cost, before it runs: counted from real questions about a few features.

An explainer that can lay out its questions without asking them (``messages``) is counted, not
run; any other is run on the pilot records and timed. Of a cascade the cheap steps are run, and
their score says which share the dear ones would be asked about. Nothing is assumed that was not
counted, measured or given by the user. Knows explainers by protocol.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from PIL import Image

from semascope.errors import ExplainError
from semascope.evidence.types import FeatureEvidence
from semascope.explain.explainers.cascade import BestOf, Cascade
from semascope.explain.explainers.folds import FoldMaker, selection
from semascope.explain.types import Cost, Explainer, Price

WIDTHS = (131_072, 34_000_000)
"""Dictionaries that plans are told for: the reference paper's, and the largest that was read."""


@runtime_checkable
class PlannedExplainer(Protocol):
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
class CostPlan:
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

    shares: tuple[tuple[str, float], ...] = ()
    """Of all features, the share that each step of a cascade would be asked about."""

    def at(self, features: int, servers: int = 1) -> CostPlan:
        """The same run over another number of features, on so many servers."""
        total = _scaled(self.each, features)
        hours = total.seconds / 3600 / servers
        return replace(self, features=features, total=total, hours=hours)

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
) -> CostPlan:
    """Cost of explaining ``n_features`` like those of the pilot.

    Raises ExplainError where there is no pilot. Seconds are NaN where the speed of a server was
    neither given nor can be measured without asking it.
    """
    rates = rates or Rates()
    if not pilot:
        raise ExplainError("A plan needs evidence of a few features: run `semascope gather` first.")
    steps = _steps(explainer, pilot, rates)
    spent = sum((cost for _, cost, _, _ in steps), Cost())
    chain = len(steps) > 1
    each = Cost(
        spent.calls / len(pilot),  # type: ignore[arg-type]  # a mean: made whole by _scaled
        spent.prompt_tokens / len(pilot),  # type: ignore[arg-type]
        spent.completion_tokens / len(pilot),  # type: ignore[arg-type]
        spent.seconds / len(pilot),
        spent.money / len(pilot),
    )
    made = CostPlan(
        features=n_features,
        each=each,
        total=Cost(),
        hours=math.nan,
        pilot=len(pilot),
        measured=all(measured for _, _, measured, _ in steps),
        shares=tuple((name, share) for name, _, _, share in steps) if chain else (),
    )
    return made.at(n_features, rates.servers)


Step = tuple[str, Cost, bool, float]
"""Name, cost over the pilot, whether it was measured, share of the pilot that it is asked about."""


def _steps(explainer: Explainer, pilot: Sequence[FeatureEvidence], rates: Rates) -> list[Step]:
    if isinstance(explainer, BestOf):
        return [_step(e, pilot, rates, len(pilot)) for e in explainer.steps]
    if not isinstance(explainer, Cascade):
        return [_step(explainer, pilot, rates, len(pilot))]
    folder, left, found = FoldMaker(), list(pilot), []
    best: dict[int, float] = {record.index: 0.0 for record in pilot}
    for number, step in enumerate(explainer.steps):
        if number:
            asked = set(explainer.onward(number, best))
            left = [record for record in pilot if record.index in asked]
        found.append(_step(step, left, rates, len(pilot)))
        if isinstance(step, PlannedExplainer) or step is explainer.steps[-1] or not left:
            continue  # what it would answer is not known: nothing is taken for explained
        folded = [folder.fold(record) for record in left]
        made = step.explain(folded)
        values = selection(explainer.scorer, folded, made)
        for e in made:
            value = 0.0 if e.abstained else values.get(e.feature, 0.5)
            best[e.feature] = max(best[e.feature], value)
    return found


def _step(
    explainer: Explainer, records: Sequence[FeatureEvidence], rates: Rates, pilot: int
) -> Step:
    if isinstance(explainer, PlannedExplainer):
        spent = sum((_count(explainer.messages(r), rates) for r in records), Cost())
    else:
        spent = sum((e.cost for e in explainer.explain(records)), Cost()) if records else Cost()
    return explainer.name, spent, not isinstance(explainer, PlannedExplainer), len(records) / pilot


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
    return Cost(1, asked, said, _seconds(asked, said, rates), money)


def _seconds(asked: int, said: int, rates: Rates) -> float:
    """Of one answer, by what the user knows of the server; NaN where nothing is known."""
    if not rates.prompt_per_second:
        return math.nan
    reading = asked / rates.prompt_per_second
    return reading + (said / rates.completion_per_second if rates.completion_per_second else 0.0)


def _parts(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _pixels(url: str) -> int:
    with Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1]))) as image:
        return image.width * image.height
