"""The third stage: words for every alive feature.

The vocabulary namer names all; it costs nothing. The explainers that ask a model are slow, so
they are asked about those features that are most in need: first those that have no words, then
those whose words are least sure. Every explainer's words are kept; of each feature's, the surest
are the ones that are scored and shown first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semascope.pipeline.context import Run
from semascope.pipeline.parts import Parts, blocks
from semascope.pipeline.stage import Progress

if TYPE_CHECKING:
    from semascope.explain.types import Explainer, Explanation

FREE_BLOCK = 512
"""Features that a namer without a model is given at once."""
ASKED_BLOCK = 16
"""Features that an explainer with a model is given at once: what a kill may lose."""
FREE = "vocabulary"


def folder(run: Run) -> Path:
    """Where the parts of this run's explanations lie."""
    train = run.options.train
    return run.workspace.root / "explanations" / train.site / train.name


def explain_features(run: Run, progress: Progress) -> Mapping[str, Any]:
    """Explain, or go on; count what has words."""
    progress(0, 1, "opening the evidence")
    alive = [int(i) for i in run.evidence.alive()]
    folder(run).mkdir(parents=True, exist_ok=True)
    order = run.options.explain.explainers
    asked = min(run.options.explain.ask, len(alive))
    total = sum(len(alive) if name == FREE else asked for name in order)
    done = 0
    for name in order:
        features = alive if name == FREE else in_need(alive, read(run))[:asked]
        done = _one(run, name, features, progress, done, total)
    return _figures(run, alive)


def _one(
    run: Run, name: str, features: list[int], progress: Progress, done: int, total: int
) -> int:
    """All blocks of one explainer that are not done; features done so far."""
    from semascope.pipeline.explainers import make

    parts = Parts(folder(run) / name)
    explainer: Explainer | None = None
    size = FREE_BLOCK if name == FREE else ASKED_BLOCK
    for number, block in enumerate(blocks(features, size)):
        if number not in parts:
            progress(done, total, f"{name}: loading" if explainer is None else name)
            if explainer is None or name == FREE:
                explainer = make(name, run)  # what a namer has read before must not matter
            records = [run.evidence.feature(index) for index in block]
            parts.write(number, map(asdict, explainer.explain(records)))
        done += len(block)
        progress(done, total, name)
    return done


def read(run: Run) -> dict[str, list[Explanation]]:
    """All explanations so far, by explainer, in the order of asking."""
    return {
        name: list(_explanations(Parts(folder(run) / name)))
        for name in run.options.explain.explainers
        if (folder(run) / name).is_dir()
    }


def _explanations(parts: Parts) -> Iterable[Explanation]:
    from semascope.explain.types import Cost, Explanation

    for record in parts.read():
        yield Explanation(**{**record, "cost": Cost(**record["cost"])})


def best(found: Mapping[str, Sequence[Explanation]]) -> dict[int, Explanation]:
    """For each feature its surest words; an abstention only where nobody has words.

    Confidence is each author's own, so a later author wins a tie alone.
    """
    chosen: dict[int, Explanation] = {}
    for explanations in found.values():
        for one in explanations:
            old = chosen.get(one.feature)
            if old is None or _sure(one) >= _sure(old):
                chosen[one.feature] = one
    return chosen


def in_need(alive: Sequence[int], found: Mapping[str, Sequence[Explanation]]) -> list[int]:
    """Alive features, those without words first, then those with the least sure words."""
    sure = {feature: _sure(one) for feature, one in best(found).items()}
    return sorted(alive, key=lambda feature: (sure.get(feature, -1.0), feature))


def _sure(one: Explanation) -> float:
    return -1.0 if one.abstained else one.confidence


def _figures(run: Run, alive: Sequence[int]) -> dict[str, Any]:
    found = read(run)
    chosen = best(found)
    with_words = [one for one in chosen.values() if not one.abstained]
    authors = Counter(name for name, ones in found.items() for o in ones if not o.abstained)
    return {
        "features_explained": len(with_words),
        "share_explained": len(with_words) / len(alive) if alive else 0.0,
        "by_explainer": dict(authors),
        "calls": sum(one.cost.calls for ones in found.values() for one in ones),
    }
