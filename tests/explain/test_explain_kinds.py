"""What the vocabulary namer knows of names: kinds, colours, feelings, counts, shapes of words."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from planted import World, evidence, on_tokens, picture, text

from semascope.evidence.types import EvidenceSample, Exemplar, FeatureEvidence
from semascope.explain.explainers.term_frequency import TermFrequency
from semascope.explain.explainers.vocabulary import VocabularyNamer
from semascope.explain.scorers.detection import DetectionScorer
from semascope.explain.scorers.lexical_judge import LexicalJudge
from semascope.explain.scorers.match_truth import named_things
from semascope.explain.text import hypernyms, terms
from semascope.explain.text.claims import claim
from semascope.explain.text.labellers.labellers import concept_terms, labellers
from semascope.explain.types import Explanation

THINGS = (
    "penguin", "eagle", "duck", "owl", "parrot", "banana", "lemon", "mango", "violin", "piano",
    "guitar", "tent", "castle", "hammer", "happy face", "sad face", "crying face", "angry face",
    "red circle", "blue star", "lion", "zebra", "umbrella", "pizza",
)  # fmt: skip


class Zoo:
    """Scenes of one to four of these things."""

    def __init__(self, n: int = 500, seed: int = 3) -> None:
        rng = np.random.default_rng(seed)
        self.scenes: list[EvidenceSample] = []
        for row in range(n):
            some = rng.permutation(len(THINGS))[: int(rng.integers(1, 5))]
            split = "score" if row % 2 else "explain"
            self.scenes.append(picture(row, [THINGS[i] for i in some], rng, split))
        self.background = TermFrequency(self.scenes[::3])

    def fires_on(self, wanted: Callable[[Sequence[str]], Sequence[str]]) -> FeatureEvidence:
        """A feature that fires on those things of a scene that ``wanted`` picks."""
        fired, silent = [], []
        for shown in self.scenes:
            mine = wanted([o["name"] for o in shown.truth["objects"]])
            if not mine:
                silent.append(shown)
                continue
            heat = np.zeros(len(shown.tokens), np.float32)
            for thing in shown.truth["objects"]:
                if thing["name"] in mine:
                    heat = np.maximum(heat, thing["patches"].astype(np.float32))
            fired.append(Exemplar(shown, heat))
        return evidence(0, fired[:40], silent[:40])


@pytest.fixture(scope="module")
def zoo() -> Zoo:
    return Zoo()


def among(*names: str) -> Callable[[Sequence[str]], Sequence[str]]:
    return lambda there: [n for n in there if n in names]


@pytest.mark.parametrize(
    ("names", "label", "category"),
    [
        (("penguin", "eagle", "duck", "owl", "parrot"), "bird", "object"),
        (("penguin",), "penguin", "object"),
        (("violin", "piano", "guitar"), "music", "object"),
        (("sad face", "crying face"), "sad", "emotion"),
        (("penguin", "eagle", "duck", "owl", "parrot", "lion", "zebra"), "animal", "object"),
    ],
)
def test_a_kind_is_named_where_no_single_thing_is(
    zoo: Zoo, names: tuple[str, ...], label: str, category: str
) -> None:
    """No caption says "bird"; whoever reads "penguin", "owl" and "duck" does."""
    record = zoo.fires_on(among(*names))
    named = VocabularyNamer(zoo.background).explain([record])[0]
    assert (named.label, named.category) == (label, category)
    scores = {s.kind: s.value for s in DetectionScorer().score([record], [named])}
    assert scores["detection"] > 0.97


def test_a_colour_is_named_from_things_that_have_it(zoo: Zoo) -> None:
    """Its things share nothing else that a caption could say."""
    orange = [name for name in THINGS if "orange" in hypernyms.of(hypernyms.stems_of(name))]
    assert len(orange) >= 3
    record = zoo.fires_on(among(*orange))
    named = VocabularyNamer(zoo.background).explain([record])[0]
    assert (named.label, named.category) == ("orange", "colour")


def test_a_count_is_named(zoo: Zoo) -> None:
    record = zoo.fires_on(lambda there: list(there) if len(there) == 3 else [])
    named = VocabularyNamer(zoo.background).explain([record])[0]
    assert named.label == "three things"
    found = named_things(claim(named.label, ""), record.top[0].shown)
    assert found is not None
    assert len(found.things) == 3


def test_the_table_of_kinds_is_of_names_not_of_samples() -> None:
    assert {"bird", "animal"} <= hypernyms.of("owl")
    assert "flag" in hypernyms.of("flag of bolivia")
    assert "blue" not in hypernyms.of("owl"), "the pack's one bird is blue, owls are not"
    assert hypernyms.of("no such thing") == frozenset()
    said = hypernyms.implied("the word apple and a hot dog".split())
    assert "fruit" not in said, "a written word is no fruit"
    assert "mammal" not in said, "a hot dog is no dog"
    assert "food" in said
    assert "two thing" in said
    assert hypernyms.implied("three children run through a park".split()).isdisjoint(
        f"{n} thing" for n in hypernyms.NUMBERS
    ), "a sentence is no list"


SENTENCES = (
    " Then", " he", " was", " walking", " slowly", " to", " the", " old", " harbour", ".",
    " Nobody", " came", " in", " March", " ,", " said", " the", " captain", ".",
)  # fmt: skip


@pytest.mark.parametrize(
    ("fires", "label"),
    [
        ((" walking", " running", " singing", " waiting", " looking"), "-ing forms"),
        ((" January", " March", " May", " August", " October"), "month names"),
        ((" 3:16", " 1:1", " 12:7", " 119:105", " 22:4"), "verse numbers"),
        ((" 2024-05-01", " 1999-12-31", " 2001-01-07", " 12/05/2020"), "dates"),
        ((" Monday", " Tuesday", " Friday", " Sunday"), "days of the week"),
        ((" getName", " userId", " maxLength", " isReady", " toJson"), "names in camel case"),
    ],
)
def test_forms_of_words_are_named(fires: tuple[str, ...], label: str) -> None:
    """No word repeats often enough to be the name: only what they share is."""
    rng = np.random.default_rng(0)
    filler = [" old", " house", " by", " the", " sea", " stood", " empty", " and", " cold"]
    fired, silent = [], []
    for row in range(40):
        split = "score" if row % 2 else "explain"
        tokens = [str(t) for t in rng.permutation(filler)]
        silent.append(text(500 + row, tokens, split))
        word = fires[row // 2 % len(fires)]
        tokens.insert(int(rng.integers(1, 8)), word)
        fired.append(on_tokens(text(row, tokens, split), word))
    record = evidence(0, fired, silent)
    named = VocabularyNamer().explain([record])[0]
    assert named.label == label
    assert named.category == "text"
    scores = {s.kind: s.value for s in DetectionScorer().score([record], [named])}
    assert scores["detection"] > 0.95


def test_a_place_in_a_sentence_is_a_shape() -> None:
    whole = "".join(SENTENCES).strip()
    at = whole.index("Nobody")
    assert "#first word of a sentence" in terms.shapes_at(whole, at, at + 6)
    assert "#negation" not in terms.shapes_at(whole, whole.index("old"), whole.index("old") + 3)
    end = whole.index("captain")
    assert "#last word of a sentence" in terms.shapes_at(whole, end, end + 7)
    assert "#first word of a sentence" not in terms.shapes_at(whole, 0, 4), "an excerpt may begin"
    code = "x = foo(bar)"
    assert "#code" in terms.shapes_at(code, 4, 7)


def test_every_shape_is_read_back_from_its_name() -> None:
    for name in terms.SHAPE_NAMES:
        said = claim(name, "")
        # A concept has the name of two of them: "last word of a sentence".
        assert f"#{name}" in said.shapes or said.shapes[0].startswith(terms.CONCEPT), name
        assert not said.phrases


def test_every_concept_is_read_back_from_its_name() -> None:
    """Without: a feature is called "month names" and the judge looks for the word "month"."""
    for labeller, term in zip(labellers(), concept_terms(), strict=True):
        if not term:
            continue
        said = claim(f"{labeller.phrase} or harbours", f"Text with {labeller.phrase} or harbours.")
        assert term in said.shapes, labeller.phrase
        assert ("harbour",) in said.phrases


def test_what_is_weaker_and_what_stands_near_is_read_back() -> None:
    description = (
        'Text with month names. Weaker on seasons and "May 3". Mostly near days of the week.'
    )
    said = claim("month names near days of the week", description)
    assert said.shapes == ("@months",)
    assert said.weaker is not None and said.weaker.shapes == ("@seasons",)
    assert said.weaker.literal == ("may 3",)
    assert said.near is not None and said.near.shapes == ("@weekdays",)
    assert claim("month names", description).near == said.near


def test_the_judge_grades_what_is_weaker_and_what_is_not_near() -> None:
    description = "Text with month names. Weaker on seasons. Mostly near days of the week."
    words = Explanation(0, description, "month names")
    tokens = (
        [" In", " June", " on", " Monday", "."],
        [" In", " June", "."],
        [" In", " winter", " on", " Monday", "."],
        [" In", " winter", "."],
        [" In", " vain", "."],
    )
    samples = [text(row, list(some), "score") for row, some in enumerate(tokens)]
    assert LexicalJudge().rate([words], [samples])[0].tolist() == [1.0, 0.5, 0.6, 0.3, 0.0]


def test_an_unknown_world_is_named_as_before() -> None:
    """A caption of things that no table knows gains nothing and loses nothing."""
    world = World(n=80)
    record = world.reads(0, " harbour")
    assert VocabularyNamer().explain([record])[0].label == "harbour"


def test_a_watch_is_a_clock_and_no_time() -> None:
    """A group of the pack that is a theme would pass for a name: clocks were called "time"."""
    assert "clock" in hypernyms.of("watch") and "time" not in hypernyms.of("watch")
    assert "clock" in hypernyms.of("alarm clock")
    assert "clock" not in hypernyms.of("clock")


def test_a_number_of_things_is_no_object() -> None:
    """Steering was judged by whether an empty picture shows "six things"; "nothing" came free."""
    assert all(map(hypernyms.tells_number, ("six things", "one thing", "nothing", "Nothing")))
    assert not any(map(hypernyms.tells_number, ("ring", "one ring", "things")))
