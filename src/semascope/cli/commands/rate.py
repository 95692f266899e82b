"""Rating explanations blind: at the terminal, or on a page that is written and read back.

At the terminal pictures are drawn in coloured half-blocks. All exemplars are held out, and no
author is shown; ``explain.human`` keeps the grades and measures agreement.
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

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image
    from rich.console import Console
    from rich.text import Text

    from semascope.evidence.types import Exemplar
    from semascope.explain.human.blind_rating import Agreement, BlindRatings, Task
    from semascope.explain.types import Explanation
    from semascope.pipeline.run_context import Run

WIDTH = 32
"""Characters of a drawn picture."""
Read = Callable[[str], str]


def store(run: Run, *, readonly: bool = False) -> BlindRatings:
    """The workspace's ratings."""
    from semascope.explain.human.blind_rating import BlindRatings

    return BlindRatings(run.workspace.root / "ratings.db", readonly=readonly)


def rate(
    run: Run, rater: str, tasks: int, exemplars: int, seed: int, read: Read | None = None
) -> int:
    """Deal tasks, some with swapped explanations, show them one by one, and keep the grades."""
    from semascope.explain.human import rating_sheet

    said = rating_sheet.drawn(explanations(run), tasks, seed)
    ratings = store(run)
    try:
        ratings.deal(said, seed=seed)

        def left() -> Task | None:
            return ratings.next(rater)

        _ask(run, ratings, rater, left, lambda: ratings.progress(rater), exemplars, read)
        done, total = ratings.progress(rater)
        print(f"{rater} has rated {done} of {total}. Agreement: semascope rate --agreement")
    finally:
        ratings.close()
    return 0


def rate_sheet(
    run: Run, rater: str, size: int, exemplars: int, seed: int, read: Read | None = None
) -> int:
    """Rate a sheet at the terminal, then print the shares and the agreement with scores."""
    from semascope.explain.human import rating_sheet
    from semascope.explain.human.blind_rating import Task

    said = rating_sheet.drawn(explanations(run), size, seed)
    names = rating_sheet.tasks_of(said, seed)
    tasks = [
        Task(name, e.feature, e.description, e.label) for name, e in zip(names, said, strict=True)
    ]
    ratings = store(run)
    try:
        ratings.deal(said, swapped=0.0, seed=seed)

        def left() -> Task | None:
            graded = ratings.grades(rater)
            return next((task for task in tasks if task.id not in graded), None)

        def progress() -> tuple[int, int]:
            return len(ratings.grades(rater).keys() & set(names)), len(tasks)

        _ask(run, ratings, rater, left, progress, exemplars, read)
        if progress()[0]:
            report(ratings.agreement(scores_by_judge(run), tasks=names))
    finally:
        ratings.close()
    return 0


def write_sheet(run: Run, size: int, exemplars: int, seed: int, file: Path) -> int:
    """Write the page of a sheet, and deal its tasks where the workspace can be written."""
    from semascope.api.rating_sheet import SheetItem, sheet_page
    from semascope.explain.human import rating_sheet
    from semascope.files import write_whole

    said = rating_sheet.drawn(explanations(run), size, seed)
    if run.workspace.writable:
        ratings = store(run)
        ratings.deal(said, swapped=0.0, seed=seed)
        ratings.close()
    items = [
        SheetItem(
            name,
            e.label,
            e.description,
            rating_sheet.exemplars_of(run.evidence.feature(e.feature), exemplars),
        )
        for name, e in zip(rating_sheet.tasks_of(said, seed), said, strict=True)
    ]
    page = sheet_page(items, run.media.open, dictionary="/".join(run.options.chosen()), seed=seed)
    write_whole(file, lambda path: path.write_text(page, "utf-8"))
    print(f"{len(items)} explanations to rate are in {file}. Open it in a browser; bring the file")
    print("that it downloads back with: semascope rate --read FILE.json")
    return 0


def read_sheet(run: Run, file: Path, *, as_json: bool = False) -> int:
    """Bring in the ratings of a sheet, and print their shares and agreement with scores."""
    from semascope.explain.human import rating_sheet

    sheet = rating_sheet.read_ratings(file)
    ratings = store(run)
    try:
        n = rating_sheet.keep_ratings(ratings, sheet, explanations(run))
        if not as_json:
            print(f"{n} of {sheet.size} explanations rated by {sheet.rater}")
        tasks = {one.task for one in sheet.ratings}
        report(ratings.agreement(scores_by_judge(run), tasks=tasks), as_json=as_json)
    finally:
        ratings.close()
    return 0


