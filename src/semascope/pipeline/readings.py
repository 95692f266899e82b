"""What the model reads in the activations of a run's features, kept with its explanations.

Each activation at the peak of an exemplar is read once (``explain.reader``). Before any is, the
model is tried on drawn things that are known: one that cannot name them is not asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from semascope.errors import ExplainError
from semascope.pipeline.run_context import Run
from semascope.pipeline.stages.parts import Parts
from semascope.workspace import write_text

if TYPE_CHECKING:
    from semascope.evidence.store.peak_vectors import PeakVectors
    from semascope.explain.reader.explainer import Place
    from semascope.explain.reader.self_reading import SelfReader

BLOCK = 256
"""Activations that are read at once: what a kill may lose."""
FOLDER, TRIAL = "readings", "trial.json"


@dataclass(frozen=True, slots=True)
class Readings:
    """What was read."""

    texts: dict[Place, str] = field(default_factory=dict)
    """By (row of the gathered corpus, token)."""
    refusal: str = ""
    """Why the model was not asked; empty where it was."""
    trial: dict[str, Any] = field(default_factory=dict)
    """How it did on known things."""
    seconds: float = 0.0
    """Of one reading."""


def folder(run: Run) -> Path:
    """Where the readings of this run's dictionary lie."""
    site, name = run.options.chosen()
    return run.workspace.root / "explanations" / site / name / FOLDER


def reader(run: Run) -> SelfReader:
    """The run's model as a reader of the dictionary's site. ExplainError where it cannot be one."""
    from semascope.explain.reader.self_reading import SelfReader

    return SelfReader(run.subject, run.options.chosen()[0])


def vectors(run: Run) -> PeakVectors:
    """Activations at the peaks; taken anew where gathering did not keep them."""
    from semascope.evidence.store import peak_vectors
    from semascope.explain.reader.self_reading import reading_site
    from semascope.pipeline.activation_cache import CachedSubject
    from semascope.pipeline.stages.gather import evidence_corpus

    known = peak_vectors.read(run.evidence)
    if known is not None:
        return known
    subject = CachedSubject(run.reader, run.memory) if len(run.memory) else run.reader
    return peak_vectors.write(
        run.evidence,
        subject,
        reading_site(run.options.chosen()[0]),
        evidence_corpus(run),
        max_tokens=run.options.train.max_tokens,
    )


def read(run: Run) -> Readings:
    """What was read so far; nothing where nothing was."""
    trial = folder(run) / TRIAL
    if not trial.is_file():
        return Readings()
    said = json.loads(trial.read_text(encoding="utf-8"))
    texts: dict[Place, str] = {}
    spent = 0.0
    for record in Parts(folder(run)).read():
        texts[record["row"], record["token"]] = record["text"]
        spent += record["seconds"]
    return Readings(texts, said["refusal"], said["trial"], spent / max(len(texts), 1))


def make(run: Run) -> Iterator[tuple[int, int]]:
    """Read what is not read yet; yields (activations read, all)."""
    refusal = _tried(run)
    if refusal:
        return
    known = vectors(run)
    places = list(known.index)
    parts = Parts(folder(run))
    for start in range(0, len(places), BLOCK):
        yield start, len(places)
        if start // BLOCK in parts:
            continue
        block, began = places[start : start + BLOCK], perf_counter()
        said = reader_of(run).read(known.of(block))
        each = (perf_counter() - began) / len(block)
        lines = zip(block, said, strict=True)
        parts.write(
            start // BLOCK,
            ({"row": r, "token": t, "text": text, "seconds": each} for (r, t), text in lines),
        )
    yield len(places), len(places)


def reader_of(run: Run) -> SelfReader:
    """The reader, made once a run."""
    if "_self_reader" not in run.__dict__:
        run.__dict__["_self_reader"] = reader(run)
    made: SelfReader = run.__dict__["_self_reader"]
    return made


def _tried(run: Run) -> str:
    """Why the model is not asked; tried once, and kept."""
    path = folder(run) / TRIAL
    if path.is_file():
        return str(json.loads(path.read_text(encoding="utf-8"))["refusal"])
    trial: dict[str, Any] = {}
    try:
        result = reader_of(run).measure()
        trial = asdict(result)
        refusal = "" if result.can_read else f"{run.subject.name} cannot read itself: {result}."
    except ExplainError as error:
        refusal = str(error)
    write_text(path, json.dumps({"refusal": refusal, "trial": trial}))
    return refusal
