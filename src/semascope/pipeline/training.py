"""The first stage: a dictionary for one site, trained while the subject reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semascope.dictionary.activations import ActivationBatch
from semascope.pipeline.context import Run
from semascope.pipeline.rows import Subset, held_out_rows, training_rows
from semascope.pipeline.source import SiteChunks
from semascope.pipeline.stage import Progress
from semascope.subject.types import Kind

if TYPE_CHECKING:
    from semascope.dictionary import GroupQuality

BATCH = 1024
"""Tokens a step of the optimiser."""
BLOCK = 16 * BATCH
"""Tokens shuffled together: what a resumed run reads again, at most."""
HELD_OUT = 240
"""Samples on which the dictionary is measured."""
CHECKPOINT = 32
"""Steps between two whole states."""


def train_dictionary(run: Run, progress: Progress) -> Mapping[str, Any]:
    """Train, or go on; measure the result on tokens that training never read."""
    from semascope.dictionary import ShuffleBuffer, TrainConfig, quality, train

    options = run.options.train
    progress(0, 1, "loading the subject")
    site = run.site
    seen = Subset(run.corpus, training_rows(run.corpus, options.seed))
    chunks = run.chunks(seen)
    progress(0, 1, "counting tokens")
    a_chunk = chunks.tokens_a_chunk()
    batch = min(BATCH, options.tokens, max(1, int(a_chunk * len(chunks))))
    steps = -(-options.tokens // batch)
    config = TrainConfig(
        width=options.latents,
        k=options.k,
        steps=steps,
        lr=options.lr,
        seed=options.seed,
        b_dec_tokens=min(BLOCK, steps * batch),
        checkpoint_every=CHECKPOINT,
    )

    told = _Told(progress, run.workspace.dictionary(site, options.name), batch, steps)
    chunks.on_read = told.read
    source = ShuffleBuffer(
        chunks, batch_size=batch, block_tokens=max(BLOCK, batch), seed=options.seed
    )
    folder = run.workspace.dictionary(site, options.name)
    report = train(source, config, folder, told.stepped, site=site, name=options.name)
    told.say("measuring on held-out tokens")
    held = Subset(run.corpus, held_out_rows(run.corpus, options.seed, HELD_OUT))
    found = quality(report.coder, _all(run.chunks(held)))
    return {
        "tokens": report.tokens,
        "steps": steps,
        **_figures(found.all),
        "held_out": {
            Kind(kind).name.lower(): _figures(part) for kind, part in found.groups.items()
        },
    }


def _all(chunks: SiteChunks) -> Iterator[ActivationBatch]:
    for number in range(len(chunks)):
        chunk = chunks(number)
        if chunk is not None and len(chunk.x):
            yield chunk


def _figures(part: GroupQuality) -> dict[str, float]:
    """What the report shows of one kind of token; which are dead, the evidence knows better."""
    names = ("tokens", "fvu", "explained_variance", "l0", "cosine")
    return {name if name != "tokens" else "measured_on": getattr(part, name) for name in names}


class _Told:
    """Progress in tokens read: reading is what takes the time, and it comes in blocks."""

    def __init__(self, progress: Progress, folder: Path, batch: int, steps: int) -> None:
        from semascope.dictionary.state import steps_on_disk

        self.progress, self.total = progress, batch * steps
        self.tokens = batch * max(steps_on_disk(folder), default=0)
        self.note = ""
        self.say("")

    def read(self, tokens: int) -> None:
        """The model has read a chunk."""
        self.tokens += tokens
        self.say(self.note)

    def stepped(self, done: int, total: int, figures: Mapping[str, float]) -> None:
        """The optimiser has made a step."""
        fvu = figures.get("fvu")
        self.note = f"step {done} of {total}" + ("" if fvu is None else f", FVU {fvu:.3f}")
        self.say(self.note)

    def say(self, note: str) -> None:
        """Tell how far it is."""
        self.progress(min(self.tokens, self.total), self.total, note)