def explanations(run: Run) -> dict[int, Explanation]:
    """Every feature's explanation; those that abstained are among them."""
    from semascope.pipeline.stages.explain import best
    from semascope.pipeline.stages.explain import read as read_explanations

    return best(read_explanations(run))


def _ask(
    run: Run,
    ratings: BlindRatings,
    rater: str,
    left: Callable[[], Task | None],
    progress: Callable[[], tuple[int, int]],
    exemplars: int,
    read: Read | None,
) -> None:
    """Show what ``left`` gives, until it gives None or the rater stops."""
    from rich.console import Console

    from semascope.explain.human.blind_rating import GRADES
    from semascope.explain.human.rating_sheet import exemplars_of

    console, keys = Console(highlight=False), list(GRADES)
    while (task := left()) is not None:
        done, total = progress()
        console.rule(f"{done + 1} of {total}")
        held_out = exemplars_of(run.evidence.feature(task.feature), exemplars)
        for exemplar in held_out:
            show(run, exemplar, console)
        if not held_out:
            console.print("No held-out sample activates it.")
        console.print(f"\nExplanation: {task.label}. {task.description}", markup=False)
        start = time.monotonic()
        answer = _grade(read or console.input, keys)
        if answer is None:
            return
        ratings.rate(task.id, rater, answer[0], time.monotonic() - start, answer[1])


def _grade(read: Read, keys: list[int]) -> tuple[int, str] | None:
    """A grade and a note from the keyboard; None for q or the end of input."""
    from semascope.explain.human.blind_rating import GRADES

    listed = ", ".join(f"{key} {GRADES[grade]}" for key, grade in enumerate(keys, 1))
    while True:
        try:
            answer = read(f"Does it fit? ({listed}, then a note if you like; q stops) ").strip()
        except EOFError:
            return None
        key, _, note = answer.partition(" ")
        if key.lower() in ("q", "quit"):
            return None
        if key in map(str, range(1, len(keys) + 1)):
            return keys[int(key) - 1], note.strip()


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


def scores_by_judge(run: Run) -> dict[str, dict[int, float]]:
    """Kind of score -> feature -> value, of the kinds that say how true an explanation is."""
    from semascope.explain.human.blind_rating import JUDGES
    from semascope.pipeline.stages.score import read as read_scores

    judges: dict[str, dict[int, float]] = defaultdict(dict)
    for score in read_scores(run):
        if score.kind in JUDGES:
            judges[score.kind][score.feature] = score.value
    return judges


def agreement(run: Run, *, as_json: bool = False) -> int:
    """Print how far raters agree with one another and with each kind of score."""
    ratings = store(run, readonly=not run.workspace.writable)
    try:
        report(ratings.agreement(scores_by_judge(run)), as_json=as_json)
    finally:
        ratings.close()
    return 0


def report(found: Agreement, *, as_json: bool = False) -> None:
    """Print shares of grades and agreement, each with its interval."""
    if as_json:
        print(json.dumps(_plain(asdict(found)), indent=2))
        return
    print(f"grades: {found.ratings}; raters: {found.raters}")
    print(f"Krippendorff's alpha among raters: {_number(found.alpha)}")
    for name, one in found.shares.items():
        if one.n:
            print(f"  {name}: {one.value:.0%} ({one.low:.0%} to {one.high:.0%} of {one.n})")
    mean, low, high = found.mean
    print(f"mean grade: {mean:.2f} of 3 ({low:.2f} to {high:.2f})")
    if found.swapped == found.swapped:
        print(f"mean grade of swapped explanations: {found.swapped:.2f}")
    for author, grade in found.by_author.items():
        print(f"  by {author}: {grade:.2f}")
    for judge, rho in sorted(found.judges.items()):
        ends = found.judge_intervals[judge]
        within = f" ({ends[0]:.2f} to {ends[1]:.2f})" if rho == rho else ""
        print(
            f"  Spearman's rho with {judge}: {_number(rho)}{within}, "
            f"{found.compared[judge]} features"
        )
    sys.stdout.flush()


def _number(value: float) -> str:
    return f"{value:.2f}" if value == value else "too few grades to say"


def _plain(value: object) -> object:
    """NaN as null."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and value != value else value
