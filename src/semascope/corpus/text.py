"""The text corpus that ships with semascope: 30,000 passages of many kinds, and plain English.

Public-domain prose and verse, definitions, documentation, code, licences, and sentences and small
chats of our own about numbers, dates, versions, feelings and meals. ``recipes/make_text_corpus.py``
makes the file; NOTICE lists sources and licences. One passage in ten, by blocks of neighbours, is
held out.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import as_file, files
from typing import Literal

from semascope.corpus.sample import Role, Sample, Turn
from semascope.corpus.tabular.base import RowCorpus, digest
from semascope.errors import CorpusError

Split = Literal["train", "heldout"]


@dataclass(frozen=True, slots=True)
class Passage:
    """One passage with its origin."""

    id: str
    """First twelve digits of the content's SHA-256."""
    text: str
    turns: tuple[tuple[Role, str], ...]
    source: str
    licence: str
    prose: bool
    split: str


@lru_cache(maxsize=1)
def passages() -> tuple[Passage, ...]:
    """Every passage of the shipped file, in its order, read once."""
    import pyarrow.parquet as pq

    with as_file(files("semascope.corpus") / "data" / "text.parquet") as path:
        columns = pq.read_table(path).to_pydict()
    rows = zip(*(columns[name] for name in columns), strict=True)
    return tuple(_passage(dict(zip(columns, row, strict=True))) for row in rows)


def _passage(row: dict[str, object]) -> Passage:
    turns = tuple((turn["role"], turn["text"]) for turn in row.pop("turns"))  # type: ignore[attr-defined]
    content = str(row["text"]) or "\n".join(text for _, text in turns)
    return Passage(id=_sha(content)[:12], turns=turns, **row)  # type: ignore[arg-type]


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class TextCorpus(RowCorpus):
    """The shipped passages of one split, in an order drawn by the seed."""

    def __init__(self, split: Split = "train", seed: int = 0, n: int | None = None) -> None:
        if split not in ("train", "heldout"):
            raise CorpusError(f"The text corpus has the splits train and heldout, not {split!r}.")
        super().__init__("text" if split == "train" else f"text:{split}")
        chosen = [passage for passage in passages() if passage.split == split]
        # An order by hash is the same under every version of every library.
        chosen.sort(key=lambda passage: _sha(f"{seed} {passage.id}"))
        self.passages = chosen if n is None else chosen[:n]

    def __len__(self) -> int:
        return len(self.passages)

    def fingerprint(self) -> str:
        """Hash of the passages' content, in order."""
        return digest([self.name, *(passage.id for passage in self.passages)])

    def sample(self, row: int) -> Sample:
        """One passage: a document, or a chat if it has turns."""
        passage = self.passages[row]
        return Sample(
            id=passage.id,
            text=passage.text,
            turns=tuple(Turn(role, text) for role, text in passage.turns),
            source=passage.source,
        )


def plain_english(n: int = 200) -> list[str]:
    """Up to ``n`` held-out passages of public-domain prose (novels, addresses), for perplexity.

    The order is fixed; passages are of 200 characters and more.
    """
    prose = [p for p in passages() if p.prose and p.split == "heldout" and len(p.text) >= 200]
    prose.sort(key=lambda passage: _sha(f"plain {passage.id}"))
    return [passage.text for passage in prose[:n]]
