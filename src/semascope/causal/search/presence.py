"""Yes-or-no questions about what is in a picture, as cases and as a goal.

Asked as POPE asks (Li et al. 2023, "Evaluating Object Hallucination").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from semascope.causal.search.cases import Case
from semascope.causal.search.goal import Goal
from semascope.corpus.sample import Sample, Turn
from semascope.corpus.scenes import SceneCorpus
from semascope.errors import CausalError

KINDS = ("presence", "map", "word")


OPPOSITE = {"yes": "no", "no": "yes"}


def presence_cases(
    samples: Iterable[Sample], kinds: Sequence[str] = KINDS, limit: int | None = None
) -> list[Case]:
    """A case for each question of the given kinds, yes against no.

    Raises:
        CausalError: no sample has such a question.
    """
    cases: list[Case] = []
    for sample in samples:
        for question in sample.truth.questions if sample.truth else ():
            if question.kind not in kinds:
                continue
            asked = Sample(
                id=sample.id,
                turns=(Turn("user", question.text, images=len(sample.images)),),
                images=sample.images,
                source=sample.source,
            )
            answer = question.answer
            opposite = OPPOSITE.get(answer.lower(), "")
            unwanted = opposite.capitalize() if answer[:1].isupper() else opposite
            cases.append(Case(asked, answer, unwanted, question.kind))
            if len(cases) == limit:
                return cases
    if not cases:
        raise CausalError(f"None of these samples asks about {', '.join(kinds)}.")
    return cases


SMALL_DOSES = (0.06, 0.12, 0.25, 1.0)
"""Doses that turn a yes into a no; larger ones turn every yes."""


def presence_goal(
    samples: int, *, seed: int = 0, split: str = "heldout", cases: Sequence[Case] | None = None
) -> Goal:
    """The goal to say no to what is absent; all other questions of these pictures are protected."""
    if cases is None:
        corpus = SceneCorpus(2**30, seed=seed + 9_000_011, split=split)
        cases = presence_cases(s for _, s in corpus.read(0, samples))
    return Goal(
        cases=[case for case in cases if case.wanted.lower() == "no"],
        protect=[case for case in cases if case.wanted.lower() != "no"],
        text="do not see what is not there",
    )
