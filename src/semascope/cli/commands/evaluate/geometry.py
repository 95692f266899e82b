"""The verbs evaluate splitting, shared and alignment: how features lie to each other.

They read what was gathered; no model is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from pydantic import Field

from semascope.cli.base import InWorkspace
from semascope.cli.commands.evaluate import geometry_tables
from semascope.cli.commands.run import gathered
from semascope.errors import EvidenceError
from semascope.numbers import Count, Seed

if TYPE_CHECKING:
    from semascope.cli.opened import Opened
    from semascope.evidence import Evidence
    from semascope.evidence.analysis.lineage import ConceptFeature, Lineage


class _Told(InWorkspace):
    """What the three have in common: a record, as JSON or as a table, kept in the workspace."""

    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
    """Print JSON."""

    def _tell(self, name: str, record: dict[str, Any]) -> bool:
        """Keep the record as a file of the evaluations; print it where JSON is asked for."""
        from semascope.files import write_text

        text = json.dumps(record, indent=2, ensure_ascii=False)
        write_text(self.space.results("evaluations") / name, text + "\n")
        if self.as_json:
            print(text)
        return not self.as_json

    def _opened(self) -> Opened:
        from semascope.cli.opened import Opened

        return Opened(self.space)

    def _evidence(self, dictionary: str) -> Evidence:
        """Of the run's dictionary, or of the one named."""
        from semascope.evidence import Evidence

        record = self.space.require("gather")
        own = f"{record.site}/{record.dictionary}"
        return Evidence.open(self.space.evidence(), dictionary or own)


class EvaluateSplitting(_Told):
    """What the features of each width become in the next wider dictionary, and which are new.

    A feature of the wider dictionary is a child of the nearest feature of the narrower one where
    the cosine of their directions reaches --threshold, and new where none does (Bricken et al.
    2023); beside it, how far the two fire on the same tokens. The control shuffles the
    coordinates of the narrower directions. The tree of one concept, or of --feature, is printed
    and drawn as SVG in the workspace's evaluations; without either, of what splits most.

    It needs a family of widths: semascope train --widths 1x 4x 16x --workspace workspace/family.
    Evidence that is not gathered yet is gathered first.
    """

    concept: str = ""
    """Words: a known concept of the scenes, such as dog or red, or else a search of the words."""
    feature: str = ""
    """A feature by its number in the narrowest dictionary, or its id: resid_post.12/main-4x/7."""
    site: str = ""
    """Where several sites have dictionaries: which; none: the run's own."""
    threshold: float = Field(default=0.6, gt=0, le=1)
    """Cosine from which a feature comes from another."""
    children: Count = 6
    """Most children of a feature that are shown."""
    top: Count = 10
    """How many of the features that split most are listed."""
    seed: Seed = 0
    """Of the control."""

    def run(self) -> int:
        """Match, draw, print."""
        gathered(self.space)
        line = self._lineage()
        steps = line.steps(self.seed)
        most = line.most(self.top)
        found = self._asked(line) or self._usual(line, most)
        line.field = line.concepts.get(found.concept.lower(), "name")
        tree = line.tree(found.place, found.index, self.children)
        apart = line.apart(found, tree, self.children) if found.concept else []
        record: dict[str, Any] = {
            "site": line.members[0].key.rpartition("/")[0],
            "threshold": self.threshold,
            "dictionaries": [
                {"id": m.key, "width": m.width, "alive": len(m.alive())} for m in line.members
            ],
            "steps": steps,
            "most": [line.called(0, i) | {"leaves": became} for i, became in most],
            "asked": line.called(found.place, found.index) | {"why": found.why},
            "tree": tree,
            "apart": apart,
        }
        record["picture"] = self._drawn(record, found)
        if self._tell("splitting.json", record):
            geometry_tables.splitting(record)
        return 0

    def _lineage(self) -> Lineage:
        from semascope.pipeline.lineage import lineage

        site = self.site or self.space.record().site
        words = self._opened().labels
        return lineage(self.space, site, words=words, threshold=self.threshold)

    def _asked(self, line: Lineage) -> ConceptFeature | None:
        """The feature that the flags name."""
        from semascope.cli.opened import concept_of
        from semascope.evidence.analysis.lineage import ConceptFeature

        if self.concept and self.feature:
            raise EvidenceError("Give --concept or --feature, one at a time.")
        keys = [m.key for m in line.members]
        if self.feature:
            word = self.feature
            key, index = self._opened().feature(f"{keys[0]}/{word}" if word.isdigit() else word)
            if key not in keys:
                raise EvidenceError(f"{key} is not of this family: {', '.join(keys)}.")
            return ConceptFeature(keys.index(key), index, "", "asked for")
        if not self.concept:
            return None
        known = line.known(concept_of(self.concept))
        if known is not None:
            return known
        for key, index in self._opened().search(self.concept):
            if key in keys:
                return ConceptFeature(
                    keys.index(key), index, "", f"nearest in meaning to {self.concept!r}"
                )
        if concept_of(self.concept).lower() in line.concepts:
            raise EvidenceError(
                f"The scenes show {self.concept!r}, but no feature of this family tells it where "
                "it was not chosen: train on more --tokens, or wider."
            )
        some = ", ".join(sorted(line.concepts)[:12])
        raise EvidenceError(
            f"No feature of this family answers to {self.concept!r}. "
            + (f"Known concepts here: {some}. " if some else "")
            + f"To search by words: semascope explain --workspace {self.workspace}"
        )

    @staticmethod
    def _usual(line: Lineage, most: Sequence[tuple[int, int]]) -> ConceptFeature:
        """Of what splits most, the first that has a name a person knows."""
        from semascope.evidence.analysis.lineage import ConceptFeature

        why = "becomes most, of those that have a name"
        for index, _ in most:
            if line.called(0, index)["by"] not in ("", "strongest token"):
                return ConceptFeature(0, index, "", why)
        return ConceptFeature(0, most[0][0], "", "becomes most")

    def _drawn(self, record: dict[str, Any], found: ConceptFeature) -> str:
        """The picture's path."""
        from semascope.cli.opened import slug
        from semascope.evidence.analysis import plots
        from semascope.files import write_text

        asked = record["asked"]
        named = asked["by"] not in ("", "strongest token")
        words = found.concept or (asked["name"] if named else asked["feature"])
        path = self.space.results("evaluations") / f"splitting-{slug(words)}.svg"
        title = f"{words}: what {asked['feature']} comes from and becomes"
        svg = plots.tree(record["tree"], record["dictionaries"], title=title, apart=record["apart"])
        write_text(path, svg)
        return str(path)


