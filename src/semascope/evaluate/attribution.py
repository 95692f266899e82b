"""The benchmark of attribution: agreement with exact ablation, the identity of its sums, its cost.

Measured on drawn scenes with the seed given; a ledger keeps the figures of finished prompts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from semascope.causal.attribution.metrics import LogitDiff, LogProb, Metric, prepare
from semascope.causal.attribution.watched_run import watched_run
from semascope.causal.search.cases import Progress
from semascope.causal.search.ledger import Ledger
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.causal.steering.units import output_site
from semascope.corpus.sample import Sample, Turn
from semascope.corpus.scenes import SceneCorpus
from semascope.statistics import correlation, mean
from semascope.subject.types import Batch


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

    The metric is the logit of the answer's first token, as the model would give it, minus that of
    its strongest rival (Templeton et al. 2024). A probability of .99 hardly moves whatever is
    ablated, so r with the log-probability is reported as well. The prompts are held-out scenes,
    each with one of its questions.

    The identity is that features, error and bias sum to x·g. ``identity_missing`` is what is
    missing from it, in logits, and ``identity_gap`` the same relative to Σ|x·g|, which is rounding
    error where x is orthogonal to the gradient; ``prompts_off_the_identity`` counts the prompts
    where more is missing than rounding explains (``SiteAttribution.sums_up``).

    Args:
        steerable: the model with its dictionaries.
        seed: of the scenes.
        samples: number of prompts.
        top: features to ablate per prompt, by each kind of score.
        steps: steps of integrated gradients.
        ledger: finished prompts, to resume from.
        progress: called with (done, total, note).
    """
    ledger = ledger or Ledger()
    rows: list[dict[str, Any]] = []
    for number, sample in enumerate(scene_questions(seed, samples)):
        work = partial(_one_prompt, steerable, sample, top=top, steps=steps, timed=number < 10)
        rows.append(ledger.do(f"prompt {number}|{top}|{steps}", work))
        if progress is not None:
            r_so_far = mean([_number(row["integrated"]) for row in rows], draws=1)
            note = f"r {r_so_far.value:.3f}" if r_so_far.n else "no r yet"
            progress(number + 1, samples, note)
    columns = {name: [_number(row[name]) for row in rows] for name in rows[0]}
    return {
        "r_integrated": mean(columns["integrated"]).as_json(),
        "r_gradient": mean(columns["gradient"]).as_json(),
        "r_activation_alone": mean(columns["activation"]).as_json(),
        "r_gradient_logprob": mean(columns["logprob"]).as_json(),
        "identity_gap": float(np.max(columns["gap"])),
        "identity_missing": float(np.max(columns["missing"])),
        "prompts_off_the_identity": sum(not row["sums_up"] for row in rows),
        "error_share": mean(columns["error"]).as_json(),
        "cost_ratio": float(np.nanmedian(columns["cost"])),
        "prompts_without_r": sum(row["integrated"] is None for row in rows),
        "top": top,
        "steps": steps,
        "seed": seed,
        "samples": samples,
    }


def _one_prompt(
    steerable: SteerableModel, sample: Sample, *, top: int, steps: int, timed: bool
) -> dict[str, float | bool | None]:
    """The figures of one prompt; None for those that it does not have."""
    batch = steerable.prompt(sample)
    with torch.no_grad():
        answer, rival = steerable.subject.logits(batch)[0, -1].topk(2).indices.tolist()
    metric = LogitDiff(answer, rival)
    plain = steerable.attribute(batch, metric)
    integrated = steerable.attribute(batch, metric, integrated=steps)
    ranked = {"gradient": plain.features()[:top], "integrated": integrated.features()[:top]}
    # Features that both rankings name are ablated once: most of the time goes into the passes.
    features = list({share.id: share for shares in ranked.values() for share in shares}.values())
    result = steerable.ablate_exactly(batch, metric, plain, features=features)
    effect = {share.id: e for share, e in zip(result.features, result.effects, strict=True)}
    effects = {name: np.asarray([effect[s.id] for s in shares]) for name, shares in ranked.items()}
    sites = [*plain.sites, *integrated.sites]
    return {
        **{
            name: correlation(np.asarray([share.score for share in shares]), effects[name])
            for name, shares in ranked.items()
        },
        "activation": correlation(
            np.asarray([share.peak for share in ranked["gradient"]]), effects["gradient"]
        ),
        "logprob": _gradient_r(steerable, batch, LogProb(answer), top) if timed else None,
        "gap": max(site.gap() for site in sites),
        "missing": max(float(site.missing().max()) for site in sites),
        "sums_up": all(site.sums_up() for site in sites),
        "error": float(np.mean([site.error_share() for site in plain.sites])),
        "cost": cost_ratio(steerable, batch, metric) if timed else None,
    }


def _gradient_r(steerable: SteerableModel, batch: Batch, metric: Metric, top: int) -> float | None:
    """Pearson's r of the plain gradient with ablation; None if there is none."""
    plain = steerable.attribute(batch, metric)
    return steerable.ablate_exactly(batch, metric, plain, top=top).r


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def scene_questions(seed: int, samples: int, split: str = "heldout") -> Iterator[Sample]:
    """Scenes with one question each; the kinds of questions take turns."""
    corpus = SceneCorpus(2**30, seed=seed + 7_000_003, split=split)
    for number, sample in corpus.read(0, samples):
        questions = sample.truth.questions if sample.truth else ()
        question = questions[number % len(questions)]
        turn = Turn("user", question.text, images=len(sample.images))
        yield Sample(id=sample.id, turns=(turn,), images=sample.images, source=sample.source)


def cost_ratio(steerable: SteerableModel, batch: Batch, metric: Metric, repeats: int = 3) -> float:
    """Time to attribute to all features, relative to one plain forward and backward pass.

    The plain pass goes back to the same activations and encodes nothing.
    """
    targets = sorted({output_site(d) for d in steerable.dictionaries.values()})
    attribution_times, plain_times = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        watched_run(steerable.subject, prepare(batch, metric), targets, targets, metric, {})
        middle = time.perf_counter()
        steerable.attribute(batch, metric)
        plain_times.append(middle - start)
        attribution_times.append(time.perf_counter() - middle)
    return float(np.median(attribution_times) / np.median(plain_times))
