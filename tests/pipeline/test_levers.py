"""Which feature words stand for, where verbs about causes name one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from semascope import pipeline
from semascope.cli.opened import Opened
from semascope.workspace import Workspace

KEY = "resid_post.1/main"


def row(number: int, similarity: float, **scores: float) -> dict[str, Any]:
    return {"id": f"{KEY}/{number}", "similarity": similarity, "scores": scores}


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([row(4, 0.8, detection=0.6), row(9, 0.8, detection=0.9), row(2, 0.7, detection=1.0)], 9),
        ([row(4, 0.8), row(9, 0.8)], 4),
    ],
)
def test_of_features_called_the_same_the_one_whose_words_are_truest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], chosen: int
) -> None:
    monkeypatch.setattr(pipeline, "search", lambda space, words, limit: rows[:limit])
    assert Opened(Workspace(tmp_path)).feature("a flag") == (KEY, chosen)
