"""Where training reads: batches of activations by step, the same after a resume as before.

A ``Source`` yields the batch of step s, s+1, … from any s. ``ShuffleBuffer`` makes one from
numbered chunks (one forward pass each, say): it fills a bounded block with whole chunks, permutes
it with a generator seeded by (seed, block) and deals it out, so all that must be remembered to
resume is where the current block began.

Knows tensors only: not what made them, nor what kinds mean, but that kind 0 is to be ignored.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from semascope.errors import DictionaryError


class ActivationBatch(NamedTuple):
    """Activations of N tokens."""

    x: Tensor
    """(N, d) float32."""
    kind: Tensor
    """(N,) int8; 0 is padding and takes no part, other values are groups to report by."""
    target: Tensor | None = None
    """(N, d_out) float32, what a transcoder reconstructs."""

    def kept(self) -> ActivationBatch:
        """Without the tokens of kind 0."""
        keep = self.kind != 0
        if bool(keep.all()):
            return self
        target = None if self.target is None else self.target[keep]
        return ActivationBatch(self.x[keep], self.kind[keep], target)

    def rows(self, index: Tensor | slice) -> ActivationBatch:
        """Some of its tokens."""
        target = None if self.target is None else self.target[index]
        return ActivationBatch(self.x[index], self.kind[index], target)


@runtime_checkable
class Source(Protocol):
    """Activation batches by step."""

    def batches(self, start_step: int) -> Iterator[ActivationBatch]:
        """Yield the batches from step ``start_step`` on; the same at every call."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """A source that finds its place faster with a note of where it was."""

    def position(self) -> Mapping[str, int]:
        """A note to keep with a checkpoint, taken after the batch of the last step was yielded."""
        ...

    def restore(self, position: Mapping[str, int]) -> None:
        """Take back such a note before ``batches``."""
        ...


class TensorSource:
    """All activations in memory (or mapped from disk), shuffled anew each epoch."""

    def __init__(
        self,
        x: Tensor,
        kind: Tensor | None = None,
        *,
        batch_size: int = 2048,
        seed: int = 0,
        target: Tensor | None = None,
    ) -> None:
        if not 0 < batch_size <= len(x):
            raise DictionaryError(
                f"A batch of {batch_size} tokens cannot be drawn from {len(x)}; lower batch_size."
            )
        kind = torch.ones(len(x), dtype=torch.int8) if kind is None else kind
        self._all = ActivationBatch(x, kind, target)
        self._batch_size = batch_size
        self._seed = seed

    def batches(self, start_step: int) -> Iterator[ActivationBatch]:
        """Endless: epoch e is a permutation drawn from (seed, e), its last part batch dropped."""
        per_epoch = len(self._all.x) // self._batch_size
        step = start_step
        while True:
            epoch, first = divmod(step, per_epoch)
            order = torch.randperm(len(self._all.x), generator=_generator(self._seed, epoch))
            for i in range(first, per_epoch):
                at = order[i * self._batch_size : (i + 1) * self._batch_size]
                yield self._all.rows(at)
                step += 1


class ShuffleBuffer:
    """Numbered chunks, shuffled through a bounded block.

    Args:
        chunk: the tokens of chunk i, or None past the last; the same tokens at every call.
        batch_size: tokens of each batch yielded. What is left of a block, less than one batch, is
            dropped, so that a block depends on its own chunks alone.
        block_tokens: a block ends once it holds so many; memory is this and one chunk.
        seed: of every permutation.
        repeat: begin again at chunk 0 past the last one; otherwise end.
    """

    def __init__(
        self,
        chunk: Callable[[int], ActivationBatch | None],
        *,
        batch_size: int,
        block_tokens: int = 65_536,
        seed: int = 0,
        repeat: bool = True,
    ) -> None:
        if batch_size < 1 or block_tokens < batch_size:
            raise DictionaryError(
                f"A block of {block_tokens} tokens cannot deal batches of {batch_size}; "
                "raise block_tokens or lower batch_size."
            )
        self._chunk = chunk
        self._batch_size = batch_size
        self._block_tokens = block_tokens
        self._seed = seed
        self._repeat = repeat
        self._note = {"block": 0, "step": 0, "chunk": 0, "pass": 0}

    def position(self) -> Mapping[str, int]:
        """Where the block of the last batch began."""
        return dict(self._note)

    def restore(self, position: Mapping[str, int]) -> None:
        """Begin at that block instead of replaying from the first."""
        self._note = {key: int(position[key]) for key in self._note}

    def batches(self, start_step: int) -> Iterator[ActivationBatch]:
        """From the noted block where that is early enough, otherwise from the first chunk."""
        note = dict(self._note)
        if note["step"] > start_step:
            note = {"block": 0, "step": 0, "chunk": 0, "pass": 0}
        while True:
            tokens, after, passes, ended = self._fill(note["chunk"], note["pass"])
            count = 0 if tokens is None else len(tokens.x) // self._batch_size
            if tokens is not None and note["step"] + count > start_step:
                self._note = note
                order = torch.randperm(
                    len(tokens.x), generator=_generator(self._seed, note["block"])
                )
                for i in range(max(0, start_step - note["step"]), count):
                    at = order[i * self._batch_size : (i + 1) * self._batch_size]
                    yield tokens.rows(at)
            if ended:
                return
            note = {
                "block": note["block"] + 1,
                "step": note["step"] + count,
                "chunk": after,
                "pass": passes,
            }

    def _fill(self, chunk: int, passes: int) -> tuple[ActivationBatch | None, int, int, bool]:
        """One block from ``chunk`` on: its tokens, the next chunk, the pass, whether all ended."""
        parts: list[ActivationBatch] = []
        held, entered = 0, passes
        while held < self._block_tokens:
            part = self._chunk(chunk)
            if part is None:
                if not self._repeat:
                    return _join(parts), chunk, passes, True
                if chunk == 0 or (held == 0 and passes > entered + 1):
                    raise DictionaryError(
                        "There is nothing to train on: the chunks hold no activations."
                    )
                chunk, passes = 0, passes + 1
                continue
            chunk += 1
            part = part.kept()
            held += len(part.x)
            parts.append(part)
        return _join(parts), chunk, passes, False


class Prefetch:
    """A source whose next batches are made in a thread while the last one is being used."""

    def __init__(self, source: Source, depth: int = 2) -> None:
        self._source = source
        self._depth = max(1, depth)
        self._note: Mapping[str, int] = {}

    def position(self) -> Mapping[str, int]:
        """The note that belongs to the last batch handed out, not to the last one made."""
        return self._note

    def restore(self, position: Mapping[str, int]) -> None:
        """Passed on."""
        if isinstance(self._source, Resumable):
            self._source.restore(position)

    def batches(self, start_step: int) -> Iterator[ActivationBatch]:
        """As the source's own; an error there is raised here."""
        items: queue.Queue[tuple[ActivationBatch, Mapping[str, int]] | Exception | None]
        items = queue.Queue(self._depth)
        stop = threading.Event()
        worker = threading.Thread(
            target=self._make, args=(start_step, items, stop), name="prefetch", daemon=True
        )
        worker.start()
        try:
            while (item := items.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                batch, self._note = item
                yield batch
        finally:
            stop.set()
            while worker.is_alive():
                try:
                    items.get(timeout=0.05)
                except queue.Empty:
                    worker.join(timeout=0.05)

    def _make(
        self,
        start_step: int,
        items: queue.Queue[tuple[ActivationBatch, Mapping[str, int]] | Exception | None],
        stop: threading.Event,
    ) -> None:
        try:
            for batch in self._source.batches(start_step):
                note = self._source.position() if isinstance(self._source, Resumable) else {}
                items.put((batch, note))
                if stop.is_set():
                    return
        except Exception as error:  # noqa: BLE001 - raised again by the consumer, unchanged
            items.put(error)
            return
        items.put(None)


def _join(parts: list[ActivationBatch]) -> ActivationBatch | None:
    """One batch of several."""
    if not parts:
        return None
    targets = [p.target for p in parts if p.target is not None]
    return ActivationBatch(
        torch.cat([p.x for p in parts]),
        torch.cat([p.kind for p in parts]),
        torch.cat(targets) if targets else None,
    )


def _generator(seed: int, number: int) -> torch.Generator:
    """A generator for part ``number`` of a seeded sequence."""
    mixed = (seed * 0x9E3779B97F4A7C15 + number * 0xD1B54A32D192ED03 + 0x632BE5AB) % (1 << 63)
    return torch.Generator().manual_seed(mixed)
