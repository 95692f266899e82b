"""What every import does with an atlas: add what is not there, and leave what is.

Words of a run stay the feature's own; imported words stand beside them under their own author.
Figures and exemplars that a run measured are never touched. Knows the atlas and records.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from sqlalchemy import select

from semascope.atlas.atlas import Atlas
from semascope.atlas.database import tables as m
from semascope.atlas.database.connect import reading
from semascope.atlas.imports.words import INPUTS, ImportedExplanation, ImportedScore
from semascope.atlas.records import FeatureFigures, NewExemplar, SampleRecord
from semascope.atlas.words import RUN
from semascope.corpus.sample import SkipReport
from semascope.errors import AtlasError

IMPORTED = " (imported)"
"""After an author whom the run has too."""


class _Said(NamedTuple):
    """An explanation that the atlas has."""

    key: tuple[str, str]
    """Version of the prompt, and inputs."""
    label: str
    text: str
    origin: str


@dataclass(slots=True)
class ImportTarget:
    """The dictionary that an import goes into."""

    atlas: Atlas
    number: int
    key: str
    width: int
    own: bool
    """It is a run's: its figures and exemplars are the run's."""
    there: frozenset[int]
    """Features that the atlas has of it."""
    overwrite: bool = False
    """Imported words take the place of words that are there."""
    counts: Counter[str] = field(default_factory=Counter)
    """Of explanations: added, there (the same words are), kept (added beside words of a run)."""
    told: set[int] = field(default_factory=set)
    """Features that a run has explained, or abstained from."""

    def figures(self, figures: Iterable[FeatureFigures], said: Iterable[int]) -> None:
        """Write figures: all where the dictionary is new, else of features that the files speak
        of or that are not there; none over a run's."""
        if self.own:
            return
        spoken = frozenset(said)
        chosen = (f for f in figures if f.index in spoken or f.index not in self.there)
        self.atlas.write_features(self.number, chosen)

    def exemplars(
        self, origin: str, samples: Iterable[SampleRecord], exemplars: Sequence[NewExemplar]
    ) -> None:
        """Write samples and exemplars, replacing those of the same features; none over a run's."""
        if self.own or not exemplars:
            return
        self.atlas.write_samples(origin, samples)
        of = sorted({exemplar.feature for exemplar in exemplars})
        self.atlas.write_exemplars(self.number, origin, exemplars, of=of)

    def words(
        self,
        words: Iterable[ImportedExplanation],
        scores: Iterable[ImportedScore],
        skips: SkipReport,
    ) -> None:
        """Write words and figures about them, and count what became of each explanation."""
        there = _there(self.atlas, self.number)
        self.told = {f for (f, _), rows in there.items() if any(r.origin == RUN for r in rows)}
        new: list[ImportedExplanation] = []
        author: dict[tuple[int, str], str] = {}
        for said in words:
            if said.feature >= self.width:
                skips.add(f"feature {said.feature}", f"{self.key} has {self.width} features")
                continue
            mine = self._taken(said, there)
            if mine is not None:
                new.append(mine)
                author[said.feature, said.author] = mine.author
        self.atlas.write_explanations(self.number, new, own=self.overwrite, chosen=self.overwrite)
        self.atlas.write_scores(self.number, list(self._scores(scores, author)))

    def _taken(
        self, said: ImportedExplanation, there: dict[tuple[int, str], list[_Said]]
    ) -> ImportedExplanation | None:
        """The words as they are to be written; None where the same words are there."""
        mine = there.get((said.feature, said.author), [])
        same = [row for row in mine if (row.label, row.text) == (said.label, said.description)]
        if same and not self.overwrite:
            self.counts["there"] += 1
            return None
        if any(row.origin == RUN for row in mine):
            said = replace(said, author=said.author + IMPORTED)
        rows = there.setdefault((said.feature, said.author), [])
        text = (said.label, said.description)
        if any((row.label, row.text) == text for row in rows) and not self.overwrite:
            self.counts["there"] += 1
            return None
        taken = [row for row in rows if row.key == (said.prompt_version, said.inputs)]
        if taken and (taken[0].label, taken[0].text) != text:
            digest = hashlib.sha256("/".join(text).encode()).hexdigest()
            said = replace(said, inputs=f"{INPUTS}:{digest[:8]}")
        rows.append(_Said((said.prompt_version, said.inputs), *text, ""))
        self.counts["added"] += 1
        self.counts["kept"] += said.feature in self.told and not self.overwrite
        return said

    def _scores(
        self, scores: Iterable[ImportedScore], author: Mapping[tuple[int, str], str]
    ) -> Iterable[ImportedScore]:
        """Figures about words that were taken, and those that are about none in the files."""
        kept = _scored(self.atlas, self.number)
        for score in scores:
            name = author.get((score.feature, score.author), score.author)
            known = (score.feature, score.kind, name) in kept
            if score.feature < self.width and (self.overwrite or not known):
                yield replace(score, author=name)


def target(
    atlas: Atlas,
    key: str,
    *,
    model: str,
    said: str,
    width: int,
    about: Mapping[str, Any],
    overwrite: bool = False,
) -> ImportTarget:
    """The dictionary ``key``: the one that the atlas has, or a new one.

    Args:
        model: of which model the user says that it is; "" for nothing said.
        said: what the files say; "" for nothing.

    Raises AtlasError where the atlas has a dictionary by that name of another model.
    """
    found = [row for row in atlas.dictionaries() if row.key == key]
    asked = model or said
    if not found:
        number = atlas.add_dictionary(key, model=asked or "unknown", width=width, about=about)
        return ImportTarget(atlas, number, key, width, False, frozenset(), overwrite)
    row = found[0]
    if asked and asked not in {one.model for one in found}:
        raise AtlasError(
            f"{key} is in the atlas for {row.model}, and these files are of {asked}. Give the "
            f"import a --name of its own, or say --model {row.model} where it is the same."
        )
    row = next((one for one in found if one.model == asked), row)
    own = "imported" not in row.about
    if width > row.width and not own:
        atlas.widen(row.id, width)
    there = frozenset(index for (index,) in atlas.columns(row.id, ("index",)))
    return ImportTarget(
        atlas, row.id, key, row.width if own else max(width, row.width), own, there, overwrite
    )


def _there(atlas: Atlas, number: int) -> dict[tuple[int, str], list[_Said]]:
    """Explanations that the atlas has, by feature and author."""
    e, f = m.ExplanationTable, m.FeatureTable
    statement = select(
        f.index, e.author, e.prompt_version, e.inputs, e.label, e.description, e.origin
    ).join(f, f.id == e.feature_id)
    out: dict[tuple[int, str], list[_Said]] = {}
    with reading(atlas.engine) as connection:
        for index, author, version, inputs, *said in connection.execute(
            statement.where(f.dictionary_id == number)
        ):
            out.setdefault((index, author), []).append(_Said((version, inputs), *said))
    return out


def _scored(atlas: Atlas, number: int) -> set[tuple[int, str, str]]:
    """(feature, kind, author) of the figures that the atlas has."""
    s, f = m.ScoreTable, m.FeatureTable
    statement = select(f.index, s.kind, s.author).join(f, f.id == s.feature_id)
    with reading(atlas.engine) as connection:
        rows = connection.execute(statement.where(f.dictionary_id == number))
        return {(index, kind, author) for index, kind, author in rows}
