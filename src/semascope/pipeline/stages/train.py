"""The first stage: dictionaries for one site or several, trained while the subject reads.

All of them learn from the same tokens in one pass over the model, each in a folder of its own;
under torchrun the processes share the pass and the training.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from semascope.dictionary.training.batches import ActivationBatch, Source
from semascope.dictionary.training.split_sites import SplitSites, Wired, Wires, wired
from semascope.errors import WorkspaceError
from semascope.pipeline.activations import SiteChunks
from semascope.pipeline.members import DictionaryMember, config_of, family, rates
from semascope.pipeline.run_context import Run
from semascope.pipeline.splits import CorpusSubset, held_out_rows, training_rows
from semascope.pipeline.stages.base import StageProgress
from semascope.pipeline.torchrun import TRAIN, first, processes, tell
from semascope.subject.types import Kind
from semascope.wiring import Wiring

if TYPE_CHECKING:
    from semascope.dictionary import (
        GroupQuality,
        SampledChunks,
        SparseCoder,
        TrainingPlan,
        TrainingReport,
    )
    from semascope.dictionary.training.loop import OnStep

BATCH = 1024
"""Tokens a step of the optimiser."""
BLOCK = 16 * BATCH
"""Tokens shuffled together: what a resumed run reads again, at most."""
HELD_OUT = 240
"""Samples on which a dictionary is measured."""
CHECKPOINT = 32
"""Steps between two whole states."""


def train_dictionary(run: Run, progress: StageProgress) -> Mapping[str, Any]:
    """Train, or go on; measure the result on tokens that training never read."""
    from semascope.dictionary import Prefetch, ShuffleBuffer, train_many
    from semascope.dictionary.training.checkpoint import steps_on_disk

    if first():
        tell(TRAIN, run.options)
    options = run.options.train
    progress(0, 1, "loading the subject")
    members = family(run)
    adopted = _adopted(run)
    if not members:
        progress(0, 1, "measuring on held-out tokens")
        return beside({}, "", {key: measure(run, *one) for key, one in adopted.items()})
    seen = CorpusSubset(run.corpus, training_rows(run.corpus, options.seed))
    chunks = run.chunks(seen)
    progress(0, 1, "counting tokens")
    batch = min(BATCH, options.tokens, max(1, int(chunks.tokens_a_chunk() * len(chunks))))
    steps = -(-options.tokens // batch)
    told = _Told(progress, members[0].folder, batch, steps)
    chunks.on_read = told.read
    chunks.memory = run.memory if options.remember else None
    account = run.account("train")
    chunks.account = account if first() else None
    if first() and not any(steps_on_disk(member.folder) for member in members):
        run.memory.forget()
        account.forget()
    thinned = _thinned(run, chunks)
    shuffled: Source = ShuffleBuffer(
        thinned or chunks,
        batch_size=batch,
        block_tokens=max(BLOCK, batch),
        seed=options.seed,
    )
    if _overlaps(run):
        shuffled = Prefetch(shuffled)
    by_site = SplitSites(
        shuffled,
        dict(zip(chunks.sites, chunks.widths, strict=True)),
        share=options.shard == "none",
        only=chunks.only,
    )
    with _tracked(run, told.stepped) as on_step:
        reports = train_many(
            Wired(by_site, {member.site: _wires(member) for member in members}),
            [_plan(run, member, steps, batch) for member in members],
            on_step,
            device=run.subject.device,
            shard=options.shard == "feature",
        )
    alone = len(run.corpus) == 1
    told.say("measuring on " + ("the one row there is" if alone else "held-out tokens"))
    figures = _measured(run, members, reports)
    shares = {} if thinned is None or not run.options.train.keep else {"kept": _kept(thinned)}
    brought = {key: measure(run, *one) for key, one in adopted.items()}
    read = account.total(run.opened)
    account.forget()
    return {**beside({**figures, **shares}, members[0].id, brought), "read": read}


def measure(
    run: Run, coder: SparseCoder, wiring: Wiring, samples: int = HELD_OUT
) -> Mapping[str, Any]:
    """Figures of a dictionary that was not trained here, on held-out tokens."""
    held = CorpusSubset(run.corpus, held_out_rows(run.corpus, run.options.train.seed, samples))
    options = run.options.train
    chunks = SiteChunks(
        run.reader, held, wiring.sites, rows=options.rows, max_tokens=options.max_tokens
    )
    batches = batches_of(chunks, wiring, options.outlier)
    if len(wiring.reads) > 1:
        return _crossed(wiring.reads, coder, list(batches))
    return _as_one(wiring, coder, batches)


def beside(
    figures: Mapping[str, Any], first: str, adopted: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Any]:
    """A stage's figures with those of adopted dictionaries, the first dictionary's at the top."""
    if not adopted:
        return figures
    if not figures and len(adopted) == 1:
        return next(iter(adopted.values()))
    top = figures or next(iter(adopted.values()))
    trained = figures.get("dictionaries", {first: figures} if figures else {})
    return {**top, "dictionaries": {**trained, **adopted}}


def _adopted(run: Run) -> dict[str, tuple[SparseCoder, Wiring]]:
    """The adopted dictionaries by id; WorkspaceError where one's files are gone."""
    from semascope.dictionary import load

    found = {}
    for wiring, name in run.options.train.brought():
        folder = run.workspace.dictionary(wiring.site, name)
        if not folder.is_dir():
            raise WorkspaceError(
                f"{wiring.site}/{name} was adopted, and its files are gone from {folder}. Bring it "
                f"in again: semascope adopt FOLDER --workspace {run.workspace.root}"
            )
        found[f"{wiring.site}/{name}"] = (load(folder), wiring)
    return found


