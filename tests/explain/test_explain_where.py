"""Fuzzing, specificity, sensitivity and LMM judges with planted truth."""

import json
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image
from planted import NAMES, World, evidence, on_object

from semascope.corpus.sample import Sample
from semascope.evidence.types import Exemplar
from semascope.explain.llm.client import LMM
from semascope.explain.llm.fake_server import FakeLMM
from semascope.explain.scorers.fuzzing import FuzzingScorer
from semascope.explain.scorers.lmm_judge import LMMJudge
from semascope.explain.scorers.regions import TruthRegions, pair
from semascope.explain.scorers.sensitivity import SensitivityScorer
from semascope.explain.scorers.specificity import SpecificityScorer, grades
from semascope.explain.types import Explanation, Score


@pytest.fixture(scope="module")
def world() -> World:
    return World(n=240)


def seen(feature: int, name: str) -> Explanation:
    return Explanation(feature, f"Pictures of {name}.", name, author="planted")


def read(feature: int, word: str) -> Explanation:
    return Explanation(feature, f"Text with {word}.", word, author="planted")


def mean(scores: Sequence[Score], kind: str) -> float:
    return float(np.mean([s.value for s in scores if s.kind == kind]))


def test_fuzzing_tells_where_in_a_text(world: World) -> None:
    words = ("harbour", "garden", "letter", "captain")
    records = [world.reads(i, f" {w}") for i, w in enumerate(words)]
    right = FuzzingScorer().score(records, [read(i, w) for i, w in enumerate(words)])
    assert mean(right, "fuzzing") == pytest.approx(1.0)
    assert mean(right, "fuzzing_shuffled") == pytest.approx(0.5, abs=0.15)


def test_fuzzing_tells_where_in_a_picture(world: World) -> None:
    records = [world.sees(i, n) for i, n in enumerate(NAMES[:4])]
    scorer = FuzzingScorer(TruthRegions())
    right = scorer.score(records, [seen(i, n) for i, n in enumerate(NAMES[:4])])
    assert mean(right, "fuzzing") == pytest.approx(1.0)
    half = scorer.score(
        [world.half(i, n) for i, n in enumerate(NAMES[:4])],
        [seen(i, n) for i, n in enumerate(NAMES[:4])],
    )
    assert 0.5 < mean(half, "fuzzing") < 0.95
    assert FuzzingScorer().score(records, [seen(i, "x") for i in range(4)]) == [], (
        "words alone cannot look into a picture, and do not pretend to"
    )


def test_fuzzing_regions_differ_in_content_alone(world: World) -> None:
    """Were silent regions larger or more scattered, a judge could tell without any words."""
    rng = np.random.default_rng(0)
    for shown in world.scenes_with("cat")[:10]:
        exemplar = on_object(shown, "cat")
        firing, silent = pair(exemplar, rng)  # type: ignore[misc]
        assert len(firing.tokens) == len(silent.tokens) == 4
        assert not set(firing.tokens) & set(silent.tokens)
        spread = [np.ptp(shown.rects[r.tokens][:, :2], axis=0).max() for r in (firing, silent)]
        assert spread[1] <= 3 * spread[0]
    everywhere = Exemplar(shown, np.ones(len(shown.tokens), np.float32))
    assert pair(everywhere, rng) is None


def test_specificity_shows_a_feature_that_means_its_name_only_at_its_strongest(
    world: World,
) -> None:
    strong = [on_object(s, "mango", 10.0) for s in world.scenes_with("mango")[:16]]
    others = [s for s in world.scenes_with("cat") if "mango" not in s.truth["caption"]][:16]
    weak = [on_object(s, "cat", 1.0) for s in others]
    silent = [s for s in world.scenes_with("tent") if "mango" not in s.truth["caption"]]
    record = evidence(0, [*strong, *weak], silent[:12])
    found = {s.kind: s for s in SpecificityScorer().score([record], [seen(0, "mango")])}
    histogram = np.array(found["specificity"].evidence["histogram"])
    assert histogram[9, 3] == histogram[9].sum() > 0
    assert histogram[1, 0] == histogram[1].sum() > 0
    assert 1.0 < found["specificity"].value < 2.0
    assert 0.3 < found["consistency"].value < 0.7
    assert found["consistency"].baseline == 0.0


def test_grades_cover_the_scale() -> None:
    assert grades(np.array([0.0, 0.3, 0.9, 1.0])).tolist() == [0, 1, 2, 3]


def test_sensitivity_asks_whether_it_fires_where_the_words_say() -> None:
    """0 fires on what it is called, 1 on something else, 2 on either by luck."""

    def draw(label: str, n: int, seed: int) -> list[Sample]:
        return [Sample(id=f"{label}/{i}") for i in range(n)] if label != "idea" else []

    def peaks(samples: Sequence[Sample], features: Sequence[int]) -> np.ndarray:
        rng = np.random.default_rng(0)
        columns = {
            0: [float(s.id.startswith("mango")) for s in samples],
            1: [float(not s.id.startswith("cat")) for s in samples],
            2: list(rng.random(len(samples))),
            3: [0.0] * len(samples),
        }
        return np.array([columns[f] for f in features]).T

    said = [seen(0, "mango"), seen(1, "cat"), seen(2, "tent"), seen(3, "idea")]
    scores = SensitivityScorer(draw, peaks, each=12).score([], said)
    values = {s.feature: s.value for s in scores}
    assert set(values) == {0, 1, 2}, "what cannot be drawn is not scored"
    assert (values[0], values[1]) == (1.0, 0.0)
    assert values[2] == pytest.approx(0.5, abs=0.2)


def test_an_lmm_judge_sees_no_caption_and_no_marks(world: World) -> None:
    shown = world.scenes_with("mango")[:2]

    def answer(request: object) -> dict[str, float]:
        return {"fit": 3 if "Short name: mango" in json.dumps(request) else 0}

    with FakeLMM(answer=answer) as server:  # type: ignore[arg-type]
        judge = LMMJudge(LMM(server.base_url, "fake"), lambda _: Image.new("RGB", (64, 64)))
        fits = judge.rate([seen(0, "mango"), seen(1, "cat")], [shown, shown[:1]])
    assert [list(f) for f in fits] == [[1.0, 1.0], [0.0]]
    assert judge.cost.calls == 3
    assert "on a plain" not in json.dumps(server.requests)


def test_an_unreadable_judgement_is_missing_and_counted(world: World) -> None:
    """It was called undecided (.5), and a judge that never answered scored a chance AUROC."""
    with FakeLMM(always="injected") as server:
        judge = LMMJudge(LMM(server.base_url, "fake"), lambda _: Image.new("RGB", (64, 64)))
        assert np.isnan(judge.rate([seen(0, "mango")], [world.scenes[:1]])[0]).all()
    assert judge.asked == judge.unread.total() == 1
