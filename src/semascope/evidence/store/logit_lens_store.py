"""What stands beside a dictionary's evidence and needs the model once more: output tokens, neurons.

Written after a gathering, into the folder of the dictionary's evidence; read by whoever puts the
features into the atlas, without the model. Knows subject and dictionary by their protocols.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semascope.corpus.sample import Corpus
from semascope.dictionary.types import Dictionary
from semascope.errors import EvidenceError
from semascope.evidence.analysis.logit_lens import promoted
from semascope.evidence.analysis.neuron_alignment import align, neurons_beside
from semascope.evidence.gathering.options import EvidenceOptions
from semascope.evidence.store.evidence import Evidence
from semascope.evidence.store.files import mapped, write_arrays, write_json
from semascope.subject.protocols import LogitSource

ROWS = 512
"""Samples over which neurons are compared with features."""
TOKENS = 10
NEURONS = 3
_ARRAYS, _TOKENS = "readout.safetensors", "readout.json"
Pairs = list[tuple[str, float]] | list[tuple[int, float]]


@dataclass(frozen=True, slots=True, eq=False)
class LogitLensStore:
    """What every feature of one dictionary promotes, suppresses and runs along with."""

    tokens: dict[str, str]
    """Words of the vocabulary's numbers that occur here."""
    arrays: dict[str, NDArray[Any]]
    """``feature`` (n,) rising, and columns (n, k): see ``promoted`` and ``alignment``."""

    def of(self, index: int) -> dict[str, Pairs]:
        """``promoted``, ``suppressed`` and ``neurons`` of one feature, those that are known."""
        a = self.arrays
        row = int(np.searchsorted(a["feature"], index))
        if row >= len(a["feature"]) or a["feature"][row] != index:
            return {}
        out: dict[str, Pairs] = {}
        for name, ids, values in (
            ("promoted", "up", "up_value"),
            ("suppressed", "down", "down_value"),
        ):
            if ids in a:
                pairs = zip(a[ids][row].tolist(), a[values][row].tolist(), strict=True)
                out[name] = [(self.tokens[str(i)], round(v, 4)) for i, v in pairs]
        if "neuron" in a:
            pairs = zip(a["neuron"][row].tolist(), a["correlation"][row].tolist(), strict=True)
            out["neurons"] = [(i, round(v, 4)) for i, v in pairs if i >= 0]
        return out


def read(evidence: Evidence) -> LogitLensStore | None:
    """What was written beside the evidence; None where nothing was."""
    folder = evidence.folder / evidence.key
    if not (folder / _TOKENS).is_file():
        return None
    return LogitLensStore(json.loads((folder / _TOKENS).read_text()), mapped(folder / _ARRAYS))


def write(
    evidence: Evidence,
    subject: LogitSource,
    dictionary: Dictionary,
    corpus: Corpus,
    *,
    rows: int = ROWS,
    options: EvidenceOptions | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> LogitLensStore:
    """Find and write it for every alive feature, where it is not there yet.

    A dictionary that does not write into the residual stream has no output tokens (layers of the
    vision side among them, whatever their width), and one that
    has no MLP beside it no neurons; both are left out then.
    """
    found = read(evidence)
    if found is not None:
        return found
    say = progress or (lambda done, total, note: None)
    alive = evidence.alive()
    arrays: dict[str, NDArray[Any]] = {"feature": alive}
    tokens: dict[str, str] = {}
    say(0, 2, "output tokens of every feature")
    head = subject.unembedding()
    inside = not dictionary.site.startswith("vision.")
    if (
        inside
        and len(alive)
        and int(dictionary.directions(_first(alive)).shape[1]) == int(head.shape[1])
    ):
        arrays |= promoted(dictionary, head, alive, k=TOKENS)._asdict()
        ids = np.unique(np.concatenate([arrays["up"], arrays["down"]]))
        tokens = {str(i): subject.tokenizer.decode([int(i)]) for i in ids.tolist()}
    say(1, 2, "neurons that fire along")
    if neurons_beside(subject.sites(), dictionary.site) is not None:
        aligned = align(subject, corpus, dictionary, alive, k=NEURONS, rows=rows, options=options)
        arrays |= aligned._asdict()
    folder = evidence.folder / evidence.key
    write_arrays(folder / _ARRAYS, arrays)
    write_json(folder / _TOKENS, tokens)
    return LogitLensStore(tokens, arrays)


def aligned(readout: LogitLensStore, top: int = 20) -> dict[str, Any]:
    """How far single neurons carry the features, as JSON values.

    ``median`` of the best neuron's |correlation|, the shares of features where it reaches one
    ``half`` and .8 (``strong``), counts by ``tenths``, and the ``features`` that a neuron follows
    best. EvidenceError where no neurons were compared.
    """
    if "neuron" not in readout.arrays:
        raise EvidenceError(
            "No MLP neurons belong to this dictionary's site: there is nothing to align with."
        )
    a = readout.arrays
    strength = np.abs(a["correlation"][:, 0]) if len(a["feature"]) else np.zeros(0, np.float32)
    count = len(strength)
    order = np.lexsort((a["feature"], -strength))[:top]
    return {
        "count": count,
        "median": float(np.median(strength)) if count else None,
        "half": float((strength >= 0.5).mean()) if count else None,
        "strong": float((strength >= 0.8).mean()) if count else None,
        "tenths": np.histogram(strength, bins=10, range=(0, 1))[0].tolist(),
        "features": [
            {
                "index": int(a["feature"][i]),
                "neuron": int(a["neuron"][i, 0]),
                "correlation": round(float(a["correlation"][i, 0]), 4),
            }
            for i in order
        ],
    }


def _first(ids: NDArray[np.int64]) -> Any:
    import torch

    return torch.from_numpy(ids[:1].copy())
