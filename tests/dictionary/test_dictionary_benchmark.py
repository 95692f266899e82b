"""The benchmark beside the peers, with the peers away: named, null, and valid JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks import dictionary as bench


def test_an_absent_peer_is_skipped_by_name_and_we_reconstruct_what_is_asked(
    tmp_path: Path,
) -> None:
    """The contestants live in processes of their own; ours must agree before it is timed."""
    flags = "--widths 2 --d-in 16 --batch 32 --k 4 --rounds 1 --steps 1 --threads 1".split()
    options = bench.parse([*flags, "--peers", "nobody"])
    ours, peer = bench.measure(2, ["semascope", "nobody"], options, tmp_path)
    assert not ours.skipped and ours.difference < 1e-4 and ours.wall_ms > 0
    assert "nobody" in peer.skipped
    rows = [bench.plain(row) for row in (ours, peer)]
    json.dumps(rows, allow_nan=False)
    assert rows[1]["wall_ms"] is None and rows[1]["ratio_to_sparsify"] == {
        "cpu": None,
        "wall": None,
    }
    assert "skipped" in bench.table([ours, peer])


def test_wrong_reconstructions_are_not_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A contestant that does less work must not win."""
    monkeypatch.setattr(bench, "TOLERANCE", -1.0)
    flags = "--widths 2 --d-in 16 --batch 32 --k 4 --rounds 1 --steps 1 --threads 1".split()
    (ours,) = bench.measure(2, ["semascope"], bench.parse(flags), tmp_path)
    assert "differs" in ours.skipped and bench.plain(ours)["steps_per_second"] is None
