"""From the state of all shards to the files that are read: select, relate, write.

All choices depend on the merged tallies alone, so one process and many shards write the same
files. Knows no model; dictionaries only as directions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semascope.dictionary.types import Dictionary
from semascope.errors import EvidenceError
from semascope.evidence.gathering import exact_sums
from semascope.evidence.gathering.bounded_entries import Entries, Ranked
from semascope.evidence.gathering.counter_examples import counter_examples
from semascope.evidence.gathering.hashing import mix, splits
from semascope.evidence.gathering.neighbours import by_direction, by_firing
from semascope.evidence.gathering.options import EvidenceOptions
from semascope.evidence.gathering.shard import Shard
from semascope.evidence.gathering.tally import KINDS, FeatureTally
from semascope.evidence.store import all_activations, samples
from semascope.evidence.store.files import GATHERING, SHOWN, write_arrays, write_json
from semascope.subject.types import Kind

MODALITIES = {"text": Kind.TEXT, "image": Kind.IMAGE, "tile": Kind.TILE}


def finish(folder: Path, shards: Sequence[Shard], dictionaries: Mapping[str, Dictionary]) -> None:
    """Merge loaded, whole shards into the final files; ``gathering.json`` comes last.

    An EvidenceError where the shards do not cover the rows, each once.
    """
    shards = sorted(shards, key=lambda s: s.start)
    _check_cover(shards)
    options = shards[0].options
    tallies = {key: _merged([s.tallies[key] for s in shards]) for key in dictionaries}
    chosen = {key: _select(tally) for key, tally in tallies.items()}
    rows = np.unique(np.concatenate([c["row"] for c in chosen.values()]))
    parts = [s.folder / p for s in shards for p in s.parts]
    samples.gather_parts(parts, folder / SHOWN, rows, list(dictionaries))
    store = samples.SampleStore(folder / SHOWN)
    tokens = {key: np.sum([s.tokens[key] for s in shards], axis=0) for key in dictionaries}
    for key, dictionary in dictionaries.items():
        columns = chosen[key]
        columns["shown"] = np.searchsorted(rows, columns.pop("row")).astype(np.int32)
        near = _neighbours(dictionary, tallies[key], options)
        near |= _silent(key, tallies[key], columns, near, store, options)
        write_arrays(folder / key / "exemplars.safetensors", columns)
        write_arrays(folder / key / "neighbours.safetensors", near)
        write_arrays(folder / key / "stats.safetensors", _stats(tallies[key], tokens[key]))
        if shards[0].store:
            every = [s.folder / name for s in shards for name in s.full_parts[key]]
            all_activations.finish(folder / key, every)
    most = np.max(list(tokens.values()), axis=0)  # a site of the vision side has fewer
    summary = {
        "tokens": {kind.name.lower(): int(most[kind]) for kind in Kind},
        "skipped": sum(s.skipped for s in shards),
        "shown": len(store),
        "samples": sum(s.stop - s.start - s.skipped for s in shards),
    }
    write_json(folder / GATHERING, {"identity": shards[0].identity, **summary})


def _check_cover(shards: Sequence[Shard]) -> None:
    expected = 0
    for shard in shards:
        shard.check_whole()
        if shard.start != expected:
            raise EvidenceError(
                f"Rows {min(expected, shard.start)} to {max(expected, shard.start)} are "
                "missing or there twice: give every shard of the run, each once."
            )
        expected = shard.stop
    if not shards or expected != shards[0].identity["rows"]:
        raise EvidenceError(f"Rows from {expected} on are missing: some shards were not given.")


def _merged(tallies: Sequence[FeatureTally]) -> FeatureTally:
    first, *others = tallies
    for other in others:
        first.merge(other)
    first.settle()
    return first


def _select(tally: FeatureTally) -> dict[str, NDArray[Any]]:
    """The final exemplars, by feature, strongest first.

    ``rank``: place among the strongest, −1 where it is not one; ``drawn``: whether it is a
    draw of its interval; ``interval``: which tenth of [0, max] its peak lies in.
    """
    entries, maximum = tally.kept, tally.maximum
    ranked = Ranked(entries, maximum, tally.seed)
    rank = np.full(len(entries), -1, np.int32)
    strong = ranked.strength < tally.top
    rank[ranked.order[strong]] = ranked.strength[strong]
    drawn = np.zeros(len(entries), bool)
    drawn[ranked.intervals(maximum, tally.draws)[0]] = True
    chosen = np.flatnonzero((rank >= 0) | drawn)
    priority = mix(entries.key[chosen], tally.seed)
    order = np.lexsort((priority, -entries.peak[chosen], entries.feature[chosen]))
    chosen = chosen[order]
    final = entries.take(chosen)
    return {
        "offsets": _offsets(final.feature, tally.width),
        "row": final.row,
        "peak": final.peak,
        "rank": rank[chosen],
        "drawn": drawn[chosen],
        "interval": _tenth(final, maximum),
        "starts": np.concatenate([[0], np.cumsum(final.count)]).astype(np.int64),
        "position": final.position,
        "value": final.value,
    }


def _tenth(entries: Entries, maximum: NDArray[np.float32]) -> NDArray[np.int8]:
    share = entries.peak.astype(np.float64) * 10 / maximum[entries.feature]
    return np.minimum(np.floor(share), 9).astype(np.int8)


def _offsets(feature: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    return np.searchsorted(feature, np.arange(width + 1)).astype(np.int64)


def _neighbours(
    dictionary: Dictionary, tally: FeatureTally, options: EvidenceOptions
) -> dict[str, NDArray[Any]]:
    alive = np.flatnonzero(tally.maximum > 0)
    near, cosine = by_direction(dictionary, alive, options.neighbours)
    together, overlap = by_firing(tally.sketch, options.neighbours)
    return {
        "cosine_index": near,
        "cosine": cosine,
        "cofire_index": together,
        "cofire": overlap,
        "sketch": tally.sketch,
    }


def _silent(
    key: str,
    tally: FeatureTally,
    columns: Mapping[str, NDArray[Any]],
    near: Mapping[str, NDArray[Any]],
    store: samples.SampleStore,
    options: EvidenceOptions,
) -> dict[str, NDArray[Any]]:
    """``silent_explain`` and ``silent_score`` (width, n) numbers of shown samples, −1 padded."""
    half = options.neighbours // 2 + 1
    pair = np.stack([near["cosine_index"][:, :half], near["cofire_index"][:, :half]], axis=2)
    neighbours = pair.reshape(tally.width, -1)  # nearest of each sort in turn
    to_score = splits(store.pictures)
    feature = np.repeat(np.arange(tally.width), np.diff(columns["offsets"]))
    out: dict[str, NDArray[Any]] = {}
    hard = np.zeros(tally.width, np.int32)
    for name, wanted in (("explain", False), ("score", True)):
        mine = to_score[columns["shown"]] == wanted
        out[f"silent_{name}"], count = counter_examples(
            width=tally.width,
            neighbours=neighbours,
            strongest=_first_of_each(feature[mine], columns["shown"][mine], tally.width),
            pool=np.flatnonzero(to_score == wanted),
            fired=lambda number: store.fired(number, key),
            wanted=options.silent,
            seed=options.seed,
        )
        hard += count
    return out | {"silent_hard": hard}


def _first_of_each(
    feature: NDArray[np.int64], sample: NDArray[np.int32], width: int, n: int = 6
) -> NDArray[np.int64]:
    """(width, n) the first samples of each feature, −1 padded; features rise."""
    out = np.full((width, n), -1, np.int64)
    rank = np.arange(len(feature)) - np.searchsorted(feature, feature)
    few = rank < n
    out[feature[few], rank[few]] = sample[few]
    return out


def _stats(tally: FeatureTally, tokens: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """One (width,) array a figure, and the histogram (width, BINS)."""
    fired = tally.fired.sum(axis=1)
    total, squares = exact_sums.value(tally.total), exact_sums.value(tally.squares)
    mean = total / np.maximum(fired, 1)
    variance = squares / np.maximum(fired, 1) - mean**2
    out: dict[str, NDArray[Any]] = {
        "fired": fired,
        "samples": tally.samples,
        "sum": total,
        "sum_squares": squares,
        "mean": mean,
        "std": np.sqrt(np.maximum(variance, 0)),
        "max": tally.maximum,
        "density": fired / max(int(tokens.sum()), 1),
        "histogram": tally.histogram,
        "tokens": tokens[:KINDS],
    }
    for name, kind in MODALITIES.items():
        out[f"fired_{name}"] = tally.fired[:, kind]
        out[f"density_{name}"] = tally.fired[:, kind] / max(int(tokens[kind]), 1)
    return out
