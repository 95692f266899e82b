"""How true are a workspace's explanations: every bar of issue "explain", measured.

What stands in the workspace is read (evidence, words, scores); what does not is measured on
fresh scenes drawn by the seed: which concepts the model itself names, and which of them have a
feature; and what a cascade saves against asking the subject about everything. Nothing is
written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from semascope.pipeline.explainers import vocabulary
from semascope.pipeline.run_context import Run
from semascope.pipeline.scorers import TOGETHER, peaks
from semascope.pipeline.stages.explain import best
from semascope.pipeline.stages.explain import read as read_explanations
from semascope.pipeline.stages.score import read as read_scores

if TYPE_CHECKING:
    from semascope.corpus.sample import Sample
    from semascope.evaluate.concept_coverage import CoveredConcept
    from semascope.evidence.types import FeatureEvidence
    from semascope.explain.types import Explanation, Score

Progress = Callable[[int, int, str], None]
FAR = 9_000_011
"""Added to the seed of fresh scenes: far from the seeds of corpora."""
LONGEST = 48
"""Tokens of a caption waited for."""
CAPTIONED = 6
"""Scenes of a concept in which the model is asked what it sees."""
SHARES = {"name": 0.6, "emotion": 0.12, "word": 0.16, "shape": 0.12}
"""Of the concepts that are asked about, the share of each kind, as scenes have them."""


def evaluate(
    run: Run,
    *,
    seed: int = 0,
    concepts: int = 60,
    each: int = 16,
    cascade: int = 40,
    ceiling: int = 500,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Every figure by name, with its interval, and whether each bar is reached.

    ``concepts`` things are drawn ``each`` times; ``cascade`` features are put to the cascade and
    to the subject alone; ``ceiling`` features are named from the samples that judge them; 0
    leaves a part out, and its bars are not reached.
    """
    from semascope.evaluate import explanations

    said = progress or (lambda done, total, note: None)
    alive = run.evidence.alive().tolist()
    words = best(read_explanations(run))

    def records() -> Any:
        for number, index in enumerate(alive):
            if number % 64 == 0:
                said(number, len(alive), "features against truth")
            yield run.evidence.feature(index)

    scores = list(read_scores(run))
    if not any(score.kind == "told_apart" for score in scores):
        scores += told_apart_scores(run, words, said)
    out = explanations.figures(records(), words, scores)
    out |= judges(scores)
    if ceiling:
        out |= ceiling_figures(run, alive, ceiling, seed, said)
    if concepts and run.subject.has_vision:
        out |= concept_figures(covered(run, concepts, each, seed, said), seed)
    if cascade and run.subject.has_vision:
        out |= cascade_figures(run, alive, cascade, seed, said)
    out["bars"] = explanations.reached(out)
    out |= {
        "seed": seed,
        "workspace": str(run.workspace.root),
        "subject": run.options.train.subject,
    }
    return out


def judges(scores: Sequence[Score]) -> dict[str, str]:
    """``detection_judge`` and ``told_apart_judge``: who judged, words, meaning or an LMM."""
    found = {s.kind: str(s.evidence["judge"]) for s in scores if s.evidence.get("judge")}
    return {f"{kind}_judge": found[kind] for kind in ("detection", "told_apart") if kind in found}


def told_apart_scores(run: Run, words: Mapping[int, Explanation], said: Progress) -> list[Score]:
    """Scores of words against those of the nearest features, in a workspace that has none yet.

    An LMM is not asked here: where the options name one as judge, words are matched by rule.
    """
    from semascope.pipeline.scorers import told_apart

    own = sorted(feature for feature, e in words.items() if not e.abstained)
    if run.options.score.judge == "lmm":
        options = run.options.score.model_copy(update={"judge": "words"})
        run = Run(run.workspace, run.options.model_copy(update={"score": options}))
    scorer, scores = told_apart(run), []
    for first in range(0, len(own), TOGETHER * TOGETHER):
        said(first, len(own), "words against those of the nearest features")
        block = own[first : first + TOGETHER * TOGETHER]
        scores += scorer.score(
            [run.evidence.feature(feature) for feature in block], [words[f] for f in block]
        )
    return scores