class EvaluateShared(_Told):
    """Features that fire on the word and on the picture of the same thing.

    On scenes, where the truth is known. A feature's score is the smaller of two shares: of its
    activation on text, what falls on the thing's name; of its activation on pictures, what falls
    on the thing. Controls: the word of its name with the picture of another thing, and both with
    a name that belongs to another feature (shuffled).
    """

    dictionary: str = ""
    """Which, as site/name; none: the run's own."""
    top: Count = 20
    """How many are printed."""
    bar: float = Field(default=0.5, gt=0, le=1)
    """Score from which a feature counts as shared."""

    def run(self) -> int:
        """Measure and print."""
        from dataclasses import asdict

        from semascope.evidence.analysis.cross_modal import candidates, shared

        evidence = self._evidence(self.dictionary)
        known = any(evidence.shown.get(n).truth for n in range(len(evidence.shown)))
        if not known:
            raise EvidenceError(
                "Which features are shared is measured on samples whose truth is known: gather on "
                "a corpus of scenes, such as --corpus scenes."
            )
        found = shared(evidence, k=None)
        labels = self._opened().labels
        record = {
            "dictionary": evidence.key,
            "alive": len(evidence.alive()),
            "both": len(candidates(evidence)),
            "measured": len(found),
            "bar": self.bar,
            "shared": sum(one.score >= self.bar for one in found),
            "control": sum(one.control >= self.bar for one in found),
            "shuffled": sum(one.shuffled >= self.bar for one in found),
            "mean": {
                name: sum(getattr(one, name) for one in found) / len(found) if found else None
                for name in ("score", "control", "shuffled")
            },
            "features": [
                {"feature": f"{evidence.key}/{one.index}"}
                | {n: round(v, 4) if isinstance(v, float) else v for n, v in asdict(one).items()}
                | {"label": labels.get((evidence.key, one.index), "")}
                for one in found[: self.top]
            ],
        }
        if self._tell("shared.json", record):
            geometry_tables.shared(record)
        return 0


class EvaluateAlignment(_Told):
    """How far single MLP neurons carry the features: the best neuron's correlation of each.

    Pearson correlation over tokens with every MLP neuron of the layer, as found when evidence was
    gathered. A feature that one neuron follows is no news; a feature that none follows is what a
    dictionary is for (Bricken et al. 2023).
    """

    dictionary: str = ""
    """Which, as site/name; none: the run's own."""
    top: Count = 20
    """How many are printed, the best followed first."""

    def run(self) -> int:
        """Count and print."""
        from semascope.evidence.store.logit_lens_store import aligned, read

        evidence = self._evidence(self.dictionary)
        readout = read(evidence)
        if readout is None:
            raise EvidenceError(
                f"No neurons were compared with {evidence.key} yet. Do it with: semascope gather "
                f"--dictionary {evidence.key} --workspace {self.workspace}"
            )
        record = {"dictionary": evidence.key} | aligned(readout, self.top)
        labels = self._opened().labels
        for one in record["features"]:
            one["label"] = labels.get((evidence.key, one["index"]), "")
        if self._tell("alignment.json", record):
            geometry_tables.alignment(record)
        return 0
