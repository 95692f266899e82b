"""What is wished of a model, how hard to look for it, and what was found: records alone.

``find`` fills them in; nothing here runs a model.
"""

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
    """Prompts with the answer wanted of each."""
    protect: Sequence[Case] = ()
    """Prompts whose answers are right and must stay right."""
    unrelated: Sequence[tuple[Sample, Sequence[int]]] = ()
    """Prompts with answers (token ids) on which nothing should move: the first half prices sets,
    the second judges them."""
    examples: Sequence[Sample] = ()
    """Inputs that show what is wished."""
    counterexamples: Sequence[Sample] = ()
    """Inputs that do not."""
    features: Sequence[tuple[str, int]] = ()
    """What a search for the wish's words found, best first."""
    text: str = ""
    """The wish in words, for the report."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How hard to look."""

    wheres: tuple[Where, ...] = ()
    """Which tokens to try; the usual ones if left out: all, those of pictures, the words of the
    question, the prompt's last, and what the model writes."""
    doses: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    """For features pushed up, in units of their own maximum."""
    scales: tuple[float, ...] = (2.0, 4.0)
    """For features that are amplified where they fire, times."""
    groups: tuple[int, ...] = (2, 4, 8, 16)
    """Sizes of sets that are pushed up together."""
    candidates: int = 24
    shortlist: int = 6
    """How many are tried by what the model writes."""
    trial_cases: int = 8
    """Cases a dose is tried on."""
    judged: int = 96
    """Most wrong answers, and most right ones, on which sets are tried by what the model writes."""
    tuned: int = 240
    """As ``judged``, where the dose of the whole set is chosen."""
    kept: int = 300
    """Most right answers of the held-out half that are asked again under each set."""
    largest: int = 4
    """Most interventions in the set."""
    price: float = 1.0
    """Nats of margin that one nat of KL, or of a protected answer's margin, must buy."""
    min_fixed: float = 0.5
    """Least share of held-out failures that must be mended."""
    max_broken: float = 0.02
    """Largest share of protected answers that may break."""
    max_kl: float = 0.5
    """Largest mean KL on unrelated prompts, nats a token."""
    controls: int = 3
    """Random sets to judge beside it."""
    tokens: int = 16
    """Length of the answers that are judged."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class CandidateTrial:
    """One candidate at its best dose, on the search half."""

    candidate: CandidateFeature
    intervention: Intervention
    gain: float
    """Mean change of the margin up to ``trials.SAFE``, nats a token."""
    kl: float
    """On unrelated prompts, nats a token."""
    harm: float
    """Mean loss of the protected answers' margins where they come into doubt, nats a token."""
    worth: float
    """gain − price × (kl + harm), and less where the KL is over the limit."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Interventions judged on cases that did not choose them."""

    fixed: Figure
    """Share of the answers that were wrong that are now right."""
    broken: Figure
    """Share of the protected (and of the already right) answers that are now wrong."""
    effects: SideEffects | None

    def as_json(self) -> dict[str, Any]:
        """For a report."""
        return {
            "fixed": self.fixed.as_json(),
            "broken": self.broken.as_json(),
            "side_effects": self.effects.as_json() if self.effects else None,
        }


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What was found, and how it was judged."""

    interventions: tuple[Intervention, ...]
    """Empty where nothing does it."""
    reason: str
    """One sentence."""
    held_out: Verdict | None
    controls: tuple[Verdict, ...] = ()
    trials: tuple[CandidateTrial, ...] = field(default=())
    """Every candidate tried, best first."""
    best: tuple[Intervention, ...] = ()
    """The best set that was tried, also where it is not good enough."""

    @property
    def found(self) -> bool:
        """Whether anything does what was wished."""
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
