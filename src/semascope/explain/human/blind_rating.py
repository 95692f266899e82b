"""Blind rating: people grade explanations without knowing who wrote them.

A rater sees a feature's held-out exemplars and an explanation, and calls it right, vague, wrong or
silly. The author is hidden, and some tasks carry the explanation of another feature: a rater who
likes everything likes those too. A sheet (``rating_sheet``) has no such tasks. One SQLite file
holds tasks, grades and notes; several people may rate at once.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semascope.atlas.database.sqlite import released, way_to
from semascope.errors import ExplainError
from semascope.explain.human.agreement import krippendorff_alpha, table
from semascope.explain.shuffled_words import shuffled_words
from semascope.explain.types import Explanation
from semascope.statistics import DRAWS, EMPTY, Figure, mean_interval, percentiles, share, spearman

GRADES = {3: "right", 2: "vague", 1: "wrong", 0: "silly"}
"""Names of grades, best first; a key from 1 to 4 gives each."""
MEANINGS = {
    "right": "names what the examples share",
    "vague": "fits, but says too little or only part of it",
    "wrong": "names something else",
    "silly": "no person would write this",
}
_TABLES = """
CREATE TABLE IF NOT EXISTS tasks (
    id TEXT PRIMARY KEY, feature INTEGER, description TEXT, label TEXT,
    author TEXT, swapped INTEGER);
CREATE TABLE IF NOT EXISTS ratings (
    task TEXT, rater TEXT, grade INTEGER, seconds REAL, at REAL, PRIMARY KEY (task, rater));
CREATE TABLE IF NOT EXISTS notes (
    task TEXT, rater TEXT, text TEXT, PRIMARY KEY (task, rater));
"""


@dataclass(frozen=True, slots=True)
class Task:
    """What a rater is shown. It names no author and does not say whether words were swapped."""

    id: str
    feature: int
    description: str
    label: str


JUDGES = (
    "detection",
    "specificity",
    "consistency",
    "simulation",
    "fuzzing",
    "told_apart",
    "iou",
    "clip",
)
"""Kinds of score that say how true an explanation is; people's grades are compared with these."""
FEWEST = 8
"""Features that a rank correlation needs: among three it is one half by luck alone."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the ratings say."""

    raters: int
    ratings: int
    alpha: float
    """Krippendorff's, among people; NaN while no task was rated twice."""
    mean: tuple[float, float, float]
    """Grade of true words, with its interval."""
    swapped: float
    """Grade of swapped words; a careful rater gives about 0. NaN where none was rated."""
    by_author: Mapping[str, float]
    shares: Mapping[str, Figure]
    """Share of each grade by name, of true words, with Wilson's interval."""
    judges: Mapping[str, float]
    """Spearman's rho between the people's mean grade and each judge's score; NaN below ``FEWEST``
    features."""
    judge_intervals: Mapping[str, tuple[float, float]]
    """95 % interval of each, by bootstrap over features; NaN where rho is."""
    compared: Mapping[str, int]
    """Number of features behind each."""


