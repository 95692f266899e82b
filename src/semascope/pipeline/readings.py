"""What the model reads in the activations of a run's features, kept with its explanations.

Each activation at the peak of an exemplar is read once (``explain.reader``). Before any is, the
model is tried on drawn things that are known: one that cannot name them is not asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from semascope.errors import ExplainError
from semascope.files import write_text
from semascope.pipeline.run_context import Run
from semascope.pipeline.stages.parts import Parts

if TYPE_CHECKING:
    from semascope.evidence.store.peak_vectors import PeakVectors
    from semascope.evidence.types import Exemplar, FeatureEvidence
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

    known = peak_vectors.read(run.evidence)
    if known is not None:
        return known
    subject = CachedSubject(run.reader, run.memory) if len(run.memory) else run.reader
    return peak_vectors.write(
        run.evidence,
        subject,
        reading_site(run.options.chosen()[0]),
        run.evidence_corpus(),
        max_tokens=run.options.train.max_tokens,
    )


def keep_vectors(run: Run) -> None:
    """Take the activations while they are remembered, where the dictionary's site can be read."""
    from semascope.explain.reader.self_reading import reading_site

    try:
        reading_site(run.options.chosen()[0])
    except ExplainError:
        return  # explaining says why
    vectors(run)


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


def make(run: Run, rank: int = 0, world_size: int = 1) -> Iterator[tuple[int, int]]:
    """Read what is not read yet; yields (activations read, all).

    One worker of several begins with the blocks that fall to it.
    """
    refusal = _tried(run)
    if refusal:
        return
    known = vectors(run)
    places = list(known.index)
    parts = Parts(folder(run))
    numbers = range(-(-len(places) // BLOCK))
    order = sorted(numbers, key=lambda number: (number % world_size != rank, number))
    for done, number in enumerate(order):
        yield done * BLOCK, len(places)
        if number in parts:
            continue
        block, began = places[number * BLOCK : (number + 1) * BLOCK], perf_counter()
        said = reader_of(run).read(known.of(block))
        each = (perf_counter() - began) / len(block)
        lines = zip(block, said, strict=True)
        parts.write(
            number,
            ({"row": r, "token": t, "text": text, "seconds": each} for (r, t), text in lines),
        )
    yield len(places), len(places)


def pilot(run: Run, records: Sequence[FeatureEvidence]) -> Readings:
    """Readings of some features alone, for what reading all of them would cost."""
    from semascope.evidence.store.peak_vectors import peaks

    refusal = _tried(run)
    if refusal:
        return Readings(refusal=refusal)
    known = vectors(run)
    found = {(p.row, p.token) for record in records for p in peaks(record)}
    places = sorted(place for place in found if place in known)
    if not places:
        return Readings()
    reader_of(run).read(known.of(places[:1]))  # what is done once is not counted
    began = perf_counter()
    said = reader_of(run).read(known.of(places))
    seconds = (perf_counter() - began) / len(places)
    return Readings(dict(zip(places, said, strict=True)), seconds=seconds)


@dataclass(frozen=True, slots=True, eq=False)
class ReadExemplar:
    """One exemplar with what the model says of its peak."""

    exemplar: Exemplar
    token: int
    strength: float
    """Share of the feature's largest activation."""
    answers: dict[str, str]
    """By question."""


def of_feature(
    run: Run, feature: int, *, count: int = 8, questions: Sequence[str] = ()
) -> list[ReadExemplar]:
    """Read the peaks of one feature's exemplars anew, strong to weak.

    Raises ExplainError where the model cannot read itself, or the feature fires on no picture.
    """
    from semascope.evidence.store import peak_vectors
    from semascope.explain.reader.self_reading import QUESTION, SelfReader, reading_site

    refusal = _tried(run)
    if refusal:
        raise ExplainError(refusal)
    record = run.evidence.feature(feature)
    chosen = peak_vectors.peaks(record, count)
    if not chosen:
        raise ExplainError(
            f"Feature {feature} has no exemplar on pictures to read: it fires on text, "
            "or not at all."
        )
    site = run.options.chosen()[0]
    wanted: dict[int, set[int]] = {}
    for peak in chosen:
        wanted.setdefault(peak.row, set()).add(peak.token)
    taken = peak_vectors.take(
        run.subject, reading_site(site), run.evidence_corpus(), wanted, run.options.train.max_tokens
    )
    x = taken.of([(p.row, p.token) for p in chosen])
    asked = questions or (QUESTION,)
    answers = {q: SelfReader(run.subject, site, question=q).read(x) for q in asked}
    by_row = {e.shown.row: e for e in (*record.intervals, *record.top)}
    return [
        ReadExemplar(
            by_row[p.row], p.token, p.strength, {q: said[n] for q, said in answers.items()}
        )
        for n, p in enumerate(chosen)
    ]


def reader_of(run: Run) -> SelfReader:
    """The reader, made once a run."""
    if run.self_reader is None:
        run.self_reader = reader(run)
    return run.self_reader


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
