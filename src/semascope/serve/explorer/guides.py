"""The safety register and the tours, with the features and pictures of a workspace.

No model is loaded.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from semascope.errors import AtlasError, ServeError, WorkspaceError
from semascope.files import write_json
from semascope.monitor import safety_register as registers
from semascope.monitor import tours as guided
from semascope.serve.explorer.feature_index import FeatureIndex
from semascope.serve.explorer.to_records import feature
from semascope.serve.schema.register import ConceptFound, RegisterRecord, RegisterRow, TestedRecord
from semascope.serve.schema.responses import ExemplarRecord
from semascope.serve.schema.tours import NearRecord, TourLine, TourRecord

Shown = Callable[[str, int], list[ExemplarRecord]]
"""(dictionary, index) to its strongest exemplars."""
EACH = 8
"""Most features listed for a concept."""
LEAST = 0.25
"""Least cosine of a feature listed for a concept."""
SAME = 0.5
"""Least cosine of a feature that means what a tour is about."""
NEAR = 0.5
"""Least cosine of a concept that means the words of a tour."""
LOOKED = 20
"""Features among whose exemplars a tour's picture is searched."""


class Guides:
    """The register and the tours of one workspace."""

    def __init__(self, feature_index: FeatureIndex, file: Path, shown: Shown) -> None:
        self.feature_index = feature_index
        self.file = file
        self.shown = shown
        self._lock = threading.Lock()

    # -- register --------------------------------------------------------------------------

    def register(self) -> RegisterRecord:
        """Every concept with the features nearest to its seeds."""
        register, effects = registers.register(), self._kept()
        concepts = [self._concept(one, effects) for one in register.concepts]
        return RegisterRecord(caution=register.caution, concepts=concepts)

    def _concept(
        self, one: registers.RegisterConcept, effects: dict[str, TestedRecord]
    ) -> ConceptFound:
        best: dict[str, tuple[float, str, Any]] = {}
        note = ""
        try:
            for seed in one.seeds:
                for match in self.feature_index.nearest(seed, EACH):
                    near = float(match.similarity)
                    if near >= max(LEAST, best.get(match.feature.id, (0.0,))[0]):
                        best[match.feature.id] = (near, seed, match.feature)
        except AtlasError as error:
            note = str(error)
        rows = sorted(best.values(), key=lambda row: -row[0])[:EACH]
        if not rows and not note:
            note = "No feature is near this concept: every explanation is far from every seed."
        return ConceptFound.of(
            one,
            seeds=list(one.seeds),
            features=[
                RegisterRow(
                    row=feature(row, self.shown(row.dictionary, row.index), near),
                    seed=seed,
                    tested=effects.get(f"{one.name} {row.id}"),
                )
                for near, seed, row in rows
            ],
            note=note,
        )

    def keep(self, concept: str, feature_id: str, effect: TestedRecord) -> None:
        """Keep a measured effect. ServeError where the file cannot be written."""
        with self._lock:
            effects = {name: value.model_dump() for name, value in self._kept().items()}
            effects[f"{concept} {feature_id}"] = effect.model_dump()
            try:
                write_json(self.file, effects)
            except WorkspaceError as error:
                raise ServeError(f"The effect was measured but not kept. {error}") from error

    def _kept(self) -> dict[str, TestedRecord]:
        if not self.file.is_file():
            return {}
        try:
            read = json.loads(self.file.read_text("utf-8"))
            return {name: TestedRecord(**value) for name, value in read.items()}
        except (ValueError, TypeError, AttributeError, ValidationError):
            return {}  # another version's file: effects are measured anew

    # -- tours -----------------------------------------------------------------------------

    def tours(self) -> list[TourLine]:
        """The tours, without their steps."""
        return [TourLine.of(one, steps=len(one.steps)) for one in guided.tours()]

    def tour(self, name: str) -> TourRecord:
        """One tour, with pictures for its questions. Raises NotThere."""
        one = guided.tour(name)
        thing, note = self._thing(one.thing)
        steps = [self._step(step, thing) for step in one.steps]
        steps = [{"do": "say", "text": note}, *steps] if note else steps
        return TourRecord.of(one, steps=steps)

    def _thing(self, wanted: str) -> tuple[str, str]:
        """What a tour is about in this run, and a note if that is not what it was written for."""
        if not wanted:
            return "", ""
        try:
            near = self.feature_index.nearest(wanted, 1)
            if near and near[0].similarity >= SAME:
                return wanted, ""
            best = self.feature_index.best_explained()
        except AtlasError:
            return wanted, ""  # nothing is explained; every step will say so
        if best is None:
            return wanted, ""
        nearest = f"the nearest is '{near[0].feature.label}'" if near else "none has an explanation"
        return best.label, (
            f"No feature of this run means {wanted}: {nearest}. The tour uses '{best.label}' "
            "instead, the object that this run's features explain best."
        )

    def near(self, text: str, others: Sequence[str]) -> NearRecord:
        """Cosines of ``text`` with other texts, and the cosine from which a tour says yes."""
        rows = self.feature_index.embedder()([text, *others])  # (1 + n, dim) unit rows
        return NearRecord(cosines=[float(row @ rows[0]) for row in rows[1:]], near=NEAR)

    def _step(self, step: Any, thing: str) -> dict[str, Any]:
        record: dict[str, Any] = {
            key: value.replace("{thing}", thing) if isinstance(value, str) else value
            for key, value in step.model_dump(mode="json").items()
        }
        if record["do"] == "ask":
            picture, note = self._picture(record["shows"])
            record |= {"picture": picture, "note": note}
        return record

    def _picture(self, shows: str) -> tuple[str | None, str]:
        """A picture on which the feature nearest in meaning to ``shows`` fires, and a note."""
        if not shows:
            return None, ""
        try:
            matches = self.feature_index.nearest(shows, LOOKED)
        except AtlasError as error:
            return None, str(error)
        for match in matches:
            for exemplar in self.shown(match.feature.dictionary, match.feature.index):
                if exemplar.pictures:
                    label = match.feature.label or match.feature.description
                    note = f"Searched for {shows}; the nearest feature with a picture is '{label}'."
                    return exemplar.pictures[0].media, note
        return None, f"This run has no picture of {shows}: the question is asked without one."
