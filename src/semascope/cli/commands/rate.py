"""Rating explanations at a terminal: pictures in coloured half-blocks, grades from the keyboard.

Everything that is shown is held out and nameless; ``explain.rating`` keeps the grades.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from semascope.errors import ExplainError

if TYPE_CHECKING:
    from PIL import Image
    from rich.console import Console
    from rich.text import Text

    from semascope.evidence.types import Exemplar
    from semascope.explain.human.blind_rating import BlindRatings
    from semascope.pipeline.run_context import Run

WIDTH = 32
"""Characters of a drawn picture."""
JUDGES = ("detection", "specificity", "consistency", "simulation", "fuzzing", "iou", "clip")
Read = Callable[[str], str]


def store(run: Run, *, readonly: bool = False) -> BlindRatings:
    """The workspace's ratings."""
    from semascope.explain.human.blind_rating import BlindRatings

    return BlindRatings(run.workspace.root / "ratings.db", readonly=readonly)


def rate(
    run: Run, rater: str, tasks: int, exemplars: int, seed: int, read: Read | None = None
) -> int:
    """Deal tasks, show them one by one, keep the grades; q stops."""
    from rich.console import Console

    from semascope.explain.human.blind_rating import GRADES
    from semascope.pipeline.stages.explain import best
    from semascope.pipeline.stages.explain import read as read_explanations

    said = [e for _, e in sorted(best(read_explanations(run)).items()) if not e.abstained]
    if not said:
        raise ExplainError("No feature has words to rate: run `semascope explain` first.")
    order = np.random.default_rng(seed).permutation(len(said))[:tasks]
    ratings, console = store(run), Console(highlight=False)
    try:
        ratings.deal([said[i] for i in order.tolist()], seed=seed)
        grades = ", ".join(f"{g} {what}" for g, what in GRADES.items())
        while (task := ratings.next(rater)) is not None:
            done, total = ratings.progress(rater)
            console.rule(f"{done + 1} of {total}")
            shown = run.evidence.feature(task.feature).split("score").top[:exemplars]
            for exemplar in shown:
                show(run, exemplar, console)
            if not shown:
                console.print("It fired on none of the samples that were held out.")
            console.print(f"\nWords: {task.description}", markup=False)
            start = time.monotonic()
            grade = _grade(read or console.input, grades)
            if grade is None:
                break
            ratings.rate(task.id, rater, grade, time.monotonic() - start)
        done, total = ratings.progress(rater)
        console.print(
            f"{rater} has graded {done} of {total}. Agreement: semascope rate --agreement"
        )
    finally:
        ratings.close()
    return 0


def _grade(read: Read, grades: str) -> int | None:
    """A grade from the keyboard; None for q or the end of input."""
    while True:
        try:
            answer = read(f"How well do they fit? ({grades}; q stops) ").strip().lower()
        except EOFError:
            return None
        if answer in ("q", "quit"):
            return None
        if answer in ("0", "1", "2", "3"):
            return int(answer)


def show(run: Run, exemplar: Exemplar, console: Console) -> None:
    """One held-out sample: the picture with its heat, or the text with marks."""
    from semascope.explain.crops import firing_picture, overlay
    from semascope.explain.llm.messages import marked
    from semascope.explain.text.exemplar_terms import mode_of

    if mode_of(exemplar) != "picture":
        console.print(marked(exemplar), markup=False)
        return
    picture = firing_picture(exemplar)
    image = run.media.open(exemplar.shown.media[picture])
    console.print(blocks(overlay(image, exemplar, picture)))


def blocks(image: Image.Image, width: int = WIDTH) -> Text:
    """A picture as lines of half-blocks, two pixels a character."""
    from rich.text import Text

    height = max(2, 2 * round(width * image.height / image.width / 2))
    pixels = np.asarray(image.convert("RGB").resize((width, height)))
    text = Text()
    for upper, lower in zip(pixels[0::2], pixels[1::2], strict=True):
        for a, b in zip(upper.tolist(), lower.tolist(), strict=True):
            text.append("▀", style=f"rgb({a[0]},{a[1]},{a[2]}) on rgb({b[0]},{b[1]},{b[2]})")
        text.append("\n")
    return text


def agreement(run: Run, *, as_json: bool = False) -> int:
    """Print how far raters agree with one another and with each judge."""
    from semascope.pipeline.stages.score import read as read_scores

    judges: dict[str, dict[int, float]] = defaultdict(dict)
    for score in read_scores(run):
        if score.kind in JUDGES:
            judges[score.kind][score.feature] = score.value
    ratings = store(run, readonly=not run.workspace.writable)
    try:
        found = ratings.agreement(judges)
    finally:
        ratings.close()
    if as_json:
        print(json.dumps(_plain(asdict(found)), indent=2))
        return 0
    print(f"grades: {found.ratings}; raters: {found.raters}")
    print(f"Krippendorff's alpha among raters: {_number(found.alpha)}")
    mean, low, high = found.mean
    print(
        f"true words: {mean:.2f} of 3 ({low:.2f} to {high:.2f}); swapped: {_number(found.swapped)}"
    )
    for author, grade in found.by_author.items():
        print(f"  by {author}: {grade:.2f}")
    for judge, rho in sorted(found.judges.items()):
        print(f"  Spearman's rho with {judge}: {_number(rho)} ({found.compared[judge]} features)")
    sys.stdout.flush()
    return 0


def _number(value: float) -> str:
    return f"{value:.2f}" if value == value else "too few grades to say"


def _plain(value: object) -> object:
    """NaN as null."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and value != value else value
