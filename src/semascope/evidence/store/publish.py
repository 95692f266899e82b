"""From a finished gathering into the atlas: figures, neighbours, exemplars, samples, the map.

Knows both rooms' records and no database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from semascope.atlas import Atlas, FeatureFigures, MapLayout, NewExemplar, SampleRecord, draw
from semascope.atlas.vectors import VectorIndex
from semascope.evidence.store.evidence import Evidence
from semascope.evidence.store.logit_lens_store import LogitLensStore

Progress = Callable[[int, int, str], None]


def publish(
    evidence: Evidence,
    atlas: Atlas,
    *,
    exemplars: int | None = 8,
    readout: LogitLensStore | None = None,
    progress: Progress | None = None,
) -> int:
    """Write all features of one dictionary; returns the dictionary's number in the atlas.

    ``exemplars`` strongest samples of each feature go into the atlas, and as many draws of the
    intervals and counter-examples; None for all, 0 for none. ``readout`` adds output tokens and
    neurons, where they were found. Words and scores that are there stay. What the atlas does not
    take stays in the evidence.
    """
    about = evidence.gathering
    number = atlas.add_dictionary(
        evidence.key,
        model=about["identity"]["subject"],
        width=evidence.width,
        about={"tokens": about["tokens"], "samples": about["samples"]},
    )
    atlas.write_features(number, _figures(evidence, readout, progress))
    if exemplars != 0:
        source = f"{about['identity']['corpus']}@{about['identity']['fingerprint']}"
        atlas.write_samples(source, _samples(evidence))
        atlas.write_exemplars(number, source, _exemplars(evidence, exemplars))
    return number


def _figures(
    evidence: Evidence, readout: LogitLensStore | None, progress: Progress | None
) -> Iterator[FeatureFigures]:
    figures = {name: evidence.stats(name).tolist() for name in evidence.names()}
    for index in range(evidence.width):
        mine = {name: values[index] for name, values in figures.items()}
        yield FeatureFigures(
            index=index,
            alive=mine["fired"] > 0,
            modality=modality(mine),
            density=mine["density"],
            density_text=mine["density_text"],
            density_image=mine["density_image"],
            max=mine["max"],
            samples=mine["samples"],
            stats=mine,
            near={
                by: [(n.index, n.strength) for n in evidence.near(index, by)]
                for by in ("cosine", "cofire")
            }
            | (readout.of(index) if readout else {}),
        )
        if progress and (index + 1) % 1000 == 0:
            progress(index + 1, evidence.width, "features into the atlas")


def modality(figures: dict[str, Any]) -> str:
    """Where a feature fires: image or text with four fifths or more of its density, or both.

    Densities and not counts: a corpus with more image tokens than words would call all
    features visual.
    """
    image = max(figures["density_image"], figures["density_tile"])
    total = image + figures["density_text"]
    if total <= 0:
        return "none"
    share = image / total
    return "image" if share >= 0.8 else "text" if share <= 0.2 else "both"


def _samples(evidence: Evidence) -> Iterator[SampleRecord]:
    for number in range(len(evidence.shown)):
        yield evidence.shown.packed(number)


def _exemplars(evidence: Evidence, most: int | None) -> Iterator[NewExemplar]:
    for index in evidence.alive().tolist():
        yield from evidence.packed(index, most)


def publish_map(
    evidence: Evidence,
    atlas: Atlas,
    dictionary: str | int = "",
    *,
    vectors: VectorIndex | None = None,
    seed: int = 0,
    method: str = "",
) -> MapLayout:
    """Draw the map of all alive features, by the cosine of their directions, into the atlas.

    ``dictionary`` is what ``publish`` gave, needed where several models have one of this name.
    Regions take their names from the atlas's words and the description ``vectors``; publish
    words first.
    """
    name = dictionary or evidence.key
    alive = evidence.alive()
    number = np.full(evidence.width, -1, np.int64)
    number[alive] = np.arange(len(alive))
    near, cosine = evidence.nearest("cosine")
    k = int((near[alive] >= 0).sum(axis=1).min(initial=near.shape[1])) if len(alive) else 0
    labels = dict(atlas.columns(name, ("index", "label"), {"explained": True}))
    drawn = draw(
        number[near[alive, :k]],
        cosine[alive, :k],
        [labels.get(int(i), "") for i in alive],
        None if vectors is None else _rows_of(vectors, alive),
        seed=seed,
        method=method,
    )
    atlas.write_map(name, alive, drawn)
    return drawn


def _rows_of(vectors: VectorIndex, alive: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(alive, d) description vectors, zero where there is none."""
    out = np.zeros((len(alive), vectors.rows.shape[1]), np.float32)
    place = np.searchsorted(alive, vectors.index)
    there = place < len(alive)
    there[there] = alive[place[there]] == vectors.index[there]
    out[place[there]] = vectors.rows[there]
    return out
