"""Records of a search: the goal, the options, each trial, the verdict and the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from semascope.causal.search.candidates import CandidateFeature
from semascope.causal.search.cases import Case
from semascope.causal.steering.interventions import Intervention, Where, dump
from semascope.causal.steering.measure import SideEffects
from semascope.corpus.sample import Sample
from semascope.statistics import Figure


@dataclass(frozen=True, slots=True)
class Goal:
    """What should change, and what should not."""

    cases: Sequence[Case]
    """Prompts, each with its wanted answer."""
    protect: Sequence[Case] = ()
    """Prompts whose answers are right and must stay right."""
    unrelated: Sequence[tuple[Sample, Sequence[int]]] = ()
    """Prompts with answers (token ids) that should not change. The first half measures the cost of
    candidate sets, the second half that of the chosen one."""
    examples: Sequence[Sample] = ()
    """Inputs that show the goal."""
    counterexamples: Sequence[Sample] = ()
    """Inputs that do not."""
    features: Sequence[tuple[str, int]] = ()
    """Results of a search by words, best first."""
    text: str = ""
    """The goal in words, for the report."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """Doses, limits and sizes of a search."""

    wheres: tuple[Where, ...] = ()
    """Tokens to try; by default all, image tokens, the question's words, the prompt's last token,
    and the answer."""
    doses: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    """For features pushed up, in units of their own maximum."""
    scales: tuple[float, ...] = (2.0, 4.0)
    """Factors for features that are amplified where they fire."""
    groups: tuple[int, ...] = (2, 4, 8, 16)
    """Sizes of sets that are pushed up together."""
    candidates: int = 24
    """How many candidates are tried by their margins."""
    shortlist: int = 6
    """How many candidates are tried by the model's answers."""
    trial_cases: int = 8
    """Cases a dose is tried on."""
    judged: int = 96
    """Most wrong, and most right, answers on which sets are tried."""
    tuned: int = 240
    """As ``judged``, where the dose of the whole set is chosen."""
    kept: int = 300
    """Most right answers of the held-out half to check under each set."""
    largest: int = 4
    """Most interventions in the set."""
    price: float = 1.0
    """Cost, in nats of margin, of one nat of KL or of a protected answer's margin."""
    min_fixed: float = 0.5
    """Least share of held-out failures to fix."""
    max_broken: float = 0.02
    """Largest share of protected answers that may break."""
    max_kl: float = 0.5
    """Largest mean KL on unrelated prompts, in nats per token."""
    controls: int = 3
    """Random sets to judge as controls."""
    tokens: int = 16
    """Length of the answers that are judged."""
    seed: int = 0
    """Random seed of the controls."""


@dataclass(frozen=True, slots=True)
class CandidateTrial:
    """One candidate at its best dose, on the search half."""

    candidate: CandidateFeature
    intervention: Intervention
    gain: float
    """Mean change of the margin up to ``trials.SAFE``, in nats per token."""
    kl: float
    """Mean KL on unrelated prompts, in nats per token."""
    harm: float
    """Mean loss of the protected answers' margins below ``trials.SAFE``, in nats per token."""
    worth: float
    """gain − price × (kl + harm), less a penalty if the KL is over the limit."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Interventions judged on held-out cases."""

    fixed: Figure
    """Share of the wrong answers that are now right."""
    broken: Figure
    """Share of the right answers that are now wrong."""
    effects: SideEffects | None

    def __repr__(self) -> str:
        kl = f", KL {self.effects.kl.value:.3g} nats/token" if self.effects else ""
        fixed, broken = self.fixed, self.broken
        return (
            f"Verdict(fixed {fixed.value:.0%} of {fixed.n}, broken {broken.value:.1%} of "
            f"{broken.n}{kl})"
        )

    def as_json(self) -> dict[str, Any]:
        """For a report."""
        return {
            "fixed": self.fixed.as_json(),
            "broken": self.broken.as_json(),
            "side_effects": self.effects.as_json() if self.effects else None,
        }


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The chosen interventions, their verdict, and those of random controls."""

    interventions: tuple[Intervention, ...]
    """Empty if no set is good enough."""
    reason: str
    """One sentence."""
    held_out: Verdict | None
    controls: tuple[Verdict, ...] = ()
    trials: tuple[CandidateTrial, ...] = field(default=())
    """Every candidate tried, best first."""
    best: tuple[Intervention, ...] = ()
    """The best set that was tried, good enough or not."""

    def __repr__(self) -> str:
        return f"SearchResult({len(self.interventions)} interventions: {self.reason})"

    def _repr_html_(self) -> str:
        from semascope import html

        verdicts = [("chosen set", self.held_out)] if self.held_out else []
        verdicts += [(f"random set {n + 1}", verdict) for n, verdict in enumerate(self.controls)]
        return html.block(
            html.line(self.reason, strong=True),
            html.table([("intervention", one.label) for one in self.best]),
            html.table([(name, repr(verdict)) for name, verdict in verdicts]),
        )

    @property
    def found(self) -> bool:
        """Whether a set is good enough."""
        return bool(self.interventions)

    def as_json(self) -> dict[str, Any]:
        """For a page or a file."""
        return {
            "found": self.found,
            "reason": self.reason,
            "interventions": dump(self.interventions),
            "best_tried": dump(self.best),
            "held_out": self.held_out.as_json() if self.held_out else None,
            "controls": [control.as_json() for control in self.controls],
            "trials": [
                {
                    "feature": list(trial.candidate.id),
                    "source": trial.candidate.source,
                    "push": trial.candidate.push,
                    "intervention": dump([trial.intervention])[0],
                    "gain": trial.gain,
                    "kl": trial.kl,
                    "harm": trial.harm,
                    "worth": trial.worth,
                }
                for trial in self.trials
            ],
        }