def _overlaps(run: Run) -> bool:
    """Whether the model reads on while the dictionaries learn.

    On a GPU the host prepares one while the device does the other. A CPU has nothing to spare, and
    several processes must exchange activations and gradients in one order.
    """
    return str(run.subject.device).startswith("cuda") and processes() == 1


@contextmanager
def _tracked(run: Run, on_step: OnStep) -> Iterator[OnStep]:
    """``on_step``, and a tracker's beside it where one is asked for."""
    from semascope.dictionary.training.tracking import Track

    train = run.options.train
    if not train.track or not first():
        yield on_step
        return
    name = f"{run.workspace.root.name}-{train.seed}"
    track = Track("semascope", backend=train.track, run=name, config=train.model_dump(mode="json"))

    def both(done: int, total: int, figures: Mapping[str, float]) -> None:
        on_step(done, total, figures)
        track(done, total, figures)

    try:
        yield both
    finally:
        track.finish()


def _plan(run: Run, member: DictionaryMember, steps: int, batch: int) -> TrainingPlan:
    from semascope.dictionary import TrainingPlan

    config = config_of(
        run,
        member,
        steps=steps,
        b_dec_tokens=min(BLOCK, steps * batch),
        checkpoint_every=CHECKPOINT,
    )
    return TrainingPlan(
        member.name,
        config,
        member.folder,
        member.site,
        site_out=member.wiring.writes,
        label=member.id,
    )


def _wires(member: DictionaryMember) -> Wires:
    return Wires(member.wiring.reads, member.wiring.writes)


def _thinned(run: Run, chunks: SiteChunks) -> SampledChunks | None:
    """The chunks with fewer tokens of some kinds, where that was asked for."""
    from semascope.dictionary import SampledChunks, TokenSampling

    options = run.options.train
    if not options.keep and not options.outlier:
        return None
    shares = {int(Kind[kind.upper()]): share for kind, share in rates(options.keep).items()}
    sampling = TokenSampling(rates=shares, outlier=options.outlier)
    return SampledChunks(chunks, sampling, seed=options.seed)


def _kept(thinned: SampledChunks) -> dict[str, dict[str, int]]:
    """Tokens by kind that this process has seen, kept, and left out as outliers."""
    kinds = sorted(thinned.counts["seen"])
    return {
        Kind(kind).name.lower(): {name: counts[kind] for name, counts in thinned.counts.items()}
        for kind in kinds
    }


