"""The tables of the documents: written from what was measured, and from nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recipes import figures


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A readme with two marks, and one measurement."""
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    monkeypatch.setattr(figures, "FIGURES", tmp_path / "docs" / "figures")
    (tmp_path / "README.md").write_text(
        "before\n<!-- figures: demo -->\nstale 0.99\n<!-- /figures -->\nbetween\n"
        "<!-- figures: card -->\n<!-- /figures -->\nafter\n"
    )
    record = {
        "title": "The demo",
        "command": "semascope report --json",
        "measured": "2026-01-02",
        "machine": "2 cores",
        "figures": {"fvu": 0.12345, "none": None, "seconds": {"train": 400.5}, "asked": {"a": 1}},
    }
    figures.keep(tmp_path / "docs" / "figures" / "demo.json", record)
    return tmp_path


def test_tables_say_what_was_measured_and_nothing_else(house: Path) -> None:
    """A figure that stays after its measurement changed would be a lie."""
    readme = house / "README.md"
    assert figures.refresh(readme, write=True)
    text = readme.read_text()
    assert "stale" not in text
    assert "| fvu | 0.123 |" in text
    assert "| seconds.train | 400.5 |" in text
    assert "asked" not in text
    assert "`semascope report --json`: 2 cores, 2026-01-02" in text
    assert "Not measured yet" in text
    assert text.startswith("before\n") and text.endswith("after\n")
    assert not figures.refresh(readme, write=True)


def test_checking_changes_nothing(house: Path) -> None:
    """``--check`` is for a commit hook."""
    before = (house / "README.md").read_text()
    assert figures.refresh(house / "README.md", write=False)
    assert (house / "README.md").read_text() == before


def test_rows_and_columns_are_a_table_too(house: Path) -> None:
    """Benchmarks compare; a flat record cannot."""
    record = {
        "title": "Speed",
        "columns": ["who", "tokens/s"],
        "rows": [["us", 1200], ["a|b", 3.5]],
    }
    figures.keep(house / "docs" / "figures" / "bench.json", record)
    table = figures.table("bench")
    assert "| us | 1,200 |" in table
    assert "| a\\|b | 3.500 |" in table


def test_the_measured_card_ships_beside_what_it_says(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``semascope model card`` prints the package's copy: new figures must reach it."""
    card = house / "card.json"
    monkeypatch.setattr(figures, "CARD", card)
    card.write_text(json.dumps({"about": "a small LLaVA", "figures": {"presence": 0.1}}))
    figures.ship({"figures": {"presence": 0.9}})
    assert json.loads(card.read_text()) == {
        "name": "sprite-llava",
        "about": "a small LLaVA",
        "figures": {"presence": 0.9},
    }


def test_a_list_of_records_is_a_table_without_being_written_by_hand(house: Path) -> None:
    """A curve's members are the table; what is not known is a dash."""
    one = {"id": "a", "width": 576, "alive": 500, "share": 0.25, "chance": 0.0, "half": None}
    record = {"title": "By width", "figures": {"dictionaries": [one], "scenes": 9}}
    figures.keep(house / "docs" / "figures" / "completeness.json", record)
    assert "| a | 576 | 500 | 0.250 | 0.000 | – |" in figures.table("completeness")


def test_a_table_of_earlier_weights_says_so(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new embedded model must not be told by the old one's figures."""
    path = house / "docs" / "figures" / "demo.json"
    record = json.loads(path.read_text()) | {"weights": figures.weights()}
    figures.keep(path, record)
    assert "earlier weights" not in figures.table("demo")
    figures.keep(path, record | {"weights": "0" * 12})
    assert "2026-01-02, on earlier weights of the embedded model." in figures.table("demo")


def test_the_account_of_what_was_read_is_no_figure() -> None:
    """Without: the README's table has sixty rows of rows, pictures and tokens."""
    printed = {"fvu": 0.1, "read": {"train": {"rows": 6}}, "seconds": {"train": 5.0}}
    assert figures.figures_of("demo", printed) == {"fvu": 0.1, "seconds": {"train": 5.0}}
    assert figures.figures_of("card", printed) == printed


def test_measuring_makes_the_workspace_first_and_goes_on_after_a_failure(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything measured anew by one command, also where one measurement fails."""
    ran: list[str] = []

    def semascope(command: list[str], env: object) -> tuple[int, str]:
        ran.append(" ".join(command))
        return (1, "") if command[:2] == ["evaluate", "shared"] else (0, '{"fvu": 0.1}')

    monkeypatch.setattr(figures, "_semascope", semascope)
    monkeypatch.setattr(figures, "STANDING", {})
    assert figures.measure_all(["word", "shared", "alignment"], None, 2) == ["shared"]
    assert sum(one.startswith("demo") for one in ran) == 1, "made once for all that look at it"
    made = [one for one in ran if "workspace/early" in one]
    assert [one.split()[0] for one in made] == ["train", "gather", "find"]
    kept = json.loads((house / "docs" / "figures" / "word.json").read_text())
    assert kept["figures"] == {"fvu": 0.1}
    assert kept["weights"] == figures.weights()
    assert not (house / "docs" / "figures" / "shared.json").exists()
