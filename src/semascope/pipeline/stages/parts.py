"""Results of long work as numbered parts on disk: each is there whole, or not at all.

What is done is what has a file; nothing else is remembered, so nothing can disagree.
Knows records as JSON and no meaning of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from semascope.errors import WorkspaceError
from semascope.files import write_text


class Parts:
    """A folder of parts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __contains__(self, number: int) -> bool:
        return self._path(number).is_file()

    def write(self, number: int, records: Iterable[Any]) -> None:
        """One part, whole."""
        write_text(self._path(number), "".join(json.dumps(r) + "\n" for r in records))

    def read(self) -> Iterator[dict[str, Any]]:
        """All records, part after part.

        Raises WorkspaceError for a part that is not what ``write`` wrote.
        """
        for path in sorted(self.folder.glob("part-*.jsonl")):
            yield from _records(path)

    def one(self, number: int) -> Iterator[dict[str, Any]]:
        """The records of one part that is there; raises as ``read`` does."""
        return _records(self._path(number))

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.jsonl"


def _records(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError as error:
            raise WorkspaceError(
                f"{path} cannot be read ({error}). Delete it and run the command again."
            ) from error
        yield record


def blocks(items: list[int], size: int) -> list[list[int]]:
    """Cut at fixed places, so that a resumed run has the same blocks."""
    return [items[first : first + size] for first in range(0, len(items), size)]
