"""The vocabulary namer on planted features: how many it names, how well the words detect and lie.

``python -m benchmarks explain``. Scenes are drawn (``SceneCorpus``, 900 of them), features are
planted: for every name, colour, category and feeling that stands in twelve scenes or more, one
that fires on its patches exactly and one that misses three patches in ten and fires elsewhere in
one sample of seven. No model is asked and none is trained: what is measured is the namer and the
judge, on truth that was put in. The table of kinds knows the sprite pack's names.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semascope.corpus.scenes import SceneCorpus
from semascope.evaluate.explanations import BARS, figures
from semascope.evidence.gathering.scene_truth import object_patches, truth_record
from semascope.evidence.types import EvidenceSample, Exemplar, FeatureEvidence
from semascope.explain.explainers.term_frequency import TermFrequency
from semascope.explain.explainers.vocabulary import VocabularyNamer
from semascope.explain.scorers.detection import DetectionScorer
from semascope.explain.scorers.iou import IoUScorer
from semascope.explain.types import Explanation, Score
from semascope.subject.types import Kind

BATCH = 512
SCENES, GRID, SIZE, TOP, LEAST = 900, 8, 128, 24, 12
FIELDS = ("name", "colour", "category", "emotion")


def main() -> dict[str, Any]:
    """Every figure of the namer, and its seconds for a thousand features."""
    shown = scenes()
    records, kinds = planted(shown)
    made: list[Explanation] = []
    start = time.process_time()
    namer = VocabularyNamer(TermFrequency(shown[::2]))
    for batch in batches(records):
        made += namer.explain(batch)
    seconds = time.process_time() - start
    words = {e.feature: e for e in made}
    scores: list[Score] = []
    for batch in batches(records):
        explanations = [words[record.index] for record in batch]
        for scorer in (DetectionScorer(), IoUScorer()):
            scores += scorer.score(batch, explanations)
    found = figures(iter(records), words, scores)
    named: dict[str, list[bool]] = defaultdict(list)
    for record, kind in zip(records, kinds, strict=True):
        named[kind].append(not words[record.index].abstained)
    out: dict[str, Any] = {k: found[k] for k in BARS if k in found}
    out |= {f"{k}_interval": found[f"{k}_interval"] for k in BARS if f"{k}_interval" in found}
    out |= {f"explained_{kind}": float(np.mean(v)) for kind, v in named.items()}
    return {**out, "features": len(records), "seconds_1000": 1000 * seconds / len(records)}


def batches(records: list[FeatureEvidence]) -> Iterator[list[FeatureEvidence]]:
    """As the stages do: shuffled controls look across a batch."""
    for start in range(0, len(records), BATCH):
        yield records[start : start + BATCH]


def scenes() -> list[EvidenceSample]:
    """Drawn scenes as a model with an 8 × 8 grid would see them; every other one is held out."""
    y, x = np.divmod(np.arange(GRID * GRID), GRID)
    cell = SIZE // GRID
    rects = (np.stack([x, y, x + 1, y + 1], 1) * cell).astype(np.float32)  # (64, 4)
    image = np.zeros(GRID * GRID, np.int16)
    found = []
    for row, sample in SceneCorpus(SCENES, seed=77, turns="none").read():
        truth = truth_record(sample.truth)
        patches = object_patches(sample.truth, rects, image, ((SIZE, SIZE),))
        for thing, share in zip(truth["objects"], patches, strict=True):
            thing["patches"] = share
        found.append(
            EvidenceSample(
                row=row,
                id=sample.id,
                tokens=("<image>",) * len(rects),
                kinds=np.full(len(rects), Kind.IMAGE, np.int8),
                rects=rects,
                image=image,
                media=(f"{row:064x}",),
                sizes=((SIZE, SIZE),),
                split="score" if row % 2 else "explain",
                truth=truth,
            )
        )
    return found


def planted(shown: list[EvidenceSample]) -> tuple[list[FeatureEvidence], list[str]]:
    """Two features of every concept that stands in enough scenes, and the kind of each."""
    rng = np.random.default_rng(0)
    rows: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, one in enumerate(shown):
        for key in {(f, str(o[f])) for o in one.truth["objects"] for f in FIELDS if o.get(f)}:
            rows[key].append(i)
    records, kinds = [], []
    for (field, value), on in sorted(rows.items()):
        for miss, stray in ((0.1, 0), (0.3, 3)) if len(on) >= LEAST else ():
            fired = [heat(shown[i], field, value, miss, rng) for i in rng.permutation(on)[:TOP]]
            fired += [sparks(shown[int(i)], rng) for i in rng.integers(0, len(shown), stray)]
            fired = sorted((e for e in fired if e.peak > 0), key=lambda e: -e.peak)
            off = [i for i in rng.permutation(len(shown))[:80] if i not in set(on)][:TOP]
            silent = tuple(shown[i] for i in off)
            stats = {"max": fired[0].peak}
            records.append(FeatureEvidence(len(records), tuple(fired), (), silent, stats))
            kinds.append(field)
    return records, kinds


def heat(
    shown: EvidenceSample, field: str, value: str, miss: float, rng: np.random.Generator
) -> Exemplar:
    """The feature on one scene: the patches of its things, some missed."""
    total: NDArray[np.float32] = np.zeros(len(shown.tokens), np.float32)
    for thing in shown.truth["objects"]:
        if thing.get(field) == value:
            total = np.maximum(total, thing["patches"].astype(np.float32) * rng.uniform(0.5, 1))
    return Exemplar(shown, total * (rng.random(len(total)) > miss))


def sparks(shown: EvidenceSample, rng: np.random.Generator) -> Exemplar:
    """The feature on a scene that has nothing to do with it: three weak patches."""
    total = np.zeros(len(shown.tokens), np.float32)
    total[rng.integers(0, len(total), 3)] = 0.4
    return Exemplar(shown, total)
