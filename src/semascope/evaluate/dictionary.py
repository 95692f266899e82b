"""The quality report of a dictionary, on held-out samples.

For each kind of token and for all: FVU, L0 and firing rates; CE recovered and KL with the
dictionary spliced in; how crowded the directions are, the share of dead latents at the end of
training, and stability against a dictionary from another seed. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semascope.errors import DictionaryError
from semascope.pipeline.activations import SiteChunks
from semascope.pipeline.autocast import reader
from semascope.pipeline.run_context import Run
from semascope.pipeline.splits import CorpusSubset, held_out_rows
from semascope.pipeline.stages.base import StageProgress, ignore
from semascope.pipeline.stages.train import batches_of
from semascope.subject.readable import read_kinds
from semascope.subject.types import Kind

if TYPE_CHECKING:
    from semascope.dictionary import ActivationBatch, SparseCoder
    from semascope.evaluate.ce_recovered import CERecovered
    from semascope.wiring import Wiring

WINDOWS = (100_000, 1_000_000, 10_000_000)
"""Numbers of tokens without firing after which reports call a latent dead."""
TOGETHER = 8
"""Samples per pass when predictions are compared; their logits are in memory at once."""
ALL = "all"


def measure(
    run: Run,
    *,
    dictionary: str = "",
    samples: int = 240,
    predicted: int = 48,
    beside: Path | None = None,
    progress: StageProgress = ignore,
) -> dict[str, Any]:
    """The report of one dictionary, as JSON.

    Args:
        run: the workspace; its held-out rows are read.
        dictionary: ``site/name`` or name; by default the one that the run's later stages read.
        samples: number of held-out samples whose activations are reconstructed.
        predicted: number of these whose next tokens the model predicts, in three passes.
        beside: checkpoint of a dictionary of the same site, trained from another seed.
        progress: called with (done, total, note).

    Raises:
        DictionaryError: there is no such dictionary, or the two cannot be compared.
    """
    from semascope.dictionary import load, quality

    wiring, folder = _chosen(run, dictionary)
    coder = load(folder)
    train = run.options.train
    run.same_corpus()
    held = CorpusSubset(run.corpus, held_out_rows(run.corpus, train.seed, samples))
    subject = reader(run.same_subject, train)
    chunks = SiteChunks(subject, held, wiring.sites, rows=train.rows, max_tokens=train.max_tokens)
    batches = _with_progress(batches_of(chunks, wiring, train.outlier), len(chunks), progress)
    report = quality(coder, batches)
    lost, why = _predictions(run, coder, wiring, held, predicted, progress)
    groups = {ALL: report.all, **{_name(kind): one for kind, one in report.groups.items()}}
    return {
        "dictionary": f"{wiring.site}/{coder.name}",
        "architecture": train.arch,
        "width": coder.width,
        "k": coder.cfg.k,
        "samples": len(held),
        "kinds": {name: asdict(one) | lost.get(name, {}) for name, one in groups.items()},
        "predictions": why or f"over {min(predicted, len(held))} samples",
        "crowding": dict(report.crowding),
        "silent": silent(folder),
        "stability": None if beside is None else _stability(coder, beside),
    }


def silent(folder: Path) -> dict[str, Any]:
    """Share of latents that did not fire in the last tokens of training, by number of tokens.

    Windows longer than the training are left out; ``tokens`` is its length. Empty if the
    checkpoint has no training state.
    """
    from semascope.dictionary.training.checkpoint import read_state

    state = read_state(folder)
    if state is None:
        return {}
    tensors, meta = state
    quiet, tokens = tensors["silent"], int(meta["tokens"])
    windows = sorted({w for w in (*WINDOWS, int(meta["dead_after"])) if w <= tokens})
    shares = {str(window): float((quiet >= window).double().mean()) for window in windows}
    return {"tokens": tokens, "shares": shares}


def _chosen(run: Run, wanted: str) -> tuple[Wiring, Path]:
    """The wiring and the folder of one of the run's dictionaries."""
    gather = run.options.gather
    gather = gather.model_copy(update={"dictionary": wanted or gather.dictionary})
    site, name = run.options.model_copy(update={"gather": gather}).chosen()
    wiring = run.options.train.wiring_of(site, name)
    return wiring, run.workspace.dictionary(site, name)


def _with_progress(
    batches: Iterable[ActivationBatch], total: int, progress: StageProgress
) -> Iterator[ActivationBatch]:
    for number, batch in enumerate(batches):
        progress(number, total, "reconstruction")
        yield batch


def _predictions(
    run: Run,
    coder: SparseCoder,
    wiring: Wiring,
    held: CorpusSubset,
    most: int,
    progress: StageProgress,
) -> tuple[dict[str, dict[str, float]], str]:
    """CE and KL by kind of the token that predicts, or the reason why there are none."""
    from semascope.evaluate.ce_recovered import spliced
    from semascope.evidence.gathering.reader import encoded

    if wiring.writes or len(wiring.reads) > 1:
        return {}, "none: a transcoder or a crosscoder does not reconstruct one site's activations"
    if not most:
        return {}, "none were asked for"

    def batches() -> Iterator[Any]:
        samples = [sample for _, sample in held.read(0, most)]
        for first in range(0, len(samples), TOGETHER):
            progress(first, len(samples), "predictions")
            some = samples[first : first + TOGETHER]
            yield from encoded(run.same_subject, some, run.options.train.max_tokens)

    reads = partial(read_kinds, site=wiring.site)
    coder = coder.to(run.same_subject.device)
    by_kind = spliced(run.same_subject, batches(), coder, site=wiring.site, reads=reads)
    if by_kind[0].ce_zero == by_kind[0].ce_clean and not by_kind[0].kl:
        return {}, f"none: the model's predictions do not depend on {wiring.site}"
    return {_name(kind): _lost(one) for kind, one in by_kind.items()}, ""


def _lost(one: CERecovered) -> dict[str, float]:
    return asdict(one) | {"ce_recovered": one.recovered}


def _name(kind: int) -> str:
    return Kind(kind).name.lower() if kind else ALL


def _stability(coder: SparseCoder, beside: Path) -> dict[str, Any]:
    from semascope.dictionary import load
    from semascope.dictionary.metrics.stability import stability

    other = load(beside)
    if other.site and coder.site and other.site != coder.site:
        raise DictionaryError(
            f"{beside} is a dictionary of {other.site}, and this one is of {coder.site}. Name "
            "one that was trained at the same site from another --seed."
        )
    return {"beside": str(beside), **asdict(stability(coder, other))}
