"""One way of reading a corpus, in a process of its own: what it takes in seconds and in memory.

``bare`` runs the model alone; ``ours`` gathers evidence; ``delphi`` is the cache step of delphi
(EleutherAI, commit 3c2e139) as published, written anew: every feature of every token made dense,
what is not zero kept in lists until the end, then written in shards by feature. All three read the
same batches. ``exact`` compares evidence with what keeping everything gives. Knows nothing of what
the figures are for.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from semascope.corpus.open import open_corpus
from semascope.corpus.sample import Corpus, Sample, SkipReport
from semascope.dictionary import CoderConfig, SparseCoder
from semascope.evidence import Evidence, EvidenceOptions, Gatherer, gather
from semascope.evidence.gathering.reader import ReadTokens, batches, chunks
from semascope.pipeline.run_context import load_subject

CALL = "import json, benchmarks._evidence_runs as b; print(json.dumps(b.{way}(**{args!r})))"
SPLITS = 5
"""Shards by feature, delphi's usual number."""
SMALL = 1e-5
"""What delphi takes for zero."""


class Babble:
    """Texts of random words, as many as are asked for, no two alike; nothing is kept of them."""

    def __init__(self, rows: int, words: int = 24) -> None:
        self.rows, self.words = rows, words
        self.name, self.skipped = f"babble[{rows}]", SkipReport()

    def __len__(self) -> int:
        return self.rows

    def fingerprint(self) -> str:
        return f"{self.rows}x{self.words}"

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Sample]]:
        for row in range(start, min(self.rows if stop is None else stop, self.rows)):
            letters = np.random.default_rng(row).integers(97, 123, (self.words, 4))
            yield row, Sample(f"b{row}", text=" ".join("".join(map(chr, w)) for w in letters))


def apart(way: str, **args: Any) -> dict[str, float]:
    """One of these ways in a process of its own, so that its memory is its own."""
    code = CALL.format(way=way, args=args)
    ran = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


def bare(subject: str, rows: int, multiple: int) -> dict[str, float]:
    """The model alone, to the site where it is read."""
    model, corpus, coder = _parts(subject, rows, multiple)
    with torch.inference_mode():
        _forward(model, corpus, coder, 1)
        begun, before = time.perf_counter(), _peak(anew=True)
        _forward(model, corpus, coder, rows)
    return {"seconds": time.perf_counter() - begun, "megabytes": _peak() - before}


def ours(subject: str, rows: int, multiple: int) -> dict[str, float]:
    """Evidence for every feature, merged and written; then features read back."""
    model, corpus, coder = _parts(subject, rows, multiple)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with torch.inference_mode():
            _forward(model, corpus, coder, 1)
        begun, before = time.perf_counter(), _peak(anew=True)
        run = Gatherer(
            model, corpus, [coder], place / "e", media=place / "m", options=_options(), rows=rows
        )
        run.run()
        passed = time.perf_counter()
        run.merge()
        ended, peak = time.perf_counter(), _peak() - before
        read = _read_back(place / "e", f"{coder.site}/{coder.name}")
    return {
        "seconds": ended - begun,
        "seconds_pass": passed - begun,
        "seconds_merge": ended - passed,
        "megabytes": peak,
        **read,
    }


