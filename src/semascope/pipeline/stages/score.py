"""The fourth stage: how true the words are, on samples that no explainer saw."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semascope.pipeline.accounts import replies
from semascope.pipeline.accounts.features import of_scoring
from semascope.pipeline.run_context import Run
from semascope.pipeline.stages.base import StageProgress
from semascope.pipeline.stages.explain import best
from semascope.pipeline.stages.explain import read as read_explanations
from semascope.pipeline.stages.parts import Parts, blocks

if TYPE_CHECKING:
    from semascope.explain.types import Explanation, Score

BLOCK = 512
"""Features scored together: shuffled baselines swap words within a block."""
UNREAD = "unread"
"""Folder of what an LMM that judges could not be read on, block by block."""
REPORTED = {
    "iou_mean": "iou",
    "iou_random": "iou_random",
    "detection_auroc_mean": "detection",
    "detection_auroc_shuffled": "detection_shuffled",
}
"""Each figure of the report, and the kind of score that it is the mean of."""


def folder(run: Run) -> Path:
    """Where the parts of this run's scores lie."""
    site, name = run.options.chosen()
    return run.workspace.root / "scores" / site / name


def score_words(run: Run, progress: StageProgress) -> Mapping[str, Any]:
    """Score, or go on; the means over all features of every kind of score."""
    progress(0, 1, "opening the evidence")
    features = len(_words(run))
    done = 0
    for size in score_share(run):
        done += size
        progress(done, features)
    return figures(run)


def score_share(run: Run, rank: int = 0, world_size: int = 1) -> Iterator[int]:
    """Do the blocks that fall to one worker of several, but for those that stand; yield each
    block's number of features.

    Raises ExplainError where too many answers of the LMM that judges could not be read; the block
    then has no scores."""
    from semascope.pipeline.scorers import lmm_judge, make_scorers

    words, scorers, judge = _words(run), make_scorers(run), lmm_judge(run)
    folder(run).mkdir(parents=True, exist_ok=True)
    parts = Parts(folder(run))
    for number, block in enumerate(blocks(sorted(words), BLOCK)):
        if number % world_size != rank:
            continue
        if number not in parts:
            records = [run.evidence.feature(index) for index in block]
            said = [words[index] for index in block]
            asked, before = (judge.asked, judge.unread.copy()) if judge else (0, Counter[str]())
            scores = [score for scorer in scorers for score in scorer.score(records, said)]
            if judge:
                unread = judge.unread - before
                replies.check_judge(judge, judge.asked - asked, unread)
                lacks = {s.name: getattr(s, "missing", {}) for s in scorers}
                note = {
                    "judge": judge.name,
                    "asked": judge.asked - asked,
                    "unread": unread,
                    "missing": {name: _of(some, block) for name, some in lacks.items() if some},
                }
                Parts(folder(run) / UNREAD).write(number, [note])
            parts.write(number, map(asdict, scores))
        yield len(block)


def _of(missing: Mapping[int, str], block: Sequence[int]) -> dict[int, str]:
    """The features of a block that have no score because the judge failed, with the reason."""
    return {feature: missing[feature] for feature in block if feature in missing}


def _judged(run: Run) -> dict[str, Any]:
    """What came of the judge's questions; empty where no LMM judged."""
    notes = list(Parts(folder(run) / UNREAD).read())
    if not notes:
        return {}
    unread: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    for note in notes:
        unread.update(replies.grouped(note["unread"])[0])
        missing.update({name: len(some) for name, some in note["missing"].items()})
    asked = sum(note["asked"] for note in notes)
    of = {"asked": asked, "unusable": dict(unread), "features_without_score": dict(missing)}
    return {"judgements": {notes[0]["judge"]: of}}


def _words(run: Run) -> dict[int, Explanation]:
    """Every feature's own words, abstentions left out."""
    found = best(read_explanations(run))
    return {feature: one for feature, one in found.items() if not one.abstained}


def read(run: Run) -> Iterator[Score]:
    """All scores so far."""
    from semascope.explain.types import Score

    for record in Parts(folder(run)).read():
        yield Score(**record)


def summary(run: Run) -> list[dict[str, Any]]:
    """By kind: mean over features with its 95 % interval, mean baseline, how many features.

    ``low`` and ``high`` are None where one feature alone has the score.
    """
    from semascope.statistics import mean_interval

    values: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for score in read(run):
        values[score.kind].append((score.value, score.baseline))
    out = []
    for kind, pairs in sorted(values.items()):
        mean = mean_interval(np.array([v for v, _ in pairs], np.float64))
        base = float(np.mean([b for _, b in pairs]))
        ends = mean.interval if len(pairs) > 1 else (None, None)  # one value has no spread
        out.append(
            {
                "kind": kind,
                "mean": mean.value,
                "low": ends[0],
                "high": ends[1],
                "baseline": base,
                "features": len(pairs),
            }
        )
    return out


def figures(run: Run) -> dict[str, Any]:
    """Means over features; null where no feature could be scored."""
    values: dict[str, list[float]] = defaultdict(list)
    for score in read(run):
        values[score.kind].append(score.value)
    means = {kind: float(np.mean(of)) for kind, of in sorted(values.items())}
    return {
        **{name: means.get(kind) for name, kind in REPORTED.items()},
        "means": means,
        "counts": {kind: len(of) for kind, of in sorted(values.items())},
        **_judged(run),
        "read": of_scoring(run.evidence, _words(run), read(run)),
    }