class BlindRatings:
    """The store of tasks and grades."""

    def __init__(self, path: Path | str, *, readonly: bool = False) -> None:
        """Open the file, made where it is not there yet; ExplainError where neither can be.

        ``readonly``: for grades that are there, in a folder that cannot be written.
        """
        self._lock = threading.Lock()
        try:
            if readonly and Path(path).is_file():
                self._db = released(self, way_to(Path(path), readonly=True).connect())
                return
            path = ":memory:" if readonly else path
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._db = released(
                self, sqlite3.connect(str(path), timeout=30, check_same_thread=False)
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.executescript(_TABLES)
        except (OSError, sqlite3.Error) as error:
            raise ExplainError(
                f"The grades at {path} cannot be opened to be written ({error}). Copy the "
                "workspace to a folder of your own."
            ) from error

    def deal(
        self, explanations: Sequence[Explanation], *, swapped: float = 0.2, seed: int = 0
    ) -> int:
        """Add a task for each explanation that has words, and for a share of them one with
        another's words. Dealing the same twice adds nothing. Returns how many tasks there are.
        """
        said = [e for e in explanations if not e.abstained]
        lent = shuffled_words([e.label for e in said], seed) if said else np.zeros(0, np.int64)
        chosen = np.random.default_rng(seed).random(len(said)) < swapped
        rows = [_row(e.feature, e, False, seed) for e in said]
        for explanation, j, take in zip(said, lent.tolist(), chosen, strict=True):
            if take and j >= 0:
                rows.append(_row(explanation.feature, said[j], True, seed))
        with self._lock:
            self._db.executemany("INSERT OR IGNORE INTO tasks VALUES (?,?,?,?,?,?)", rows)
            self._db.commit()
            return int(self._db.execute("SELECT COUNT(*) FROM tasks").fetchone()[0])

    def next(self, rater: str) -> Task | None:
        """A task that this rater has not rated, on a sheet or otherwise; None when all are done.

        The least rated come first, so that people overlap evenly; among these the order gives
        nothing away.
        """
        query = """
            SELECT t.id, t.feature, t.description, t.label FROM tasks t
            WHERE NOT EXISTS (
                SELECT 1 FROM ratings r JOIN tasks u ON u.id = r.task
                WHERE r.rater = ? AND u.feature = t.feature
                AND u.label = t.label AND u.description = t.description)
            ORDER BY (SELECT COUNT(*) FROM ratings r WHERE r.task = t.id), t.id LIMIT 1"""
        with self._lock:
            row = self._db.execute(query, (rater,)).fetchone()
        return Task(*row) if row else None

    def rate(self, task: str, rater: str, grade: int, seconds: float = 0.0, note: str = "") -> None:
        """Keep a grade and a note; those of the same rater for the same task are replaced.

        Raises ExplainError for an unknown task or grade, and where no rater is named.
        """
        if grade not in GRADES:
            listed = ", ".join(f"{g} ({what})" for g, what in GRADES.items())
            raise ExplainError(f"A grade is one of {listed}; not {grade}.")
        if not rater.strip():
            raise ExplainError("Give a rater's name, so that agreement can be measured.")
        with self._lock:
            known = self._db.execute("SELECT 1 FROM tasks WHERE id = ?", (task,)).fetchone()
            if known is None:
                raise ExplainError(f"There is no rating task {task!r}: deal tasks first.")
            row = (task, rater, grade, seconds, time.time())
            self._db.execute("INSERT OR REPLACE INTO ratings VALUES (?,?,?,?,?)", row)
            self._db.execute("DELETE FROM notes WHERE task = ? AND rater = ?", (task, rater))
            if note.strip():
                self._db.execute("INSERT INTO notes VALUES (?,?,?)", (task, rater, note.strip()))
            self._db.commit()

    def grades(self, rater: str) -> dict[str, int]:
        """Task -> grade of all that a rater has graded."""
        with self._lock:
            query = "SELECT task, grade FROM ratings WHERE rater = ?"
            return dict(self._db.execute(query, (rater,)).fetchall())

    def notes(self, rater: str) -> dict[str, str]:
        """Task -> note of a rater."""
        with self._lock:
            query = "SELECT task, text FROM notes WHERE rater = ?"
            return dict(self._db.execute(query, (rater,)).fetchall())

    def features(self) -> list[int]:
        """Features with a grade."""
        query = "SELECT DISTINCT t.feature FROM ratings r JOIN tasks t ON t.id = r.task ORDER BY 1"
        with self._lock:
            return [feature for (feature,) in self._db.execute(query)]

    def known(self, tasks: Collection[str]) -> set[str]:
        """Those of some tasks that were dealt."""
        with self._lock:
            dealt = self._db.execute("SELECT id FROM tasks").fetchall()
        return {task for (task,) in dealt} & set(tasks)

    def reveal(self, task: str, rater: str) -> tuple[int, str, bool]:
        """(feature, author, whether the words were another feature's) of a task that this rater
        has rated; an ExplainError before that."""
        query = """
            SELECT t.feature, t.author, t.swapped FROM tasks t
            JOIN ratings r ON r.task = t.id WHERE t.id = ? AND r.rater = ?"""
        with self._lock:
            row = self._db.execute(query, (task, rater)).fetchone()
        if row is None:
            raise ExplainError("Rate the words first: whose they are is told afterwards.")
        return int(row[0]), str(row[1]), bool(row[2])

    def progress(self, rater: str) -> tuple[int, int]:
        """(rated by this rater, all tasks)."""
        with self._lock:
            mine = self._db.execute("SELECT COUNT(*) FROM ratings WHERE rater = ?", (rater,))
            total = self._db.execute("SELECT COUNT(*) FROM tasks")
            return int(mine.fetchone()[0]), int(total.fetchone()[0])

    def agreement(
        self,
        judges: Mapping[str, Mapping[int, float]] | None = None,
        seed: int = 0,
        *,
        tasks: Collection[str] | None = None,
    ) -> Agreement:
        """People among themselves, and with judges: name -> feature -> score of its true words.

        ``tasks``: count these alone. Raises ExplainError where none is rated.
        """
        with self._lock:
            rows = self._db.execute(
                "SELECT t.id, t.feature, t.author, t.swapped, r.rater, r.grade "
                "FROM ratings r JOIN tasks t ON t.id = r.task ORDER BY t.id, r.rater"
            ).fetchall()
        rows = [row for row in rows if tasks is None or row[0] in tasks]
        if not rows:
            raise ExplainError("Nothing was rated yet: run `semascope rate`.")
        by_rater: dict[str, dict[str, float]] = {}
        authors: dict[str, list[float]] = {}
        features: dict[int, list[float]] = {}
        swapped: list[float] = []
        for task, feature, author, was_swapped, rater, grade in rows:
            by_rater.setdefault(rater, {})[task] = grade
            if was_swapped:
                swapped.append(grade)
            else:
                authors.setdefault(author, []).append(grade)
                features.setdefault(feature, []).append(grade)
        true = np.array([g for grades in authors.values() for g in grades], float)
        rho = {n: _with_judge(features, s, seed) for n, s in (judges or {}).items()}
        mean = mean_interval(true, seed) if len(true) else EMPTY
        return Agreement(
            raters=len(by_rater),
            ratings=len(rows),
            alpha=krippendorff_alpha(table(by_rater)[0]),
            mean=(mean.value, *mean.interval),
            swapped=float(np.mean(swapped)) if swapped else float("nan"),
            by_author={a: float(np.mean(g)) for a, g in sorted(authors.items())},
            shares={name: share(int((true == g).sum()), len(true)) for g, name in GRADES.items()},
            judges={name: value for name, (value, _, _) in rho.items()},
            judge_intervals={name: (low, high) for name, (_, low, high) in rho.items()},
            compared={n: len(features.keys() & s) for n, s in (judges or {}).items()},
        )

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _with_judge(
    features: Mapping[int, Sequence[float]], scores: Mapping[int, float], seed: int
) -> tuple[float, float, float]:
    """Spearman's rho of mean grades with scores, and its interval; NaN where it says nothing."""
    both = sorted(set(features) & set(scores))
    if len(both) < FEWEST:
        return (float("nan"),) * 3
    grades = np.array([float(np.mean(features[f])) for f in both])
    values = np.array([scores[f] for f in both], np.float64)
    rng = np.random.default_rng((seed, len(both)))
    drawn = (rng.integers(len(both), size=len(both)) for _ in range(DRAWS))
    rho = np.array([spearman(grades[rows].tolist(), values[rows].tolist()) for rows in drawn])
    rho = rho[np.isfinite(rho)]
    low, high = percentiles(rho) if len(rho) else (float("nan"),) * 2
    return spearman(grades.tolist(), values.tolist()), low, high


def task_id(feature: int, said: Explanation, swapped: bool, seed: int) -> str:
    """A hash; tasks are dealt in its order, so nothing in it gives a swap away."""
    text = f"{seed}/{feature}/{said.author}/{said.label}/{said.description}/{swapped}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _row(feature: int, said: Explanation, swapped: bool, seed: int) -> tuple[object, ...]:
    name = task_id(feature, said, swapped, seed)
    return name, feature, said.description, said.label, said.author, int(swapped)
