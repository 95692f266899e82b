"""A model with its dictionaries and their statistics: what turns interventions into edits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from semascope.causal.steering.borrowed_directions import lookup
from semascope.causal.steering.edits import edits_for
from semascope.causal.steering.interventions import Intervention
from semascope.causal.steering.units import Statistics, by_id
from semascope.dictionary.types import Dictionary
from semascope.errors import CausalError
from semascope.subject.types import Edits


@dataclass(frozen=True, slots=True)
class SteerableModel:
    """Everything that turns interventions into edits."""

    subject: Any
    dictionaries: Mapping[str, Dictionary]
    statistics: Statistics | None = None

    @classmethod
    def of(
        cls,
        subject: Any,
        dictionaries: Iterable[Dictionary] | Mapping[str, Dictionary],
        statistics: Statistics | None = None,
    ) -> SteerableModel:
        """With dictionaries in any form."""
        return cls(subject, by_id(dictionaries), statistics)

    def dictionary(self, key: str) -> Dictionary:
        """The dictionary of that name, or the directions that one lends to another site."""
        found = lookup(key, self.dictionaries)
        if found is None:
            raise CausalError(
                f"There is no dictionary {key!r}; there are {', '.join(sorted(self.dictionaries))}."
            )
        return found

    def edits(self, interventions: Iterable[Intervention]) -> Edits:
        """Edits for the subject."""
        return edits_for(interventions, self.dictionaries, self.statistics)
