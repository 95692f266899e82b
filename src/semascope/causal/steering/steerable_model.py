"""A model with its dictionaries and their statistics: attribution and steering in one object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from semascope.causal.attribution.ablation import AblationResult, ablate_exactly
from semascope.causal.attribution.active_features import ActiveFeature, active_features
from semascope.causal.attribution.attribute import attribute
from semascope.causal.attribution.feature_share import FeatureShare
from semascope.causal.attribution.metrics import Metric
from semascope.causal.attribution.patching import attribute_patch
from semascope.causal.attribution.result import Attribution
from semascope.causal.attribution.watched_run import WatchedRun
from semascope.causal.steering.borrowed_directions import lookup
from semascope.causal.steering.compare import Comparison, compare
from semascope.causal.steering.edits import edits_for
from semascope.causal.steering.interventions import Intervention
from semascope.causal.steering.units import Statistics, by_id
from semascope.corpus.sample import Sample
from semascope.dictionary.types import Dictionary
from semascope.errors import CausalError
from semascope.subject.types import Batch, Edits, TokenSink

if TYPE_CHECKING:
    from semascope.subject.model import Subject


@dataclass(frozen=True, slots=True)
class SteerableModel:
    """A subject, its dictionaries by id, and their statistics."""

    subject: Subject
    dictionaries: Mapping[str, Dictionary]
    statistics: Statistics | None = None

    @classmethod
    def of(
        cls,
        subject: Subject,
        dictionaries: Iterable[Dictionary] | Mapping[str, Dictionary],
        statistics: Statistics | None = None,
    ) -> SteerableModel:
        """Dictionaries may come in any collection."""
        return cls(subject, by_id(dictionaries), statistics)

    @property
    def sites(self) -> list[str]:
        """The sites that the dictionaries read, sorted."""
        return sorted({dictionary.site for dictionary in self.dictionaries.values()})

    def dictionary(self, key: str) -> Dictionary:
        """The dictionary of that id, or the directions that one lends to another site.

        Raises:
            CausalError: there is none.
        """
        dictionary = lookup(key, self.dictionaries)
        if dictionary is None:
            names = ", ".join(sorted(self.dictionaries)) or "none"
            raise CausalError(f"There is no dictionary {key!r}. Dictionaries: {names}.")
        return dictionary

    def edits(self, interventions: Iterable[Intervention]) -> Edits:
        """The edits of the subject's activations that do the interventions, by site.

        Raises:
            CausalError: they cannot be done; see ``edits_for``.
        """
        return edits_for(interventions, self.dictionaries, self.statistics)

    def prompt(self, sample: Sample) -> Batch:
        """One prompt, whole, up to where the answer begins."""
        return self.subject.encode([sample], answer="", max_tokens=None)

    def attribute(
        self,
        batch: Batch,
        metric: Metric,
        *,
        integrated: int = 1,
        edits: Edits | None = None,
        run: WatchedRun | None = None,
    ) -> Attribution:
        """Attribute a metric to the features of all dictionaries; see ``attribute``."""
        return attribute(
            self.subject, batch, self.dictionaries, metric,
            integrated=integrated, edits=edits, run=run,
        )  # fmt: skip

    def attribute_patch(
        self, clean: Batch, corrupted: Batch, metric: Metric
    ) -> tuple[Attribution, float]:
        """Attribute the difference of two prompts to features; see ``attribute_patch``."""
        return attribute_patch(self.subject, clean, corrupted, self.dictionaries, metric)

    def ablate_exactly(
        self,
        batch: Batch,
        metric: Metric,
        attribution: Attribution,
        *,
        top: int = 50,
        features: Sequence[FeatureShare] | None = None,
        edits: Edits | None = None,
    ) -> AblationResult:
        """Ablate features of an attribution one at a time; see ``ablate_exactly``."""
        return ablate_exactly(
            self.subject, batch, self.dictionaries, metric, attribution,
            top=top, features=features, edits=edits,
        )  # fmt: skip

    def active_features(
        self,
        batch: Batch,
        *,
        at: NDArray[np.bool_] | None = None,
        edits: Edits | None = None,
        seen: Mapping[str, Tensor] | None = None,
    ) -> list[ActiveFeature]:
        """Features that fire, by their own measure; see ``active_features``."""
        return active_features(
            self.subject, batch, self.dictionaries, self.statistics or {},
            at=at, edits=edits, seen=seen,
        )  # fmt: skip

    def compare(
        self,
        sample: Sample,
        interventions: Sequence[Intervention],
        *,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        seed: int = 0,
        sinks: tuple[TokenSink | None, TokenSink | None] = (None, None),
    ) -> Comparison:
        """Answer with and without the interventions; see ``compare``."""
        return compare(
            self.subject, sample, interventions, self.dictionaries, self.statistics,
            max_new_tokens=max_new_tokens, temperature=temperature, seed=seed, sinks=sinks,
        )  # fmt: skip

    def __repr__(self) -> str:
        known = ", ".join(self.dictionaries) or "no dictionary"
        return f"SteerableModel({self.subject.name}; {known})"