def ceiling_figures(
    run: Run, alive: Sequence[int], n: int, seed: int, said: Progress
) -> dict[str, Any]:
    """Detection of words that were made from the samples that judge them, over n features."""
    from semascope.evaluate.detection_ceiling import ceiling
    from semascope.explain.scorers.detection import DetectionScorer

    said(0, 1, "what words could do at best")
    some = sorted(np.random.default_rng((seed, 2)).permutation(alive)[:n].tolist())
    records = [run.evidence.feature(index) for index in some]
    told = ceiling(records, vocabulary(run), DetectionScorer(seed=seed))
    if told is None:
        return {}
    return {
        "detection_auroc_ceiling": told.value,
        "detection_auroc_ceiling_interval": [told.low, told.high],
    }


# ---- which concepts that the model names have a feature


def covered(run: Run, concepts: int, each: int, seed: int, said: Progress) -> list[CoveredConcept]:
    """Concepts drawn by the seed, what the model says of them, and their best features."""
    from semascope.evaluate.concept_coverage import cover
    from semascope.explain.scorers.generated_scenes import SceneGenerator

    names = drawn_concepts(concepts, seed)
    draw = SceneGenerator()
    scenes = [draw(name, each, seed + FAR) for _, name in names]
    flat = [s for some in scenes for s in some]
    asked = [some[:CAPTIONED] for some in scenes]
    said(0, 2, f"{sum(map(len, asked))} scenes of {len(names)} concepts: what the model sees")
    texts = iter(captions(run, [s for some in asked for s in some]))
    told = [
        float(np.mean([_says(next(texts), name) for _ in some] or [False]))
        for (_, name), some in zip(names, asked, strict=True)
    ]
    said(1, 2, "which features fire")
    found = peaks(run, flat)
    holds = np.array([[_holds(s, name) for _, name in names] for s in flat])
    half = np.concatenate([np.arange(len(some)) % 2 == 0 for some in scenes])
    return cover(found, holds, half, names, told, seed=seed)


def drawn_concepts(n: int, seed: int) -> list[tuple[str, str]]:
    """(kind, name) of n concepts: things, feelings, written words, coloured shapes."""
    from semascope.corpus.scenes import SpritePack
    from semascope.corpus.scenes.colours import NAMES
    from semascope.corpus.scenes.sprites import SHAPES

    pack = SpritePack.load()
    pools = {
        "name": sorted({s.name for s in pack.sprites if not s.emotion}),
        "emotion": sorted({s.emotion for s in pack.sprites if s.emotion}),
        "word": [f"word {w}" for w in pack.words],
        "shape": [f"{c} {s}" for c in NAMES for s in SHAPES],
    }
    rng = np.random.default_rng((seed, n))
    found = []
    for kind, pool in pools.items():
        wanted = min(len(pool), max(1, round(SHARES[kind] * n)))
        found += [(kind, pool[i]) for i in rng.permutation(len(pool))[:wanted].tolist()]
    return found[:n] if n < len(found) else found


def captions(run: Run, scenes: Sequence[Sample]) -> list[str]:
    """What the subject says is in each picture, greedily."""
    texts: list[str] = []
    for first in range(0, len(scenes), TOGETHER):
        some = list(scenes[first : first + TOGETHER])
        texts += [g.text for g in run.subject.generate_batch(some, max_new_tokens=LONGEST)]
    return texts


def _says(text: str, name: str) -> bool:
    """Whether an answer names a concept: all its words, one after another."""
    from semascope.explain.text import terms as words

    said = [words.stem(text[a:b]) for a, b in words.spans(text)]
    asked = [words.stem(name[a:b]) for a, b in words.spans(name)]
    return any(said[i : i + len(asked)] == asked for i in range(len(said) - len(asked) + 1))


def _holds(scene: Sample, name: str) -> bool:
    """Whether a drawn scene truly holds a concept."""
    from semascope.evidence.gathering.scene_truth import truth_record
    from semascope.explain.scorers.match_truth import names_object
    from semascope.explain.text.claims import claim

    said = claim(name, "")
    return any(names_object(said, thing) for thing in truth_record(scene.truth)["objects"])


