"""A sheet of explanations drawn at random, to be rated blind away from the workspace.

A sheet shows a feature's held-out exemplars and its explanation, without author and without scores,
and has no swapped explanations: the share called right is an estimate for the whole dictionary.
``SheetRatings`` is the file that a rater sends back; it holds hashes of tasks and grades, no text
of the workspace. Independent of how a sheet is drawn: ``api.rating_sheet`` makes the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from semascope.errors import ExplainError
from semascope.evidence.types import Exemplar, FeatureEvidence
from semascope.explain.human.blind_rating import GRADES, BlindRatings, task_id
from semascope.explain.text.exemplar_terms import distinct
from semascope.explain.types import Explanation

EXEMPLARS = 6
"""Held-out exemplars shown with each explanation: the strongest, and two weaker ones."""
_WEAKER = 2
_LARGEST_FILE = 8 << 20
_BY_NAME = {name: grade for grade, name in GRADES.items()}


class SheetRating(BaseModel):
    """One grade of a sheet."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    task: str = Field(max_length=64)
    grade: Literal["right", "vague", "wrong", "silly"]
    note: str = Field(default="", max_length=4000)
    seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)


class SheetRatings(BaseModel):
    """The file that the page of a sheet downloads."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["semascope ratings"]
    dictionary: str = Field(max_length=400)
    seed: int
    size: int = Field(ge=1)
    """Explanations on the sheet, rated or not."""
    rater: str = Field(min_length=1, max_length=60)
    ratings: tuple[SheetRating, ...]


def drawn(explanations: Mapping[int, Explanation], n: int, seed: int) -> list[Explanation]:
    """At most n explanations, drawn by the seed from those that are not abstentions.

    Raises ExplainError where there are none.
    """
    explained = [e for _, e in sorted(explanations.items()) if not e.abstained]
    if not explained:
        raise ExplainError("No feature has an explanation to rate: run `semascope explain` first.")
    order = np.random.default_rng(seed).permutation(len(explained))[:n]
    return [explained[place] for place in order.tolist()]


def tasks_of(explanations: Sequence[Explanation], seed: int) -> list[str]:
    """The task of each explanation, as ``BlindRatings.deal`` names it."""
    return [task_id(e.feature, e, False, seed) for e in explanations]


def exemplars_of(record: FeatureEvidence, most: int = EXEMPLARS) -> list[Exemplar]:
    """Held-out exemplars, strongest first: all but two of the strongest, two from weaker ones."""
    every = distinct(record.split("score"))
    if len(every) <= most:
        return every
    first = max(1, most - _WEAKER)
    rest = np.linspace(first, len(every) - 1, most - first + 2)[1:-1].round().astype(int)
    return [every[place] for place in [*range(first), *rest.tolist()]]


def read_ratings(path: Path) -> SheetRatings:
    """The ratings in a file. Raises ExplainError where it holds none that can be read."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ExplainError(f"{path} is too large to be the ratings of a sheet.")
        return SheetRatings.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ExplainError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ExplainError(
            f"{path} does not hold the ratings of a sheet ({where}: {first['msg']}). Give the file "
            "that the page downloads."
        ) from error


def keep_ratings(
    ratings: BlindRatings, sheet: SheetRatings, explanations: Mapping[int, Explanation]
) -> int:
    """Write the grades of a sheet into the workspace's ratings; returns how many.

    The sheet is dealt first, in case its page was made from a copy of the workspace. Raises
    ExplainError, with nothing kept, where a grade is of an explanation that is not known here.
    """
    ratings.deal(drawn(explanations, sheet.size, sheet.seed), swapped=0.0, seed=sheet.seed)
    tasks = [one.task for one in sheet.ratings]
    unknown = len(set(tasks) - ratings.known(tasks))
    if unknown:
        raise ExplainError(
            f"{unknown} of {len(tasks)} ratings are of explanations that this workspace does not "
            "have. Name the workspace from which the sheet was made with --workspace."
        )
    for one in sheet.ratings:
        ratings.rate(one.task, sheet.rater, _BY_NAME[one.grade], one.seconds, one.note)
    return len(tasks)
