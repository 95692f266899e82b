"""What the monitor costs is measured in every situation, on a tiny model here."""

from __future__ import annotations

import pytest
from benchmarks import _clicks, monitor


def test_clicks_are_measured_alone_at_one_instant_and_at_the_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_clicks, "READS", (0.0, 0.02))
    monkeypatch.setattr(_clicks, "WORDS", 4)
    record = monitor.main("tiny:llava", 64, repeats=1, descriptions=50, tokens=2, page=1.0)
    title, rows = record.pop("tables")["clicks"]
    assert title and [len(row) for row in rows] == [6] * 5
    assert len({row["who clicks"] for row in rows}) == 5
    for row in rows:
        assert row["clicks"] >= 1 and 0 < row["seconds, p50"] <= row["seconds, p95"]
    for users in ("1_users", "8_users", "8_at_the_page"):
        seconds = record[f"seconds_click_to_clusters_p50_{users}"]
        assert 0 < seconds <= record[f"seconds_click_to_clusters_p95_{users}"]
        assert record[f"click_to_forward_backward_p50_{users}"] > 0
    assert record["page_answers"] >= 1 and record["page_megabytes_kept"] > 0
