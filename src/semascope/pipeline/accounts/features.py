"""What the stages after gathering read: samples of the evidence, and features, with what they left.

The counterpart of ``account``, which counts the corpus. ``evaluate.read`` puts both into words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from semascope.pipeline.accounts.replies import kind_of
from semascope.subject.types import Kind

if TYPE_CHECKING:
    from semascope.evidence import Evidence
    from semascope.evidence.types import Split
    from semascope.explain.types import Explanation, Score

DEAD = "dead: they fired on none of the evidence"
NO_WORDS = "no explanation"


def of_evidence(evidence: Evidence, split: Split | None = None) -> dict[str, Any]:
    """Samples, pictures and tokens by kind of the evidence, or of one of its splits."""
    tokens: Counter[str] = Counter()
    samples = pictures = 0
    for number in range(len(evidence.shown)):
        shown = evidence.shown.get(number)
        if split is not None and shown.split != split:
            continue
        samples += 1
        pictures += len(shown.media)
        kinds, counts = np.unique(shown.kinds, return_counts=True)
        tokens.update(
            {Kind(int(k)).name.lower(): int(n) for k, n in zip(kinds, counts, strict=True)}
        )
    tokens.pop("pad", None)
    return {
        "rows": len(evidence.shown),
        "samples": samples,
        "pictures": pictures,
        "tokens": dict(tokens),
        "split": split or "",
    }


def of_explaining(
    evidence: Evidence, alive: Sequence[int], chosen: Mapping[int, Explanation]
) -> dict[str, Any]:
    """Of the explain split: how many features got words, and why the others none."""
    silent = (chosen[f] for f in alive if f in chosen and chosen[f].abstained)
    left = Counter(kind_of(one.description) for one in silent)
    left["not asked about"] = sum(f not in chosen for f in alive)
    explained = sum(f in chosen and not chosen[f].abstained for f in alive)
    left[DEAD] = evidence.width - len(alive)
    return of_evidence(evidence, "explain") | _features("explained", evidence, explained, left)


def of_scoring(evidence: Evidence, words: Iterable[int], scores: Iterable[Score]) -> dict[str, Any]:
    """Of the score split: how many explained features have a score, and how many none."""
    explained, scored = set(words), {score.feature for score in scores}
    left = Counter({
        NO_WORDS: evidence.width - len(explained),
        "explained, and too few held-out samples to score": len(explained - scored),
    })  # fmt: skip
    done = len(explained & scored)
    return of_evidence(evidence, "score") | _features("scored", evidence, done, left)


def of_indexing(evidence: Evidence, vectors: int) -> dict[str, Any]:
    """All features are written; those with words have a sentence vector too."""
    left = Counter({f"{NO_WORDS}, so not found by meaning": evidence.width - vectors})
    return of_evidence(evidence) | _features("searchable", evidence, vectors, left)


def _features(verb: str, evidence: Evidence, done: int, left: Counter[str]) -> dict[str, Any]:
    """``done`` of the dictionary's features; with ``left`` they add up to all of them."""
    return {
        "features": {"verb": verb, "done": done, "of": evidence.width},
        "features_left": {reason: number for reason, number in left.items() if number},
    }
