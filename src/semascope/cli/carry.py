"""The verbs that carry things in and out: a dictionary's format, a run's features as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import tyro

from semascope.cli.base import InWorkspace, Verb
from semascope.errors import WorkspaceError
from semascope.workspace import write_text


class Convert(Verb):
    """Read a dictionary's checkpoint, whatever its format, and write it in another."""

    source: tyro.conf.Positional[Path]
    """The checkpoint: a folder or a file; its format is found by looking."""
    target: tyro.conf.Positional[Path]
    """Where to write it."""
    to: str = "sparsify"
    """The format to write."""

    def run(self) -> int:
        """Convert, and say where it lies."""
        from semascope.dictionary import load, save

        save(load(self.source), self.target, to=self.to)
        print(self.target)
        return 0


class Export(InWorkspace):
    """Every alive feature with its words and scores, as JSON lines or as a table."""

    target: tyro.conf.Positional[Path]
    """The file to write."""
    format: Literal["auto", "jsonl", "csv"] = "auto"
    """auto looks at the file's name."""

    def run(self) -> int:
        """Write the file whole, and say how many features it holds."""
        record = self.space.require("index")
        rows = list(self._rows(f"{record.site}/{record.dictionary}"))
        kind = self.format
        if kind == "auto":
            kind = "csv" if self.target.suffix == ".csv" else "jsonl"
        if self.target.is_dir():
            raise WorkspaceError(f"{self.target} is a folder. Name a file to write.")
        write_text(self.target, as_csv(rows) if kind == "csv" else as_lines(rows))
        print(f"{self.target} ({len(rows)} features)")
        return 0

    def _rows(self, key: str) -> list[dict[str, Any]]:
        from semascope.atlas import Atlas

        with Atlas.open(self.space.atlas) as atlas:
            page = atlas.features(key, where={"alive": True}, limit=10_000_000)
        return [
            {
                "id": row.id,
                "label": row.label,
                "description": row.description,
                "category": row.category,
                "author": row.author,
                "confidence": row.confidence,
                "abstained": row.abstained,
                "modality": row.modality,
                "density": row.density,
                "max": row.max,
                "samples": row.samples,
                **{kind: score.value for kind, score in sorted(row.scores.items())},
            }
            for row in page.rows
        ]


def as_lines(rows: list[dict[str, Any]]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_csv(rows: list[dict[str, Any]]) -> str:
    """A table with every column that any row has."""
    import csv
    import io

    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
