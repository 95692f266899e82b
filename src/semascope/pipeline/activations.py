"""Where dictionaries' training reads: activations of sites, as the subject reads a corpus.

Chunk i is the forward passes over rows [i·rows, (i+1)·rows) of the corpus, so a run that is
killed finds its place and sees the same tokens again, to the bit. The pass stops at the site: the
layers above are never paid for. Samples of like length share a pass, so that little is padding,
and while the model runs a chunk, a thread draws and encodes the samples of the next one.

At sites of the vision side the tokens are those that a patch stands for, image tokens alone; a
batch without a picture gives none (``subject.patches``). Beside a site of the language model such
a site has zeros where no patch stands, and ``only`` says which kinds it has.

Tokens that a dictionary does not read (``subject.readable``) have kind 0 and are left out.

The activations of several sites lie side by side in one batch, so that they are shuffled as one.
Where several processes train together, each runs the model on its share of a chunk's passes and
all get all activations: every process sees the tokens that one alone would see, in the same order.

It knows subjects and corpora; of training it knows only the shape of a batch.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from semascope.corpus.sample import Corpus, Sample, SkipReport, kind_of
from semascope.dictionary.training.batches import ActivationBatch
from semascope.dictionary.training.distributed import ProcessGroup
from semascope.errors import CorpusError, SubjectError
from semascope.pipeline.accounts.samples import apart, of_batches, of_samples, told
from semascope.subject.patches import is_pictured, laid_out
from semascope.subject.protocols import ActivationSource
from semascope.subject.readable import read_kinds
from semascope.subject.types import Batch, Kind, TokenMap

if TYPE_CHECKING:
    from torch import Tensor

    from semascope.pipeline.accounts.samples import SampleAccount, Tally
    from semascope.pipeline.activation_cache import ActivationCache

log = logging.getLogger(__name__)
TOGETHER = 16
"""Samples of one forward pass."""
PROBE = 2
"""Chunks whose tokens are counted to foretell the others'."""
LONGEST_PROBE = 32
"""Chunks that are counted while none of them holds a token."""


