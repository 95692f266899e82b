"""The bars of causal work, each a figure by name with its controls beside it, as JSON.

* ``evaluate_attribution``   does attribution tell what ablation would: r, identity, cost
* ``evaluate_hallucination`` are invented presences mended by features found automatically
* ``naming.evaluate_steering``, ``behaviours.evaluate_behaviours``, ``empathy.empathy``: the others

Everything is measured anew with the seed given, on drawn scenes, unless a ledger holds it. Knows
what causal knows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from semascope.causal.attribution.ablation import pearson
from semascope.causal.attribution.metrics import LogitDiff, LogProb, Metric, prepare
from semascope.causal.attribution.watched_run import watched_run
from semascope.causal.search.ledger import Ledger
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.causal.steering.units import output_site
from semascope.corpus.sample import Sample, Turn
from semascope.corpus.scenes import SceneCorpus
from semascope.statistics import mean
from semascope.subject.types import Batch

Progress = Callable[[int, int, str], None]


def evaluate_attribution(
    steerable: SteerableModel,
    *,
    seed: int = 0,
    samples: int = 100,
    top: int = 50,
    steps: int = 10,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Attribution against exact ablation over the top features of each prompt.

    The metric is the logit of the answer's first token, as the model would say it, less that of
    its strongest rival (Templeton et al. 2024): a probability of .99 hardly moves, whatever is
    taken out, so r with it is reported beside. The prompts are held-out scenes, each with one of
    its questions.
    """
    ledger = ledger or Ledger()
    rows: list[dict[str, Any]] = []
    for number, sample in enumerate(asked_scenes(seed, samples)):
        work = partial(_one_prompt, steerable, sample, top=top, steps=steps, timed=number < 10)
        rows.append(ledger.do(f"{number}|{top}|{steps}", work))
        if progress is not None:
            told = np.nanmean([row["integrated"] or np.nan for row in rows])
            progress(number + 1, samples, f"r {told:.3f}")
    columns = {name: [_number(row.get(name)) for row in rows] for name in rows[0]}
    return {
        "r_integrated": mean(columns["integrated"]).as_json(),
        "r_gradient": mean(columns["gradient"]).as_json(),
        "r_activation_alone": mean(columns["activation"]).as_json(),
        "r_gradient_logprob": mean(columns["logprob"]).as_json(),
        "identity_gap": float(np.max(columns["gap"])),
        "error_share": mean(columns["error"]).as_json(),
        "cost_ratio": float(np.nanmedian(columns["cost"])),
        "prompts_without_r": int(np.isnan(columns["integrated"]).sum()),
        "top": top,
        "steps": steps,
        "seed": seed,
        "samples": samples,
    }


def _one_prompt(
    steerable: SteerableModel, sample: Sample, *, top: int, steps: int, timed: bool
) -> dict[str, float | None]:
    """The figures of one prompt; None where there is none."""
    batch = steerable.prompt(sample)
    with torch.no_grad():
        said, rival = steerable.subject.logits(batch)[0, -1].topk(2).indices.tolist()
    metric = LogitDiff(said, rival)
    plain = steerable.attribute(batch, metric)
    whole = steerable.attribute(batch, metric, integrated=steps)
    of = {name: one.features()[:top] for name, one in (("gradient", plain), ("integrated", whole))}
    # What both put first is taken out once: the passes are most of the time.
    both = list({share.id: share for shares in of.values() for share in shares}.values())
    told = steerable.ablate_exactly(batch, metric, plain, features=both)
    effect = {share.id: e for share, e in zip(told.features, told.effects, strict=True)}
    effects = {name: np.asarray([effect[s.id] for s in shares]) for name, shares in of.items()}
    found = {
        name: pearson(np.asarray([share.score for share in shares]), effects[name])
        for name, shares in of.items()
    }
    peaks = np.asarray([share.peak for share in of["gradient"]])
    found["activation"] = pearson(peaks, effects["gradient"])
    found["logprob"] = _r(steerable, batch, LogProb(said), top) if timed else math.nan
    found["gap"] = max(site.gap() for one in (plain, whole) for site in one.sites)
    found["error"] = float(np.mean([site.error_share() for site in plain.sites]))
    found["cost"] = cost_ratio(steerable, batch, metric) if timed else math.nan
    return {name: None if math.isnan(value) else value for name, value in found.items()}


def _r(steerable: SteerableModel, batch: Batch, metric: Metric, top: int) -> float:
    """Pearson's r of the plain gradient with ablation."""
    plain = steerable.attribute(batch, metric)
    told = steerable.ablate_exactly(batch, metric, plain, top=top)
    return told.r


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def asked_scenes(seed: int, samples: int, split: str = "heldout") -> Iterator[Sample]:
    """Scenes with one question each, the questions taken in turn over a scene's kinds."""
    corpus = SceneCorpus(2**30, seed=seed + 7_000_003, split=split)
    for number, sample in corpus.read(0, samples):
        questions = sample.truth.questions if sample.truth else ()
        question = questions[number % len(questions)]
        turn = Turn("user", question.text, images=len(sample.images))
        yield Sample(id=sample.id, turns=(turn,), images=sample.images, source=sample.source)


def cost_ratio(steerable: SteerableModel, batch: Batch, metric: Metric, repeats: int = 3) -> float:
    """Seconds to attribute all features over those of one plain forward and backward.

    The plain pass goes back to the same activations and encodes nothing.
    """
    targets = sorted({output_site(d) for d in steerable.dictionaries.values()})
    ours, plain = [], []
    for _ in range(repeats):
        begun = time.perf_counter()
        watched_run(steerable.subject, prepare(batch, metric), targets, targets, metric, {})
        middle = time.perf_counter()
        steerable.attribute(batch, metric)
        plain.append(middle - begun)
        ours.append(time.perf_counter() - middle)
    return float(np.median(ours) / np.median(plain))