def concept_figures(found: Sequence[CoveredConcept], seed: int) -> dict[str, Any]:
    """The share of concepts with a feature, of those that the model names and of all."""
    from semascope.evaluate.concept_coverage import share_covered

    out: dict[str, Any] = {"concepts_drawn": len(found)}
    for key, least in (("concepts_with_feature", 0.5), ("concepts_with_feature_all", 0.0)):
        figure = share_covered(found, least_named=least, seed=seed)
        out[f"{key}_n"] = figure.n
        if figure.n:
            out |= {key: figure.value, f"{key}_interval": list(figure.interval)}
    out["concepts"] = [
        {"kind": c.kind, "name": c.name, "named": c.named, "feature": c.feature,
         "ap": round(c.ap, 4), "interval": [round(c.low, 4), round(c.high, 4)],
         "chance": round(c.chance, 4)}
        for c in found
    ]  # fmt: skip
    return out


# ---- what a cascade saves


def cascade_figures(
    run: Run, alive: Sequence[int], n: int, seed: int, said: Progress
) -> dict[str, Any]:
    """The cascade's score and calls as shares of asking the subject about every feature.

    Held-out detection on the score split, an abstention counting as chance; the same features,
    pictures ones, drawn by the seed.
    """
    from semascope.explain.explainers.cascade import Cascade
    from semascope.explain.explainers.self_naming import SubjectNamer

    records = pictured(run, alive, n, seed)
    if not records:
        return {}
    said(0, 2, f"the subject alone, {len(records)} features")
    large = SubjectNamer(run.subject, run.media.open)
    alone = large.explain(records)
    said(1, 2, "the cascade")
    how = run.options.explain
    chain = Cascade([vocabulary(run), large], bar=how.bar, most=how.most)
    both = chain.explain(records)
    calls = (sum(e.cost.calls for e in both), sum(e.cost.calls for e in alone))
    return compared(records, both, alone, calls, seed)


def pictured(run: Run, alive: Sequence[int], n: int, seed: int) -> list[FeatureEvidence]:
    """n alive features that fire on pictures, drawn by the seed."""
    stats = run.evidence.stats
    seen = np.maximum(stats("density_image"), stats("density_tile")) >= stats("density_text")
    pool = [i for i in alive if seen[i]]
    order = np.random.default_rng((seed, 1)).permutation(len(pool))[:n]
    return [run.evidence.feature(pool[i]) for i in sorted(order.tolist())]


def compared(
    records: Sequence[FeatureEvidence],
    both: Sequence[Any],
    alone: Sequence[Any],
    calls: tuple[int, int],
    seed: int,
) -> dict[str, Any]:
    """Two sets of words by held-out detection: the ratio of what their means have above chance,
    with its interval; no ratio where the large explainer has nothing."""
    from semascope.explain.scorers.detection import DetectionScorer
    from semascope.statistics import percentiles, resample_counts

    scorer = DetectionScorer(least=2, seed=seed)
    values = []
    for made in (both, alone):
        scores = {s.feature: s.value for s in scorer.score(records, made) if s.kind == scorer.name}
        values.append(np.array([scores.get(r.index, 0.5) for r in records]))
    # Of what lies above chance: two explainers that know nothing are not equally good.
    above = [v - 0.5 for v in values]
    rows = resample_counts(len(records), seed)
    dear = rows @ above[1]
    ratio = (rows @ above[0])[dear > 0] / dear[dear > 0]
    share = float(above[0].mean() / above[1].mean()) if above[1].mean() > 0 else None
    told = {} if share is None else {
        "cascade_score_share": share, "cascade_score_share_interval": list(percentiles(ratio)),
    }  # fmt: skip
    return {
        "cascade_features": len(records),
        "cascade_score": float(values[0].mean()),
        "large_score": float(values[1].mean()),
        **told,
        "cascade_calls": calls[0],
        "large_calls": calls[1],
        "cascade_call_share": calls[0] / max(calls[1], 1),
    }
