"""The subject as a namer, the choice between explainers, and what it saves."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from PIL import Image
from planted import NAMES, World, on_object

from semascope.corpus.sample import Sample
from semascope.evidence.types import Exemplar, FeatureEvidence
from semascope.explain.crops import crop, overlay, region
from semascope.explain.explainers.cascade import BestOf, Cascade
from semascope.explain.explainers.folds import FoldMaker
from semascope.explain.explainers.self_naming import SubjectNamer, pool, things
from semascope.explain.scorers.detection import DetectionScorer
from semascope.explain.types import Cost, Explanation
from semascope.subject.types import Generation, TokenChoice


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@dataclass
class Says:
    """A subject that gives its answers in turn."""

    replies: Sequence[str]
    name: str = "parrot"
    asked: list[Sample] = field(default_factory=list)

    def generate(self, sample: Sample, *, max_new_tokens: int = 64) -> Generation:
        self.asked.append(sample)
        text = self.replies[(len(self.asked) - 1) % len(self.replies)]
        return Generation(text, (TokenChoice(1, text, 0.0),), 70)


@dataclass
class Knows:
    """An explainer that says what it is told, at a cost, and nothing where it is told nothing."""

    labels: dict[int, str]
    name: str = "oracle"
    asked: int = 0

    def explain(self, records: Sequence[FeatureEvidence]) -> list[Explanation]:
        self.asked += len(records)
        return [
            Explanation(
                r.index,
                f"Pictures of {self.labels.get(r.index)}.",
                self.labels.get(r.index, ""),
                abstained=r.index not in self.labels,
                author=self.name,
                cost=Cost(calls=1),
            )
            for r in records
        ]


def grey(_: str) -> Image.Image:
    return Image.new("RGB", (128, 128), "grey")


def test_answers_are_stripped_to_what_they_name() -> None:
    assert things("This is a red mango on a plain background.") == ["red mango"]
    assert things("A cat and an umbrella, with grass") == ["cat", "umbrella"]
    assert things("The picture shows french fries.\nMore.") == ["french fries"]
    assert things("Nothing.") == []
    assert things("bo\ufffdmmmm and a cat") == ["cat"]
    assert things("\x00\x07") == []


def test_agreement_is_weighted_by_activation() -> None:
    assert pool([("a mango", 3.0), ("mangos", 2.0), ("a cat", 1.0)]) == ("mango", 5 / 6)
    assert pool([("a cat", 1.0), ("", 9.0)]) == ("cat", 0.1)
    assert pool([]) == ("", 0.0)


def test_the_subject_is_shown_crops_and_believed_where_it_agrees(world: World) -> None:
    subject = Says(["This is a mango.", "a mango", "a cat and a mango", "a tent"])
    named = SubjectNamer(subject, grey).explain([world.sees(0, "mango")])[0]
    assert named.label == "mango"
    assert 0.7 < named.confidence < 1
    assert (named.cost.calls, named.cost.prompt_tokens) == (4, 280)
    assert subject.asked[0].images[0].size == (128, 128)


def test_the_subject_that_disagrees_with_itself_abstains(world: World) -> None:
    named = SubjectNamer(Says(["a", "b", "c", "d"]), grey).explain([world.sees(0, "mango")])[0]
    assert named.abstained
    assert "disagree" in named.description


def test_the_subject_is_not_asked_about_text(world: World) -> None:
    subject = Says(["a mango"])
    named = SubjectNamer(subject, grey).explain([world.reads(0, " harbour")])[0]
    assert named.abstained
    assert not subject.asked


def test_the_region_is_the_blob_around_the_peak(world: World) -> None:
    """A spark far away must not stretch the crop over the whole picture."""
    shown = world.scenes_with("mango")[0]
    thing = next(o for o in shown.truth["objects"] if o["name"] == "mango")
    share = np.asarray(thing["patches"], np.float32)
    covered = shown.rects[share > 0]
    box = (*covered[:, :2].min(0), *covered[:, 2:].max(0))
    heat = share.copy()
    far = int(np.abs(np.where(share > 0, -1, np.arange(len(share)) - share.argmax())).argmax())
    heat[far] = 0.6
    assert region(Exemplar(shown, heat)) == pytest.approx(box)
    assert region(Exemplar(shown, np.zeros_like(heat))) is None


def test_crops_stay_inside_and_heat_keeps_its_strength(world: World) -> None:
    image = Image.new("RGB", (128, 96), "white")
    assert crop(image, (100, 70, 128, 96), 64).size == (64, 64)
    assert crop(image, (0, 0, 128, 96), 64).size == (64, 64)
    shown = world.scenes_with("mango")[0]
    heat = np.zeros(len(shown.tokens), np.float32)
    heat[2], heat[3] = 1.0, 0.5
    white = Image.new("RGB", (128, 128), "white")
    drawn = np.asarray(overlay(white, Exemplar(shown, heat)))
    full, half, none = (255 - int(drawn[8, x, 2]) for x in (8, 24, 40))
    assert none == 0
    assert 0 < half < full, "half as active, less marked"
    small = overlay(white.resize((64, 64)), Exemplar(shown, heat))
    assert small.size == (128, 128)


def test_the_cascade_asks_on_only_where_words_score_low(world: World) -> None:
    records = [world.sees(i, NAMES[i], top=60, silent=60) for i in range(10)]
    cheap = Knows({i: NAMES[i] if i < 7 else "zeppelin" for i in range(10)}, name="cheap")
    large = Knows(dict(enumerate(NAMES)), name="large")
    cascade = Cascade([cheap, large])
    named = cascade.explain(records)
    assert [e.label for e in named] == list(NAMES[:10])
    assert large.asked == 3
    assert cascade.saving.share("large") == pytest.approx(0.3)
    assert [e.author for e in named] == ["cheap"] * 7 + ["large"] * 3
    assert [e.cost.calls for e in named] == [1] * 7 + [2] * 3


def test_a_cascade_keeps_to_its_share_and_asks_about_the_worst_off(world: World) -> None:
    """Whatever the portions in which features come."""
    records = [world.sees(i, NAMES[i], top=60, silent=60) for i in range(8)]
    for portion in (8, 4, 2):
        # Of the last two in each portion one has wrong words and one has none: no words is worse.
        said = {i: NAMES[i] if i % 4 < 2 else "zeppelin" for i in range(8) if i % 4 != 3}
        large = Knows(dict(enumerate(NAMES)), name="large")
        cascade = Cascade([Knows(said, "cheap"), large], most=0.25)
        named = [
            e
            for first in range(0, 8, portion)
            for e in cascade.explain(records[first : first + portion])
        ]
        assert large.asked == 2
        assert cascade.saving.share("large") == pytest.approx(0.25)
        assert [e.label for e in named if e.author == "large"] == [NAMES[3], NAMES[7]]


def test_the_dear_words_are_not_taken_where_they_are_worse(world: World) -> None:
    records = [world.half(0, "mango")]
    cascade = Cascade([Knows({0: "mango"}, "cheap"), Knows({0: "zeppelin"}, "large")], bar=0.99)
    assert cascade.explain(records)[0].label == "mango"


def test_best_of_n_keeps_the_best_and_pays_for_all(world: World) -> None:
    records = [world.sees(i, NAMES[i]) for i in range(4)]
    candidates = [
        Knows({i: NAMES[i] if i == k else "zeppelin" for i in range(4)}, f"seed {k}")
        for k in range(4)
    ]
    named = BestOf(candidates).explain(records)
    assert [e.label for e in named] == list(NAMES[:4])
    assert all(e.cost.calls == 4 for e in named)


def test_the_choice_never_sees_the_score_split(world: World) -> None:
    """Selection on the score split would make the winner's score too good."""
    record = world.sees(0, "mango")
    folded = FoldMaker().fold(record)
    used = {e.shown.id for e in folded.top} | {s.id for s in folded.silent}
    held_out = record.split("score")
    assert not used & {e.shown.id for e in held_out.top}
    assert {e.shown.split for e in folded.top} == {"explain", "score"}
    fit = {e.shown.id for e in folded.split("explain").top}
    assert not fit & {e.shown.id for e in folded.split("score").top}


def test_a_sample_falls_on_one_side_for_every_feature(world: World) -> None:
    folder = FoldMaker()
    a, b = folder.fold(world.sees(0, "mango")), folder.fold(world.sees(1, "cat"))
    sides: dict[str, set[str]] = {}
    for record in (a, b):
        for shown in (*(e.shown for e in record.top), *record.silent):
            sides.setdefault(shown.id, set()).add(shown.split)
    assert all(len(side) == 1 for side in sides.values())


def test_detection_survives_the_choice(world: World) -> None:
    """The winner is scored on samples that neither it nor the choice saw."""
    records = [world.sees(i, NAMES[i]) for i in range(4)]
    named = Cascade([Knows(dict(enumerate(NAMES)), "cheap")]).explain(records)
    scores = DetectionScorer().score(records, named)
    values = [s.value for s in scores if s.kind == "detection"]
    assert values == pytest.approx([1.0] * 4)
    blank = [replace(r, top=(), silent=()) for r in records]
    assert Cascade([Knows(dict(enumerate(NAMES)))]).explain(blank)[0].label == "mango"


def test_on_object_fires_where_it_says(world: World) -> None:
    exemplar = on_object(world.scenes_with("cat")[0], "cat", 2.0)
    assert exemplar.peak == 2.0
