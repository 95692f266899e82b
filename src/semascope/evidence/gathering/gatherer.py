"""Evidence for every feature of all dictionaries, in one pass over the corpus.

The pass is cut into shards, each resumable; a shard is a call of ``(data, rank, world_size)``,
as datatrove's executors make it, and ``merge`` ends the run. ``gather`` is one shard and its
merge. Knows how the parts are put together, and nothing of what they do.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semascope.atlas.media import Media
from semascope.corpus.sample import Corpus
from semascope.dictionary.types import Dictionary
from semascope.errors import EvidenceError
from semascope.evidence.gathering.merge import finish
from semascope.evidence.gathering.options import (
    EvidenceOptions,
    fits,
    identity,
    keyed,
    same,
    shard_rows,
)
from semascope.evidence.gathering.shard import EVERY, Progress, Shard
from semascope.evidence.store.files import GATHERING, only_writer
from semascope.subject.protocols import ActivationSource

log = logging.getLogger(__name__)
_SHARDS = "shards"


@dataclass
class Gatherer:
    """One gathering; holds what every shard needs. Call it to run a shard."""

    subject: ActivationSource
    corpus: Corpus
    dictionaries: Sequence[Dictionary]
    folder: Path
    media: Path
    options: EvidenceOptions = field(default_factory=EvidenceOptions)
    rows: int | None = None
    """Read the first rows alone; all where None."""
    progress: Progress | None = None
    every: int = EVERY
    """Rows between two checkpoints."""
    store_all: bool = False
    """Keep every activation too, in Parquet; see ``everything``."""

    def __post_init__(self) -> None:
        self.options.check()
        self.folder, self.media = Path(self.folder), Path(self.media)
        self._keyed = keyed(self.dictionaries)
        fits(self.subject, self._keyed)
        whole = len(self.corpus)
        total = whole if self.rows is None else min(self.rows, whole)
        if total < 1:
            raise EvidenceError(f"The corpus {self.corpus.name} has no rows to read.")
        self._identity = identity(self.subject, self.corpus, self._keyed, total, self.options)
        if self.store_all:
            self._identity["store_all"] = True

    def done(self) -> bool:
        """Whether the files stand; an EvidenceError where they are another gathering's."""
        path = self.folder / GATHERING
        if not path.is_file():
            return False
        same(json.loads(path.read_text())["identity"], self._identity, self.folder)
        return True

    def shard(self, rank: int = 0, world_size: int = 1) -> Shard:
        """One shard, nothing read yet."""
        start, stop = shard_rows(self._identity["rows"], self.options.chunk, rank, world_size)
        return Shard(
            folder=self.folder / _SHARDS / f"{rank:05d}-of-{world_size:05d}",
            identity=self._identity,
            start=start,
            stop=stop,
            options=self.options,
            widths={k: d.width for k, d in self._keyed.items()},
            media=Media(self.media),
            store=self.store_all,
        )

    def __call__(
        self, data: Iterable[Any] | None = None, rank: int = 0, world_size: int = 1
    ) -> Iterator[Any]:
        """Run one shard: a datatrove pipeline step that passes nothing on."""
        self.run(rank, world_size)
        yield from ()

    def run(self, rank: int = 0, world_size: int = 1) -> None:
        """Run one shard to its end, from where it stopped."""
        shard = self.shard(rank, world_size)
        shard.run(self.subject, self.corpus, self._keyed, self.progress, self.every)

    def merge(self, world_size: int = 1) -> None:
        """Put all shards together into the final files, and remove the shards."""
        with only_writer(self.folder):
            if self.done():
                return
            shards = [self.shard(rank, world_size) for rank in range(world_size)]
            for shard in shards:
                if not shard.load():
                    raise EvidenceError(f"No shard in {shard.folder}: run it, then merge again.")
            if self.progress:
                self.progress(len(shards), len(shards), "putting the evidence together")
            finish(self.folder, shards, self._keyed)
            shutil.rmtree(self.folder / _SHARDS)


def gather(
    subject: ActivationSource,
    corpus: Corpus,
    dictionaries: Sequence[Dictionary],
    folder: Path | str,
    *,
    media: Path | str | Media,
    top: int = 24,
    per_interval: int = 5,
    batch_size: int = 8,
    rows: int | None = None,
    progress: Progress | None = None,
    options: EvidenceOptions | None = None,
    every: int = EVERY,
    store_all: bool = False,
) -> None:
    """One pass over ``corpus`` for all features of all ``dictionaries``, into ``folder``.

    Resumes where an earlier call was killed; returns at once where the files stand. ``media``
    is the folder that pictures are put into. ``options``, where given, overrules ``top``,
    ``per_interval`` and ``batch_size``. ``progress(done, total, note)`` counts rows.
    ``store_all`` keeps every activation beside the exemplars, for ``Evidence.everything``.

    Raises EvidenceError where the folder holds another gathering, or another process writes
    into it; NotFinite where a dictionary gives NaN; DiskFull.
    """
    chosen = options or EvidenceOptions(top=top, per_interval=per_interval, batch_size=batch_size)
    gatherer = Gatherer(
        subject=subject,
        corpus=corpus,
        dictionaries=dictionaries,
        folder=Path(folder),
        media=media.folder if isinstance(media, Media) else Path(media),
        options=chosen,
        rows=rows,
        progress=progress,
        every=every,
        store_all=store_all,
    )
    if not gatherer.done():
        gatherer.run()
        gatherer.merge()
