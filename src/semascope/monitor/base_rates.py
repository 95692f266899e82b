"""Base rates: how often features fire on ordinary prompts, measured once per run and saved.

The prompts are data (``ordinary.toml``): everyday requests, and everyday questions about the run's
pictures if the subject reads pictures. ``clusters.BaseRates`` turns the rates into surprise.
"""

from __future__ import annotations

import hashlib
import io
import logging
import tomllib
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semascope.causal.steering.interventions import FeatureId
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.corpus.sample import Sample, Turn
from semascope.files import write_whole
from semascope.monitor.clusters import BaseRates

TOKENS = "readable tokens"
"""Which tokens count; part of a saved file's name, so that a change measures the rates again."""
LOG = logging.getLogger(__name__)

Progress = Callable[[int, int], bool]
"""``progress(done, total)``; returns True to stop."""


def prompts(pictures: Sequence[Image.Image] = ()) -> list[Sample]:
    """Everyday prompts: one question for each picture, or text prompts without pictures."""
    data = tomllib.loads((files("semascope.monitor") / "ordinary.toml").read_text("utf-8"))
    if not pictures:
        return [
            Sample(id=f"said/{n}", turns=(Turn("user", t),)) for n, t in enumerate(data["said"])
        ]
    questions = data["shown"]
    return [
        Sample(
            id=f"shown/{n}",
            turns=(Turn("user", questions[n % len(questions)], images=1),),
            images=(picture,),
        )
        for n, picture in enumerate(pictures)
    ]


def measured_base_rates(
    steerable: SteerableModel,
    samples: Sequence[Sample],
    folder: Path,
    stamp: str = "",
    progress: Progress | None = None,
) -> BaseRates | None:
    """Base rates on these prompts, from ``folder``, or measured and saved there.

    ``stamp`` changes with the dictionaries' weights. None if ``progress`` stopped it.
    """
    about = [TOKENS, stamp, str(steerable.subject.name), *sorted(steerable.dictionaries)]
    about += [s.id + "|".join(t.text for t in s.turns) for s in samples]
    digest = hashlib.sha256("\n".join(about).encode()).hexdigest()
    path = folder / f"{digest[:24]}.npz"
    if path.is_file():
        return _load(path)
    bits: dict[FeatureId, NDArray[np.bool_]] = {}
    for number, sample in enumerate(samples):
        if progress is not None and progress(number, len(samples)):
            return None
        for feature in BaseRates.measure(steerable, [sample]).fired:
            row = bits.setdefault(feature, np.zeros(len(samples), dtype=np.bool_))
            row[number] = True
    rates = BaseRates(len(samples), bits)
    try:
        _save(path, rates)
    except OSError as error:  # a read-only run: measured once per server
        LOG.warning("Base rates are not saved: %s", error)
    return rates


def _save(path: Path, rates: BaseRates) -> None:
    """One bit per prompt and feature, in a compressed file."""
    order = sorted(rates.fired)
    packed = [np.packbits(rates.fired[f]) for f in order]
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        prompts=np.int64(rates.prompts),
        keys=np.array([key for key, _ in order], dtype=np.str_),
        index=np.array([index for _, index in order], dtype=np.int64),
        bits=np.array(packed, dtype=np.uint8).reshape(len(order), -1),
    )
    write_whole(path, lambda at: at.write_bytes(buffer.getvalue()))


def _load(path: Path) -> BaseRates:
    with np.load(path, allow_pickle=False) as arrays:
        count = int(arrays["prompts"])
        bits = np.unpackbits(arrays["bits"], axis=1, count=count).astype(np.bool_)
        names = zip(arrays["keys"].tolist(), arrays["index"].tolist(), strict=True)
        return BaseRates(
            count, {(key, int(i)): row for (key, i), row in zip(names, bits, strict=True)}
        )