class SiteChunks:
    """Chunks of activations by number, (N, Σ of the sites' widths); None past the last."""

    def __init__(
        self,
        subject: ActivationSource,
        corpus: Corpus,
        site: str | Sequence[str],
        *,
        rows: int,
        max_tokens: int,
    ) -> None:
        self.subject, self.corpus = subject, corpus
        self.sites = (site,) if isinstance(site, str) else tuple(site)
        self.rows, self.max_tokens = rows, max_tokens
        known = subject.sites()
        self.widths = tuple(int(known[one]) for one in self.sites)
        self.width = sum(self.widths)
        pictured = [one for one in self.sites if is_pictured(one)]
        both = len(pictured) < len(self.sites)
        self.only = {one: (int(Kind.IMAGE),) for one in pictured} if both else {}
        """Kinds of tokens that a site has, where another site has more."""
        self._widest = next((one for one in self.sites if one not in pictured), self.sites[0])
        self.ranks = ProcessGroup()
        self.on_read: Callable[[int], None] = lambda tokens: None
        """Told the tokens of every chunk that the model has read."""
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._ahead: tuple[int, Future[list[Batch]]] | None = None
        self.memory: ActivationCache | None = None
        """Where the activations of every sample that is read are kept, if anywhere."""
        self.kept = self.sites
        """The sites whose activations are kept there: not those that only targets are taken of."""
        self.refused = ""
        """Why the subject would not take the last sample that it refused."""
        self.warned: set[str] = set()
        """Kinds of refusal that a warning has named; the others of a kind are counted."""
        self.account: SampleAccount | None = None
        """Where what was read is counted, if anywhere."""
        self._tallies: dict[int, Tally] = {}
        self._begun: set[int] = set()

    def __len__(self) -> int:
        return math.ceil(len(self.corpus) / self.rows)

    def __call__(self, number: int) -> ActivationBatch | None:
        """Activations of chunk ``number``; None past the last."""
        if number >= len(self):
            return None
        batches = self._encoded_ahead(number)
        if not batches:
            self._counted(number)
            return ActivationBatch(torch.zeros(0, self.width), torch.zeros(0, dtype=torch.int8))
        kinds = [torch.from_numpy(np.stack([self._kinds(m) for m in b.maps])) for b in batches]
        dealt = range(self.ranks.rank, len(batches), self.ranks.size)
        found = [self._run(batches[i]) for i in dealt]
        if self.memory is not None and self.ranks.size == 1:
            kept = [{site: one[site] for site in self.sites if site in self.kept} for one in found]
            self.memory.keep(number, list(zip(batches, kept, strict=True)))
        mine = [self._taken(one, batches[i], kinds[i]) for one, i in zip(found, dealt, strict=True)]
        parts = self.ranks.exchange(mine, [int((kind != 0).sum()) for kind in kinds])
        x = torch.cat(parts).cpu().float()  # (N, Σ d)
        chunk = ActivationBatch(x, torch.cat([kind[kind != 0] for kind in kinds]))
        self._counted(number)
        self.on_read(len(chunk.x))
        return chunk

    def _counted(self, number: int) -> None:
        """Count a chunk that the model has read."""
        tally = self._tallies.pop(number, None)
        if self.account is not None and tally is not None:
            self.account.note(f"chunk {number}", tally)

    def _encoded_ahead(self, number: int) -> list[Batch]:
        """The batches of one chunk; those of the next are begun."""
        ready = self._ahead
        if ready is None or ready[0] != number:
            ready = (number, self._encoder.submit(self._batches, number))
        batches = ready[1].result()
        following = number + 1
        self._ahead = (following, self._encoder.submit(self._batches, following))
        return batches

    def tokens_a_chunk(self) -> float:
        """Tokens that a chunk is expected to give, counted without running the model."""
        tokens = probed = 0
        while probed < min(PROBE if tokens else LONGEST_PROBE, len(self)):
            for batch in self._encoder.submit(self._batches, probed).result():
                tokens += sum(int((self._kinds(map_) != 0).sum()) for map_ in batch.maps)
            probed += 1
        if not tokens:
            pictured = is_pictured(self._widest)
            raise CorpusError(
                f"The corpus {self.corpus.name} gives nothing to read: "
                f"{self.corpus.skipped.total} rows were skipped, and the others hold no tokens"
                f"{f' at {self._widest}, which reads pictures' if pictured else ''}. "
                f"{self.refused} Name another --corpus."
            )
        return tokens / probed

    def _batches(self, number: int) -> list[Batch]:
        """Encoded samples of one chunk; run in the one thread that encodes."""
        start, stop = number * self.rows, min((number + 1) * self.rows, len(self.corpus))
        read, report = apart(self.corpus, start, stop)
        if number not in self._begun:
            self._begun.add(number)
            self.corpus.skipped.reasons.update(report.reasons)
        samples = [sample for _, sample in read]
        tally = of_samples(stop - start, samples)
        samples.sort(key=_length)
        batches = [
            batch
            for first in range(0, len(samples), TOGETHER)
            for batch in self._encoded(samples[first : first + TOGETHER], report)
        ]
        self._tallies[number] = tally | told(report) | of_batches(batches)
        return batches

    def _encoded(self, samples: list[Sample], report: SkipReport) -> Iterator[Batch]:
        """One batch; where the subject refuses it, one for each sample that it takes."""
        try:
            batch: Batch = self.subject.encode(samples, max_tokens=self.max_tokens)
        except SubjectError as error:
            if len(samples) > 1:
                for one in samples:
                    yield from self._encoded([one], report)
                return
            self.refused = str(error)
            report.refuse(samples[0].id, self.refused)
            kind = kind_of(self.refused, samples[0].id)
            if kind not in self.warned:
                self.warned.add(kind)
                log.warning(
                    "sample %s was skipped (others like it are counted, not named): %s",
                    samples[0].id,
                    error,
                )
        else:
            yield batch

    @torch.inference_mode()
    def _run(self, batch: Batch) -> Mapping[str, Tensor]:
        """One forward pass: (B, T, d) at each site."""
        return self.subject.run(batch, list(self.sites))

    def _kinds(self, map_: TokenMap) -> NDArray[np.int8]:
        """(T,) the kind of each position, 0 where none of the sites is read."""
        return read_kinds(map_, self._widest)

    def _taken(self, found: Mapping[str, Tensor], batch: Batch, kind: Tensor) -> Tensor:
        """(n, Σ d) activations of the tokens whose (B, T) kind is not 0."""
        keep = (kind != 0).to(found[self.sites[0]].device)
        parts = [laid_out(site, found[site], batch)[0][keep] for site in self.sites]
        return torch.cat(parts, dim=1)


def _length(sample: Sample) -> tuple[int, int, str]:
    words = len(sample.text) + sum(len(turn.text) for turn in sample.turns)
    return len(sample.pictures), words, sample.id
