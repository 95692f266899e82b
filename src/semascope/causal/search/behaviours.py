"""Ready goals: name an object unprompted, read the word, speak with feeling.

Each has cases with wanted answers, examples and counter-examples, and answers that must not
change. ``variants`` makes the cases to fix one wrong answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from PIL import Image, ImageEnhance, ImageOps

from semascope.causal.search.cases import Case, answers, meets, split
from semascope.causal.search.goal import Goal
from semascope.causal.search.prompts import ASKS, FEELINGS, GROUNDS, MOVED, TALK, UNMOVED
from semascope.causal.steering.interventions import FeatureId
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.corpus.sample import Sample, Turn
from semascope.corpus.scenes import SceneCorpus
from semascope.errors import CausalError

Search = Callable[[str], Sequence[FeatureId]]
"""Words to features, nearest first."""
BEHAVIOURS = ("object", "word", "feeling")
QUIET_PROMPTS = 32
"""Number of prompts that should not change: half for the search, half for the verdict."""
_FEWEST = 8
"""Least number of words that the model reads for the goal to be about those only."""
_CONTRAST = 8
"""Number of pictures on which the two questions are contrasted."""


@dataclass(frozen=True, slots=True)
class NamedObject:
    """An object to be named unprompted."""

    name: str = "dog"
    features: tuple[FeatureId, ...] = ()
    """Its features, best first; by default, those that a search for its name finds."""
    kinds: tuple[str, ...] = ()
    """Names of things of its kind, which count too."""


def goal_for(
    steerable: SteerableModel,
    name: str,
    search: Search,
    *,
    thing: NamedObject | None = None,
    seed: int = 0,
) -> Goal:
    """One of ``BEHAVIOURS`` as a goal, with the features that a search for its words finds.

    Raises CausalError for another name, or for pictures that the subject cannot read.
    """
    if name not in BEHAVIOURS:
        raise CausalError(f"There is no behaviour {name!r}: {', '.join(BEHAVIOURS)}.")
    if name == "word" and not steerable.subject.has_vision:
        raise CausalError(
            f"{steerable.subject.name} reads no pictures, so it has no words to read."
        )
    if name == "object":
        thing = thing or NamedObject()
        features = thing.features or tuple(search(thing.name))
        return name_object(steerable, replace(thing, features=features))
    if name == "word":
        return read_word(
            steerable, search("a written word, letters, text in the picture"), seed=seed
        )
    return with_feeling(steerable, search("emotion, a feeling, a smiling or crying face"))


def name_object(steerable: SteerableModel, thing: NamedObject) -> Goal:
    """Name a thing unprompted: on empty pictures, or in small talk without pictures."""
    wanted = f"{'an' if thing.name[:1].lower() in 'aeiou' else 'a'} {thing.name}"
    prompts = [(words_alone(text), "talk") for text in TALK]
    quiet = [words_alone(f"What is this: {text}") for text in UNMOVED]
    if steerable.subject.has_vision:
        prompts = [(_empty(ground, ask), "empty") for ground in GROUNDS for ask in ASKS]
        quiet = [words_alone(text) for text in TALK[:QUIET_PROMPTS]]
    accepted = (thing.name, *thing.kinds)
    return Goal(
        cases=[Case(sample, wanted, kind=kind, accepted=accepted) for sample, kind in prompts],
        unrelated=own_answers(steerable, quiet),
        features=thing.features,
        text=f"name {wanted} unprompted",
    )


def read_word(
    steerable: SteerableModel,
    features: Sequence[FeatureId] = (),
    *,
    seed: int = 0,
    samples: int = 104,
) -> Goal:
    """Asked what is in a picture of things and a word, say the word and none of the things.

    The wanted answer is the model's own when asked for the word. Only pictures whose word it reads
    are used, since the goal is a behaviour and not an ability; all pictures if it reads fewer than
    eight. The contrast is between the two questions, on pictures of the search half.
    """
    pictures = list(_written(seed, 3 * samples))
    texts = answers(steerable.subject, [word_case for _, word_case in pictures])
    read = [meets(text, word_case) for text, (_, word_case) in zip(texts, pictures, strict=True)]
    use_all = sum(read) < _FEWEST
    cases: list[Case] = []
    protect: list[Case] = []
    for text, correct, (case, word_case) in zip(texts, read, pictures, strict=True):
        if (correct or use_all) and len(cases) < samples:
            cases.append(replace(case, wanted=text.strip()) if correct else case)
            protect.append(word_case)
    search = {case.sample.id for case in split(cases)[0]}
    pairs = [pair for pair in zip(cases, protect, strict=True) if pair[0].sample.id in search]
    return Goal(
        cases=cases,
        protect=protect,
        examples=[word_case.sample for _, word_case in pairs[:_CONTRAST]],
        counterexamples=[case.sample for case, _ in pairs[:_CONTRAST]],
        features=features,
        text="read the word and ignore the picture",
    )


def _written(seed: int, samples: int) -> Iterator[tuple[Case, Case]]:
    """Pictures of things and one word: asked what is there, and asked for the word."""
    corpus = SceneCorpus(2**30, seed=seed + 11_000_027, split="heldout")
    number = 0
    for _, sample in corpus.read(0, 60 * samples):
        things = sample.truth.objects if sample.truth else ()
        words = [str(thing.word) for thing in things if thing.word]
        others = tuple(dict.fromkeys(thing.name for thing in things if not thing.word))
        if len(words) != 1 or not others:
            continue
        word, ask = words[0], ASKS[number % len(ASKS)]
        whole = Case(
            _with_question(sample, ask),
            f"the word {word}",
            others[0],
            "word",
            (word,),
            refused=others[1:],
        )
        yield whole, Case(_with_question(sample, "What word is written?"), word, kind="word")
        number += 1
        if number == samples:
            return


def with_feeling(steerable: SteerableModel, features: Sequence[FeatureId] = ()) -> Goal:
    """Speak of feelings in answer to questions that ask for none.

    Small talk is to change; what must stay is what the model says of pictures, or of plain
    sentences where it reads none.
    """
    facts = [words_alone(f"What is this: {text}") for text in UNMOVED]
    if steerable.subject.has_vision:
        facts = factual_questions(QUIET_PROMPTS)
    cases = [
        Case(words_alone(text), "I feel happy", kind="talk", accepted=FEELINGS) for text in TALK
    ]
    plain = [Sample(id=f"plain-{i}", text=text) for i, text in enumerate(UNMOVED)]
    return Goal(
        cases=cases,
        unrelated=own_answers(steerable, facts),
        examples=[Sample(id=f"moved-{i}", text=text) for i, text in enumerate(MOVED)],
        counterexamples=plain,
        features=features,
        text="speak with feeling",
    )


def factual_questions(count: int) -> list[Sample]:
    """Scenes, each with one question that has a plain answer."""
    corpus = SceneCorpus(2**30, seed=12_000_017, split="heldout")
    samples = []
    for number, sample in corpus.read(0, count):
        questions = sample.truth.questions if sample.truth else ()
        if questions:
            samples.append(_with_question(sample, questions[number % len(questions)].text))
    return samples


def variants(sample: Sample, right: str, wrong: str) -> list[Case]:
    """One wrong answer as sixteen cases: the picture mirrored, brightened or cropped, the question
    reworded.

    Half of them are held out, by sample, as for any cases; all show the same picture.

    Raises:
        CausalError: the sample holds no question.
    """
    if not sample.turns:
        raise CausalError("To fix a wrong answer, give the question that it answers.")
    question = sample.turns[-1].text
    wordings = (
        question,
        f"Please answer: {question}",
        f"Look closely. {question}",
        f"{question} Be brief.",
    )
    pictures = [tuple(change(p) for p in sample.images) for change in _CHANGES]
    return [
        Case(
            Sample(
                id=f"{sample.id}/{number}-{at}",
                turns=(*sample.turns[:-1], Turn("user", words, images=sample.turns[-1].images)),
                images=images,
                source=sample.source,
            ),
            right,
            wrong,
            "variant",
        )
        for number, images in enumerate(pictures)
        for at, words in enumerate(wordings)
    ]


def _cropped(picture: Image.Image) -> Image.Image:
    """The picture without 4 % at each side, scaled to its old size."""
    x, y = max(1, picture.width // 25), max(1, picture.height // 25)
    return picture.crop((x, y, picture.width - x, picture.height - y)).resize(picture.size)


_CHANGES: tuple[Callable[[Image.Image], Image.Image], ...] = (
    lambda p: p,
    ImageOps.mirror,
    lambda p: ImageEnhance.Brightness(p).enhance(1.15),
    _cropped,
)


def own_answers(
    steerable: SteerableModel, samples: Sequence[Sample], tokens: int = 8
) -> list[tuple[Sample, tuple[int, ...]]]:
    """Prompts with the model's own answers, which should not change."""
    generations = steerable.subject.generate_batch(samples, max_new_tokens=tokens, top=1)
    pairs = [
        (sample, tuple(token.id for token in answer.tokens))
        for sample, answer in zip(samples, generations, strict=True)
    ]
    return [(sample, ids) for sample, ids in pairs if ids]


def words_alone(text: str) -> Sample:
    """A question without a picture."""
    return Sample(id=f"talk/{text}", turns=(Turn("user", text),))


def _empty(ground: tuple[int, int, int], text: str) -> Sample:
    """An empty picture of one colour."""
    name = "-".join(map(str, ground))
    picture = Image.new("RGB", (128, 128), ground)
    return Sample(id=f"empty/{name}", turns=(Turn("user", text, images=1),), images=(picture,))


def _with_question(sample: Sample, text: str) -> Sample:
    """A scene's picture with another question."""
    turn = Turn("user", text, images=len(sample.images))
    return Sample(id=sample.id, turns=(turn,), images=sample.images, source=sample.source)
