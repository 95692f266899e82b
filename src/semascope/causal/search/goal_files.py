"""Goals from files and words: wanted answers, unwanted ones, and answers to keep.

A file holds one item a line. An object ``{"question": …, "answer": …, "picture": …}`` is a case
(the picture is a file, ``scene:7``, ``blank`` or left out); any other line is an example text. The
same question about the same picture in both files is one case with a wanted and an unwanted
answer. ``reading`` picks the ready goal that a sentence means.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from semascope.causal.search.cases import Case
from semascope.causal.search.goal import Goal
from semascope.corpus.sample import Sample
from semascope.errors import CausalError

Open = Callable[[str, str], Sample]
"""(picture, question) to a sample."""
_PRESENCE = re.compile(r"not there|hallucinat|invent|made.up things|see what is|\bpresence", re.I)
_FEELING = re.compile(r"feel|emotion|empath|sympath|\bsad|\bhappy|\bmoved\b", re.I)
_WORD = re.compile(r"\bread|\bword|\btext\b|\bwritten|\bletters", re.I)
_FILLER = frozenset(
    "say says saying name naming mention mentions talk talks speak about of a an the some make it "
    "model please always unprompted more see sees answer answers with to and in on".split()
)


@dataclass(frozen=True, slots=True)
class GoalItems:
    """The contents of one file."""

    answers: dict[tuple[str, str], str] = field(default_factory=dict)
    """(picture, question) to the answer."""
    texts: tuple[Sample, ...] = ()


def read_items(path: Path) -> GoalItems:
    """One file of answers and examples.

    Raises CausalError for a file that cannot be read, a broken object, or an empty file.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CausalError(f"The examples at {path} cannot be read: {error}.") from error
    answers: dict[tuple[str, str], str] = {}
    texts = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if not line.lstrip().startswith("{"):
            texts.append(Sample(id=f"{path.name}:{number}", text=line.strip()))
            continue
        row = _row(path, number, line)
        answers[str(row.get("picture") or "none"), row["question"]] = row["answer"]
    if not answers and not texts:
        raise CausalError(f"The examples at {path} are empty: write one a line.")
    return GoalItems(answers, tuple(texts))


def _row(path: Path, number: int, line: str) -> dict[str, Any]:
    """One object with a question and an answer."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise CausalError(f"{path}, line {number}, is not JSON: {error}.") from error
    if not all(isinstance(row.get(name), str) for name in ("question", "answer")):
        raise CausalError(
            f'{path}, line {number}, needs a "question" and an "answer", both in quotes.'
        )
    return dict(row)


def with_files(
    goal: Goal, open_sample: Open, *, want: GoalItems, not_want: GoalItems, keep: GoalItems
) -> Goal:
    """The goal with the contents of files; cases in files replace its own.

    Raises:
        CausalError: a question has an unwanted answer but no wanted one.
    """
    cases: list[Case] = []
    for place in dict.fromkeys([*want.answers, *not_want.answers]):
        if place not in want.answers:
            raise CausalError(
                f"For the question {place[1]!r} only the unwanted answer is given: give the "
                "wanted one in --want."
            )
        sample = open_sample(*place)
        one = Case(sample, want.answers[place], not_want.answers.get(place, ""), "asked")
        cases.append(_distinct(one, len(cases)))
    protect = [
        _distinct(Case(open_sample(*place), answer, kind="keep"), number)
        for number, (place, answer) in enumerate(keep.answers.items())
    ]
    return replace(
        goal,
        cases=cases or goal.cases,
        protect=[*protect, *(goal.protect if not cases else ())],
        examples=want.texts or goal.examples,
        counterexamples=not_want.texts or goal.counterexamples,
    )


def _distinct(case: Case, number: int) -> Case:
    """With its own id if it has no picture; the cases of one picture are split together."""
    if case.sample.images:
        return case
    return replace(case, sample=replace(case.sample, id=f"{case.sample.id}/{number}"))


def reading(text: str) -> tuple[str, str]:
    """The ready goal that a sentence means: (presence, feeling, word or object, the concept).

    Raises CausalError if it names nothing.
    """
    if _PRESENCE.search(text):
        return "presence", ""
    if _FEELING.search(text):
        return "feeling", ""
    if _WORD.search(text):
        return "word", ""
    words = [w for w in re.findall(r"[\w'-]+", text.lower()) if w not in _FILLER]
    if not words:
        raise CausalError(
            f"The goal {text!r} names nothing to look for. Say what the model should speak of "
            "('a dog'), or give examples: --want FILE --not-want FILE."
        )
    return "object", " ".join(words[:3])
