"""A record of the finished parts of a long measurement, so that it resumes where it stopped.

A part is a key and a JSON value, appended as one line as soon as it is known. Opened again with
the same options, the ledger skips finished parts; with other options it starts afresh. A partial
last line, from a process killed while writing, is dropped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from semascope.files import disk_guard, write_text


class Ledger:
    """Parts by key; in memory only without a path."""

    def __init__(self, path: Path | None = None, options: Mapping[str, Any] | None = None) -> None:
        """Open, or begin, the parts measured under ``options`` (anything JSON can hold)."""
        self.path = path
        self.stamp = stamp(options or {})
        self.parts: dict[str, Any] = {}
        if path is not None and path.is_file():
            self._read(path)

    def _read(self, path: Path) -> None:
        """Read finished parts; none if they were measured under other options."""
        lines = path.read_text(encoding="utf-8").split("\n")
        if lines[0] != json.dumps({"options": self.stamp}):
            path.unlink()
            return
        for line in lines[1:-1]:  # the last is empty, or half written
            part = json.loads(line)
            self.parts[part["key"]] = part["value"]
        if lines[-1]:
            write_text(path, "\n".join(lines[:-1]) + "\n")

    def do(self, key: str, work: Callable[[], Any]) -> Any:
        """The part of that key: recorded, or measured now and recorded.

        Raises:
            DiskFull: the disk is full.
            WorkspaceError: the folder cannot be written.
        """
        if key not in self.parts:
            self.parts[key] = work()
            self._append(key)
        return self.parts[key]

    def _append(self, key: str) -> None:
        if self.path is None:
            return
        with disk_guard(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh = not self.path.is_file()
            with self.path.open("a", encoding="utf-8") as file:
                if fresh:
                    file.write(json.dumps({"options": self.stamp}) + "\n")
                file.write(json.dumps({"key": key, "value": self.parts[key]}) + "\n")


def stamp(value: Any) -> str:
    """A short hash of anything JSON can hold."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
