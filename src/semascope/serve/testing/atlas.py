"""A real atlas of made-up features: coloured shapes, and some of text; every fifth is dead."""

from __future__ import annotations

import random
from collections.abc import Iterable
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from semascope.atlas import (
    Atlas,
    FeatureFigures,
    HashingEmbedder,
    MapLayout,
    MapRegion,
    write_vectors,
)
from semascope.serve.testing.drawing import COLOURS, DICTIONARY, SHAPES, WORDS
from semascope.workspace import Workspace


def concept_of(index: int) -> tuple[str, str] | None:
    """Colour and shape that a feature fires on; None for a feature of text."""
    if index % 6 == 5:
        return None
    colours = tuple(COLOURS)
    return colours[index % len(colours)], SHAPES[(index // 3) % len(SHAPES)]


def topic_of(index: int) -> str:
    """What a feature of text fires on."""
    return WORDS[index // 6 % len(WORDS)]


def peak_of(index: int) -> float:
    """A feature's largest activation."""
    return 10.0 + index % 9


def write_atlas(space: Workspace, width: int) -> None:
    """Write the features with explanations, scores, vectors and a map."""
    space.root.mkdir(parents=True, exist_ok=True)
    with Atlas.open(space.atlas) as atlas:
        metrics = {"fvu": 0.1, "l0": 32.0}
        atlas.add_dictionary(
            DICTIONARY, model="drawn-subject", width=width, about={"metrics": metrics}
        )
        atlas.write_features(DICTIONARY, map(_figures, range(width)))
        living = [index for index in range(width) if _alive(index)]
        atlas.write_explanations(DICTIONARY, map(_explanation, living))
        atlas.write_scores(DICTIONARY, _scores(i for i in living if not _abstained(i)))
        write_vectors(atlas, DICTIONARY, space.vectors / DICTIONARY, HashingEmbedder())
        atlas.write_map(DICTIONARY, np.array(living, np.int64), _layout(np.array(living)))


def _alive(index: int) -> bool:
    return index % 5 != 4


def _abstained(index: int) -> bool:
    return index % 7 == 6


def _confidence(index: int) -> float:
    return 0.25 + 0.7 * random.Random(index).random()


def _figures(index: int) -> FeatureFigures:
    alive, shape = _alive(index), concept_of(index)
    density = 10 ** -(1 + 3 * random.Random(-index).random()) if alive else 0.0
    return FeatureFigures(
        index=index, alive=alive, modality=("image" if shape else "text") if alive else "none",
        density=density, density_text=density, density_image=density,
        max=peak_of(index) if alive else 0.0, samples=int(alive), stats={},
    )  # fmt: skip


def _explanation(index: int) -> SimpleNamespace:
    shape, abstained = concept_of(index), _abstained(index)
    label = " ".join(shape) if shape else topic_of(index)
    description = (
        f"A {label} anywhere in the picture, strongest at its middle and weaker at its rim."
        if shape
        else f"Text about {label}, most of all at the first word of it."
    )
    return SimpleNamespace(
        feature=index, label="" if abstained else label,
        description="" if abstained else description,
        category=("colour" if index % 2 else "object") if shape else "text",
        confidence=round(_confidence(index), 2), abstained=abstained, author="drawn-explainer",
        prompt_version="1", inputs="", cost={},
    )  # fmt: skip


def _scores(indices: Iterable[int]) -> Iterable[SimpleNamespace]:
    for index in indices:
        value = _confidence(index)
        auroc = min(0.99, value + 0.1)
        kinds = [("detection", auroc, 0.5, auroc - 0.06, min(1.0, auroc + 0.05))]
        if concept_of(index):
            kinds.append(("iou", value, 0.11, value - 0.1, value + 0.04))
        for kind, score, baseline, low, high in kinds:
            yield SimpleNamespace(
                feature=index, kind=kind, value=score, baseline=baseline, low=low, high=high,
                evidence={"n": 5}, author="drawn-explainer",
            )  # fmt: skip


def _layout(living: NDArray[np.int64]) -> MapLayout:
    """On eight spokes, by their number."""
    angle = living % 8 * (np.pi / 4)
    far = 0.2 + 0.7 * (living % 97) / 97
    places = np.stack([far * np.cos(angle), far * np.sin(angle)], axis=1).astype(np.float32)
    region = (living % 8).astype(np.int32)
    regions = tuple(
        MapRegion(
            f"spoke {n}",
            float(0.5 * np.cos(n * np.pi / 4)),
            float(0.5 * np.sin(n * np.pi / 4)),
            int((region == n).sum()),
        )
        for n in range(8)
    )
    return MapLayout(places, region, regions, "drawn")
