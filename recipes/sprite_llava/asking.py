"""Which questions a learner is asked about a scene: a sample of all, or a drill on the hard ones.

Knows scenes and the asker's wording; knows no model.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from semascope.corpus.sample import Question
from semascope.corpus.scenes.compose import Scene
from semascope.corpus.scenes.language import QuestionWriter

EASY = ("count", "presence", "colour")
"""Kinds that are learned first: half of their questions are left out."""
DRILL = {"describe": 0.3, "count": 0.3, "presence": 0.25, "colour": 0.4}
"""Chances of a question in a drill; all other kinds are always asked."""


def ask(
    asker: QuestionWriter, scene: Scene, rng: np.random.Generator, rounds: int = 2
) -> list[Question]:
    """Several rounds of questions about a scene, no question twice."""
    first, *rest = _all(asker, scene, rng, rounds)
    return [first, *(q for q in rest if q.kind not in EASY or rng.random() < 0.5)]


def drill(asker: QuestionWriter, scene: Scene, rng: np.random.Generator) -> list[Question]:
    """Where things are, what colour, what is written, what is felt: all that the scene can answer.

    These answers are a few tokens each, and only their first says whether the right thing was
    looked at; among captions they are one answer token in five.
    """
    asked = _all(asker, scene, rng, rounds=5)
    chosen = [q for q in asked if rng.random() < DRILL.get(q.kind, 1.0)]
    return chosen or asked[:1]


def _all(
    asker: QuestionWriter, scene: Scene, rng: np.random.Generator, rounds: int
) -> list[Question]:
    """The description first, then the rest in the order drawn."""
    found: dict[str, Question] = {}
    described = False
    for _ in range(rounds):
        for q in asker.questions(scene, rng):
            if q.kind == "describe":
                if described:
                    continue
                described = True
            key = q.kind if q.kind in ("count", "word", "emotion") else _plain(q)
            found.setdefault(key, q)
    return list(found.values())


def _plain(q: Question) -> str:
    return replace(q, text=q.text.replace(" in the picture", "")).text
