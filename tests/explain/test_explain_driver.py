"""The driver: nothing twice, nothing lost, the same numbers after a crash."""

import pytest
from planted import NAMES, World

from semascope.explain.driver import explain_all, pending, score_all
from semascope.explain.explainers.vocabulary import VocabularyNamer
from semascope.explain.scorers.detection import DetectionScorer
from semascope.explain.scorers.iou import IoUScorer
from semascope.explain.types import Explanation, Score


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_a_run_that_was_killed_ends_with_the_same_numbers(world: World) -> None:
    records = {i: world.sees(i, NAMES[i % len(NAMES)]) for i in range(20)}
    indices = list(records)

    def run(done: set[int], sink: object) -> None:
        blocks = pending(indices, done, 4)
        explain_all(
            (records[i] for block in blocks for i in block), [VocabularyNamer()], sink, batch=4
        )  # type: ignore[arg-type]

    whole: list[Explanation] = []
    run(set(), whole.extend)

    kept: list[Explanation] = []

    def dies(made: list[Explanation]) -> None:
        if len(kept) >= 8:
            raise KilledError
        kept.extend(made)

    with pytest.raises(KilledError):
        run(set(), dies)
    run({e.feature for e in kept}, kept.extend)
    words = [(e.feature, e.label, e.confidence, e.inputs) for e in whole]
    assert [(e.feature, e.label, e.confidence, e.inputs) for e in kept] == words


def test_progress_and_totals(world: World) -> None:
    records = [world.sees(i, NAMES[i]) for i in range(6)] + [world.noise(6)]
    seen: list[tuple[int, int]] = []
    out: list[Explanation] = []
    summary = explain_all(
        records,
        [VocabularyNamer()],
        out.extend,
        lambda d, t, _: seen.append((d, t)),
        total=7,
        batch=3,
    )
    assert seen == [(3, 7), (6, 7), (7, 7)]
    assert (summary.features, summary.explained) == (7, 6)
    scores: list[Score] = []
    scored = score_all(
        records, {e.feature: e for e in out}, [DetectionScorer(), IoUScorer()], scores.extend
    )
    value, low, high = scored.means()["detection"]
    assert low <= value <= high
    assert value == pytest.approx(1.0)
    assert {s.feature for s in scores} == set(range(6))