def _measured(
    run: Run, members: Sequence[DictionaryMember], reports: Mapping[str, TrainingReport]
) -> Mapping[str, Any]:
    """Figures of the first dictionary, and under ``dictionaries`` those of each by its id."""
    options = run.options.train
    held = CorpusSubset(run.corpus, held_out_rows(run.corpus, options.seed, HELD_OUT))
    found: dict[str, Mapping[str, Any]] = {}
    for wiring in dict.fromkeys(member.wiring for member in members):
        here = [member for member in members if member.wiring == wiring]
        chunks = SiteChunks(
            run.reader, held, wiring.sites, rows=options.rows, max_tokens=options.max_tokens
        )
        chunks.warned = run.warned
        batches: Iterable[ActivationBatch] = batches_of(chunks, wiring, options.outlier)
        if len(here) > 1 or len(wiring.reads) > 1:  # one pass over the model for all
            batches = list(batches)
        for member in here:
            found[member.id] = _quality(member, reports[member.id], batches)
    figures = found[members[0].id]
    return figures if len(members) == 1 else {**figures, "dictionaries": found}


def _quality(
    member: DictionaryMember, report: TrainingReport, batches: Iterable[ActivationBatch]
) -> Mapping[str, Any]:
    """What the report shows; of a transcoder against its target, of a crosscoder a site's mean."""
    wiring = member.wiring
    trained = {"tokens": report.tokens, "steps": report.steps}
    if len(wiring.reads) > 1:
        return {**trained, **_crossed(wiring.reads, report.coder, batches)}
    return {**trained, **_as_one(wiring, report.coder, batches)}


def _as_one(
    wiring: Wiring, coder: SparseCoder, batches: Iterable[ActivationBatch]
) -> Mapping[str, Any]:
    """Figures of a dictionary that gives one site."""
    from semascope.dictionary import quality

    found = quality(coder, batches)
    return {
        **({"writes": wiring.writes} if wiring.writes else {}),
        **_figures(found.all),
        "held_out": {
            Kind(kind).name.lower(): _figures(part) for kind, part in found.groups.items()
        },
    }


def _crossed(
    sites: Sequence[str], coder: SparseCoder, batches: Iterable[ActivationBatch]
) -> Mapping[str, Any]:
    """Each site's figures, and their mean: the site of the largest norm must not speak for all."""
    from semascope.dictionary import quality
    from semascope.dictionary.crosscoder import CrosscoderAtSite

    views = [CrosscoderAtSite(coder, number) for number in range(len(sites))]
    found = [quality(view, map(view.batch, batches)) for view in views]
    kinds = {kind: [one.groups[kind] for one in found] for kind in found[0].groups}
    return {
        **_mean([_figures(one.all) for one in found]),
        "held_out": {
            Kind(kind).name.lower(): _mean([_figures(part) for part in parts])
            for kind, parts in kinds.items()
        },
        "sites": {site: _figures(one.all) for site, one in zip(sites, found, strict=True)},
    }


def _mean(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Counts are the same at every site, so that their mean is one of them."""
    return {
        name: value if isinstance(value, int) else sum(part[name] for part in parts) / len(parts)
        for name, value in parts[0].items()
    }


def batches_of(
    chunks: SiteChunks, wiring: Wiring, outlier: float = 0.0
) -> Iterator[ActivationBatch]:
    """What a dictionary with this wiring reads of each chunk, outliers left out."""
    from semascope.dictionary.training.token_sampling import outliers

    wires = Wires(wiring.reads, wiring.writes)
    for number in range(len(chunks)):
        chunk = chunks(number)
        if chunk is not None and len(chunk.x):
            chunk = chunk.rows(~outliers(chunk.x, outlier))
            parts = torch.split(chunk.x, list(chunks.widths), dim=1)
            by_site = {
                site: ActivationBatch(part.contiguous(), chunk.kind)
                for site, part in zip(chunks.sites, parts, strict=True)
            }
            yield wired(by_site, wires)


def _figures(part: GroupQuality) -> dict[str, float]:
    """What the report shows of one kind of token; which are dead, the evidence knows better."""
    names = ("tokens", "fvu", "explained_variance", "l0", "cosine")
    return {name if name != "tokens" else "measured_on": getattr(part, name) for name in names}


class _Told:
    """Progress in tokens read: reading is what takes the time, and it comes in blocks."""

    def __init__(self, progress: StageProgress, folder: Path, batch: int, steps: int) -> None:
        from semascope.dictionary.training.checkpoint import steps_on_disk

        self.progress, self.total = progress, batch * steps
        self.tokens = batch * max(steps_on_disk(folder), default=0)
        self.note = ""
        self._one = threading.Lock()  # reading may run ahead in a thread of its own
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
        with self._one:
            self.progress(min(self.tokens, self.total), self.total, note)
