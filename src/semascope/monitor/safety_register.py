"""The register of safety-relevant concepts: how to search for their features and test them.

Concepts are data (``register.toml``): words to search by, and probes, questions with an answer that
shows the concept (telling) and one that does not (plain). The effect of a feature clamped at some
strength is the mean change of log p(telling) − log p(plain) over the probes, in nats per token,
with an interval; the control is a random feature matched in density and norm.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, Field

from semascope.causal.search.cases import Case, margins
from semascope.causal.steering.controls import controls
from semascope.causal.steering.interventions import FeatureId, Intervention
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.corpus.sample import Sample, Turn
from semascope.errors import NotThere
from semascope.statistics import Figure, mean


class RegisterProbe(BaseModel):
    """A question with an answer that shows the concept and one that does not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(min_length=1)
    telling: str = Field(min_length=1)
    plain: str = Field(min_length=1)


class RegisterConcept(BaseModel):
    """One entry of the register."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z-]*$")
    title: str
    about: str
    caution: str
    seeds: tuple[str, ...] = Field(min_length=1)
    """Sentences to search features by."""
    probes: tuple[RegisterProbe, ...] = Field(min_length=3)


class SafetyRegister(BaseModel):
    """The whole register."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    caution: str
    concepts: tuple[RegisterConcept, ...]

    def concept(self, name: str) -> RegisterConcept:
        """One concept by name. NotThere if there is none."""
        for one in self.concepts:
            if one.name == name:
                return one
        names = ", ".join(one.name for one in self.concepts)
        raise NotThere(f"There is no concept {name!r} in the register; there are {names}.")


@lru_cache(maxsize=1)
def register() -> SafetyRegister:
    """The built-in register."""
    text = (files("semascope.monitor") / "register.toml").read_text("utf-8")
    return SafetyRegister.model_validate(tomllib.loads(text))


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Effect of one feature on the probes of one concept."""

    effect: Figure
    """Change of log p(telling) − log p(plain), in nats per token."""
    control: float | None
    """Mean change by a matched random feature; None if nothing matches."""
    strength: float
    """In multiples of the feature's own maximum."""


def measure_on_probes(
    steerable: SteerableModel,
    feature: FeatureId,
    concept: RegisterConcept,
    *,
    strength: float = 4.0,
    seed: int = 0,
    progress: Callable[[int, int], bool] | None = None,
) -> ProbeResult | None:
    """Effect of clamping the feature at ``strength`` × its maximum; None if stopped."""
    clamp = Intervention(features=(feature,), how="clamp", strength=strength)
    others, _ = controls(steerable, [clamp], seed)
    cases = [_case(concept, n, probe) for n, probe in enumerate(concept.probes)]
    rows: list[list[float]] = []
    for number, case in enumerate(cases):
        if progress is not None and progress(number, len(cases)):
            return None
        rows.append(_margins(steerable, case, [[], [clamp], others]))
    effect = mean([row[1] - row[0] for row in rows])
    control = sum(row[2] - row[0] for row in rows) / len(rows) if others else None
    return ProbeResult(effect, control, strength)


def _case(concept: RegisterConcept, number: int, probe: RegisterProbe) -> Case:
    sample = Sample(id=f"{concept.name}/{number}", turns=(Turn("user", probe.prompt),))
    return Case(sample, wanted=probe.telling, unwanted=probe.plain)


def _margins(
    steerable: SteerableModel, case: Case, runs: Sequence[Sequence[Intervention]]
) -> list[float]:
    """The margin of one case under each set of interventions."""
    return [margins(steerable.subject, [case], steerable.edits(run))[0] for run in runs]
