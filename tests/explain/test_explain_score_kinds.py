"""Names of scores: a kind without one is shown raw, without a tooltip, and lists sort past it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from planted import NAMES, World

from semascope.corpus.sample import Sample
from semascope.evidence.types import EvidenceSample
from semascope.explain.scorers.clip import ClipScorer
from semascope.explain.scorers.detection import DetectionScorer
from semascope.explain.scorers.dino_sam import GroundedScorer
from semascope.explain.scorers.fuzzing import FuzzingScorer
from semascope.explain.scorers.iou import IoUScorer
from semascope.explain.scorers.kinds import SCORE_KINDS, describe, ordered
from semascope.explain.scorers.monosemanticity import MonosemanticityScorer
from semascope.explain.scorers.regions import TruthRegions
from semascope.explain.scorers.sensitivity import SensitivityScorer
from semascope.explain.scorers.simulation import SimulationScorer, WordSimulator
from semascope.explain.scorers.specificity import SpecificityScorer
from semascope.explain.scorers.told_apart import ToldApartScorer
from semascope.explain.types import Explanation, Score, Scorer
from semascope.pipeline.scorers import _SCORERS
from semascope.pipeline.stages.score import REPORTED
from semascope.serve.explorer.to_records import score_names
from semascope.serve.testing import DrawnExplorer


def _grey(_: str) -> Image.Image:
    return Image.new("RGB", (128, 128), (90, 90, 90))


def _unit(seed: int, n: int) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(n, 4))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


class _Noise:
    """Stands in for borrowed weights: vectors and outlines without meaning."""

    name = "noise"

    def images(self, some: Sequence[Image.Image]) -> NDArray[np.float32]:
        return _unit(0, len(some))

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return _unit(1, len(texts))

    def outline(self, picture: Image.Image, words: str) -> NDArray[np.bool_]:
        return np.eye(picture.height, picture.width, dtype=np.bool_)


def _neighbours(feature: int) -> list[Explanation]:
    return [Explanation(i, f"Pictures of {n}.", n) for i, n in enumerate(NAMES[:4]) if i != feature]


def _vectors(samples: Sequence[EvidenceSample]) -> NDArray[np.float32]:
    return _unit(2, len(samples))


def _draw(label: str, n: int, seed: int) -> list[Sample]:
    return [Sample(id=f"{label}/{i}") for i in range(n)]


def _peaks(samples: Sequence[Sample], features: Sequence[int]) -> NDArray[np.float64]:
    return np.random.default_rng(3).random((len(samples), len(features)))


EVERY: dict[str, Scorer] = {
    "iou": IoUScorer(),
    "detection": DetectionScorer(),
    "fuzzing": FuzzingScorer(TruthRegions()),
    "simulation": SimulationScorer(WordSimulator(truth=True)),
    "specificity": SpecificityScorer(),
    "told_apart": ToldApartScorer(_neighbours),
    "monosemanticity": MonosemanticityScorer(_vectors),
    "sensitivity": SensitivityScorer(_draw, _peaks),
    "clip": ClipScorer(_Noise(), _grey),
    "grounded": GroundedScorer(_Noise(), _grey),
}


@pytest.fixture(scope="module")
def scores() -> list[Score]:
    """What all scorers write about four planted features."""
    world, names = World(n=120), NAMES[:4]
    records = [world.sees(i, name) for i, name in enumerate(names)]
    words = [Explanation(i, f"Pictures of {n}.", n, author="planted") for i, n in enumerate(names)]
    return [score for scorer in EVERY.values() for score in scorer.score(records, words)]


def test_every_kind_that_a_scorer_writes_has_a_name_and_a_tooltip(scores: list[Score]) -> None:
    """``interest`` is written by the index stage; all others by the scorers run here."""
    assert set(EVERY) == set(_SCORERS), "a new scorer: run it here, and name what it writes"
    written = {score.kind for score in scores} | {"interest"}
    assert written == set(SCORE_KINDS)
    names = score_names(written)
    assert all(names[kind].name and names[kind].meaning.endswith(".") for kind in written)
    assert len({one.name for one in names.values()}) == len(names)


def test_no_score_lies_over_the_end_of_its_bar(scores: list[Score]) -> None:
    """Specificity runs to 3: on a bar from 0 to 1 every feature would be perfect."""
    assert max(s.value for s in scores if s.kind == "specificity") > 1.0
    assert all(score.value <= SCORE_KINDS[score.kind].top + 1e-9 for score in scores)


def test_report_and_drawn_data_use_names_that_scorers_write(tmp_path: Path) -> None:
    """Invented names in test data hide a page that does not know the true ones."""
    drawn = DrawnExplorer(tmp_path, width=12)
    info = drawn.info()
    kinds = {
        s.kind
        for i in range(12)
        for s in drawn.feature(f"{info.dictionaries[0].id}/{i}").feature.scores
    }
    assert kinds == set(info.score_kinds) == set(info.score_names)
    assert kinds | set(REPORTED.values()) <= set(SCORE_KINDS)


def test_kinds_come_in_the_tables_order_and_foreign_ones_last() -> None:
    """An imported atlas may hold scores of other tools; they are told apart, and not dropped."""
    assert ordered(["recall_alt", "detection", "clip_shuffled", "iou"]) == [
        "iou", "detection", "clip_shuffled", "recall_alt",
    ]  # fmt: skip
    assert describe("recall_alt").name == "Recall alt"
    assert "did not measure" in describe("recall_alt").meaning
