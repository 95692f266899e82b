"""The benchmark compares like with like: its own figures of exactness can fail."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks import _evidence_runs as runs


def test_evidence_equals_keeping_everything_and_a_fault_would_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a subject of noise; then with one peak of the truth changed, and one token not counted."""
    found = runs.exact("tiny:llama", rows=12, multiple=1)
    assert found["features"] > 8
    assert (found["top_equal"], found["counts_equal"]) == (1, 1)
    everything = runs._everything

    def wrong(*parts: object) -> tuple[np.ndarray, np.ndarray]:
        peaks, fired = everything(*parts)  # type: ignore[arg-type]
        alive = np.flatnonzero(fired)
        peaks[0, alive[0]] += 1
        fired[alive[1]] += 1
        return peaks, fired

    monkeypatch.setattr(runs, "_everything", wrong)
    spoilt = runs.exact("tiny:llama", rows=12, multiple=1)
    assert spoilt["top_equal"] == spoilt["counts_equal"] == 1 - 1 / found["features"]


def test_random_words_repeat_and_no_two_texts_are_alike() -> None:
    """The memory curve must not be flattered by rows that count once."""
    texts = [sample.text for _, sample in runs.Babble(50).read()]
    assert len(set(texts)) == 50
    assert [sample.text for _, sample in runs.Babble(50).read(10, 12)] == texts[10:12]
