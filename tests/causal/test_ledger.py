"""A ledger that cannot be written says so in a sentence, and what was recorded is read again."""

from pathlib import Path

import pytest

from semascope.causal.search.ledger import Ledger
from semascope.errors import DiskFull, WorkspaceError


def test_a_full_disk_is_a_sentence() -> None:
    """Without: a search of hours ends in a bare OSError."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with pytest.raises(DiskFull):
        Ledger(Path("/dev/full")).do("part", lambda: 1)


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="cannot be written"):
        Ledger(tmp_path / "file" / "parts.jsonl").do("part", lambda: 1)


def test_half_a_line_is_dropped_and_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "parts.jsonl"
    first = Ledger(path, {"seed": 1})
    first.do("one", lambda: 1)
    first.do("two", lambda: 2)
    path.write_text(path.read_text()[:-5])
    again = Ledger(path, {"seed": 1})
    assert again.parts == {"one": 1}
    assert again.do("two", lambda: 3) == 3
    assert Ledger(path, {"seed": 1}).parts == {"one": 1, "two": 3}
    assert Ledger(path, {"seed": 2}).parts == {}
