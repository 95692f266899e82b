"""Hugging Face datasets by name, through the ``datasets`` library, if it is installed.

Rows are read as Arrow, undecoded, so that a damaged picture costs its row only. The library handles
network and cache.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from semascope.corpus.tabular.base import BadRow, digest
from semascope.corpus.tabular.text_tables import Records
from semascope.corpus.tabular.to_sample import DatasetLayout
from semascope.errors import CorpusError

SPLITS = re.compile(r"(train|test|val|valid|validation|dev)\b.*|.*\[.*\]")


def parse(name: str) -> tuple[str, str | None, str]:
    """(dataset, configuration, split) of ``name``, ``org/name@config/split``; split train if none.

    What follows the last slash is the split if the name has three parts or it looks like a split.
    """
    head, slash, tail = name.rpartition("/")
    if slash and (head.count("/") == 1 or SPLITS.fullmatch(tail)):
        path, split = head, tail
    else:
        path, split = name, "train"
    dataset, _, config = path.partition("@")
    return dataset, config or None, split


class HubRows(Records):
    """The rows of one split."""

    def __init__(self, name: str, layout: dict[str, Any]) -> None:
        try:
            import datasets
        except ImportError as error:
            raise CorpusError(
                "Hugging Face datasets by name need the library of that name: "
                "pip install 'semascope[datasets]'."
            ) from error
        dataset, config, split = parse(name)
        try:
            loaded = datasets.load_dataset(dataset, config, split=split)
        except (OSError, ValueError, RuntimeError) as error:
            raise CorpusError(
                f"The dataset {dataset} (split {split}) cannot be loaded: {error}"
            ) from error
        home = Path(str(datasets.config.HF_CACHE_HOME))
        images = [k for k, f in loaded.features.items() if type(f).__name__ == "Image"]
        layout = {"image": images[0] if images else None, **layout}
        super().__init__(f"hf:{name}", [], DatasetLayout(root=home, **layout))
        self.rows = loaded.with_format("arrow")
        self.mark = str(getattr(loaded, "_fingerprint", "")) or repr(loaded)

    def __len__(self) -> int:
        return len(self.rows)

    def fingerprint(self) -> str:
        """The library's own."""
        return digest([self.name, self.mark, str(self.layout.image), str(self.layout.text)])

    def record(self, row: int) -> object:
        """The row as Python objects, pictures as bytes."""
        try:
            return self.rows[row : row + 1].to_pylist()[0]
        except UnicodeDecodeError as error:
            raise BadRow("text is not UTF-8") from error
        except (OSError, ValueError, IndexError) as error:
            raise BadRow("row cannot be read") from error