def delphi(subject: str, rows: int, multiple: int) -> dict[str, float]:
    """delphi's cache: dense codes, non-zeros in memory to the end, shards by feature."""
    model, corpus, coder = _parts(subject, rows, multiple)
    locations, activations = [], []
    sequence = 0
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        _forward(model, corpus, coder, 1)
        begun, before = time.perf_counter(), _peak(anew=True)
        for batch in _batches(model, corpus, rows):
            x = model.run(batch, [coder.site])[coder.site].float()  # (B, T, d)
            codes = coder.encode(x.flatten(0, 1))
            dense = torch.zeros(len(codes.values), coder.width)
            dense.scatter_(1, codes.indices.cpu(), codes.values.float().cpu())
            dense = dense.view(*x.shape[:2], coder.width)  # (B, T, width)
            found = torch.nonzero(dense.abs() > SMALL)
            activations.append(dense[dense.abs() > SMALL])
            found[:, 0] += sequence
            locations.append(found)
            sequence += len(x)
        where, what = torch.cat(locations), torch.cat(activations)
        for number in range(SPLITS):
            low, high = (coder.width * n // SPLITS for n in (number, number + 1))
            mine = (where[:, 2] >= low) & (where[:, 2] < high)
            arrays = {"locations": where[mine].int(), "activations": what[mine].half()}
            save_file(arrays, f"{folder}/{low}_{high - 1}.safetensors")
        return {"seconds": time.perf_counter() - begun, "megabytes": _peak() - before}


def exact(subject: str, rows: int, multiple: int) -> dict[str, float]:
    """Evidence beside what keeping every activation gives: features whose strongest samples are
    the same, peaks to the bit, and whose tokens are counted the same."""
    model, corpus, coder = _parts(subject, rows, multiple)
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        gather(model, corpus, [coder], place / "e", media=place / "m", options=options, rows=rows)
        evidence = Evidence.open(place / "e", f"{coder.site}/{coder.name}")
        peaks, fired = _everything(model, corpus, coder, rows)
        alive = np.flatnonzero(fired)
        same, counted = 0, 0
        for index in alive.tolist():
            record = evidence.feature(index)
            found = {one.shown.row: one.peak for one in record.top}
            order = np.argsort(-peaks[:, index], kind="stable")[: options.top]
            wanted = {int(row): float(peaks[row, index]) for row in order if peaks[row, index] > 0}
            same += found == wanted
            counted += int(record.stats["fired"]) == int(fired[index])
        return {
            "features": len(alive),
            "top_equal": same / len(alive),
            "counts_equal": counted / len(alive),
        }


@torch.inference_mode()
def _everything(
    model: Any, corpus: Corpus, coder: SparseCoder, rows: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(rows, width) largest activations, and (width,) tokens on which each feature fires."""
    options = _options()
    peaks = np.zeros((rows, coder.width), np.float32)
    fired = np.zeros(coder.width, np.int64)
    for chunk in chunks(corpus, 0, rows, options.chunk):
        for samples in batches(chunk, options.batch_size):
            batch = model.encode([s for _, s in samples], max_tokens=options.max_tokens)
            place = ReadTokens.of(batch, options)
            x = model.run(batch, [coder.site])[coder.site]
            codes = coder.encode(x[torch.from_numpy(place.mask).to(x.device)].float())
            values, indices = (t.cpu().numpy() for t in (codes.values.float(), codes.indices))
            row = np.array([number for number, _ in samples])[place.sample]  # (N,)
            np.maximum.at(peaks, (row[:, None], indices), values)
            fired += np.bincount(indices[values > 0], minlength=coder.width)
    return peaks, fired


def _parts(subject: str, rows: int, multiple: int) -> tuple[Any, Corpus, SparseCoder]:
    torch.manual_seed(0)
    model = load_subject(subject)
    sites = [s for s in model.sites() if s.startswith("resid_post.")]
    coder = SparseCoder(
        CoderConfig(d_in=model.d_model, width=multiple * model.d_model, k=32),
        site=sites[len(sites) // 2],
    )
    corpus: Corpus = open_corpus(f"scenes?n={rows}") if model.has_vision else Babble(rows)
    return model, corpus, coder


def _options() -> EvidenceOptions:
    return EvidenceOptions(batch_size=8)


def _batches(model: Any, corpus: Corpus, rows: int) -> Iterator[Any]:
    options = _options()
    for chunk in chunks(corpus, 0, rows, options.chunk):
        for samples in batches(chunk, options.batch_size):
            yield model.encode([s for _, s in samples], max_tokens=options.max_tokens)


def _forward(model: Any, corpus: Corpus, coder: SparseCoder, rows: int) -> None:
    for batch in _batches(model, corpus, rows):
        x = model.run(batch, [coder.site])[coder.site]
        x[torch.from_numpy(ReadTokens.of(batch, _options()).mask).to(x.device)]


def _read_back(folder: Path, key: str, most: int = 200) -> dict[str, float]:
    """Milliseconds to read any feature's exemplars, each for the first time."""
    evidence = Evidence.open(folder, key)
    alive = np.random.default_rng(0).permutation(evidence.alive())[:most]
    taken = []
    for index in alive.tolist():
        begun = time.perf_counter()
        evidence.feature(index)
        taken.append(1000 * (time.perf_counter() - begun))
    return {
        "read_back_ms_median": float(np.median(taken)),
        "read_back_ms_99": float(np.quantile(taken, 0.99)),
    }


def _peak(anew: bool = False) -> float:
    """Megabytes of the largest resident set so far, or, where the system can count anew, since
    the last call with ``anew``."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if anew:
        clear.write_text("5")  # resets the high-water mark, and nothing else
    line = next(row for row in status.read_text().splitlines() if row.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
