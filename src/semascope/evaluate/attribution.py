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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch

from semascope.causal.attribution.ablation import ablate_exactly, pearson
from semascope.causal.attribution.attribute import attribute
from semascope.causal.attribution.metrics import LogitDiff, LogProb, Metric, prepare
from semascope.causal.attribution.watched_run import watched_run
from semascope.causal.search.cases import Case, halves, spread
from semascope.causal.search.find import find
from semascope.causal.search.goal import Finding, Options, Wish
from semascope.causal.search.ledger import Ledger
from semascope.causal.search.trials import Memo
from semascope.causal.steering.measure import Lever
from semascope.causal.steering.units import output_site
from semascope.corpus.sample import Sample, Turn
from semascope.corpus.scenes import SceneCorpus
from semascope.evaluate.hallucination import (
    Blame,
    Examination,
    blame,
    examine,
    mended,
    presence_cases,
    reconstruction_only,
)
from semascope.evaluate.steering import as_controls
from semascope.statistics import mean
from semascope.subject.types import Batch

Progress = Callable[[int, int, str], None]
SMALL_DOSES = (0.06, 0.12, 0.25, 1.0)
"""Doses that turn a yes into a no; more of them turns every yes."""


def evaluate_attribution(
    lever: Lever,
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
        work = partial(_one_prompt, lever, sample, top=top, steps=steps, timed=number < 10)
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
    lever: Lever, sample: Sample, *, top: int, steps: int, timed: bool
) -> dict[str, float | None]:
    """The figures of one prompt; None where there is none."""
    batch = lever.subject.encode([sample], answer="", max_tokens=None)
    with torch.no_grad():
        said, rival = lever.subject.logits(batch)[0, -1].topk(2).indices.tolist()
    metric = LogitDiff(said, rival)
    plain = attribute(lever.subject, batch, lever.dictionaries, metric)
    whole = attribute(lever.subject, batch, lever.dictionaries, metric, integrated=steps)
    of = {name: one.features()[:top] for name, one in (("gradient", plain), ("integrated", whole))}
    # What both put first is taken out once: the passes are most of the time.
    both = list({share.id: share for shares in of.values() for share in shares}.values())
    told = ablate_exactly(lever.subject, batch, lever.dictionaries, metric, plain, features=both)
    effect = {share.id: e for share, e in zip(told.features, told.effects, strict=True)}
    effects = {name: np.asarray([effect[s.id] for s in shares]) for name, shares in of.items()}
    found = {
        name: pearson(np.asarray([share.score for share in shares]), effects[name])
        for name, shares in of.items()
    }
    peaks = np.asarray([share.peak for share in of["gradient"]])
    found["activation"] = pearson(peaks, effects["gradient"])
    found["logprob"] = _r(lever, batch, LogProb(said), top) if timed else math.nan
    found["gap"] = max(site.gap() for one in (plain, whole) for site in one.sites)
    found["error"] = float(np.mean([site.error_share() for site in plain.sites]))
    found["cost"] = cost_ratio(lever, batch, metric) if timed else math.nan
    return {name: None if math.isnan(value) else value for name, value in found.items()}


def _r(lever: Lever, batch: Batch, metric: Metric, top: int) -> float:
    """Pearson's r of the plain gradient with ablation."""
    plain = attribute(lever.subject, batch, lever.dictionaries, metric)
    told = ablate_exactly(lever.subject, batch, lever.dictionaries, metric, plain, top=top)
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


def cost_ratio(lever: Lever, batch: Batch, metric: Metric, repeats: int = 3) -> float:
    """Seconds to attribute all features over those of one plain forward and backward.

    The plain pass goes back to the same activations and encodes nothing.
    """
    targets = sorted({output_site(d) for d in lever.dictionaries.values()})
    ours, plain = [], []
    for _ in range(repeats):
        begun = time.perf_counter()
        watched_run(lever.subject, prepare(batch, metric), targets, targets, metric, {})
        middle = time.perf_counter()
        attribute(lever.subject, batch, lever.dictionaries, metric)
        plain.append(middle - begun)
        ours.append(time.perf_counter() - middle)
    return float(np.median(ours) / np.median(plain))


def evaluate_hallucination(
    lever: Lever,
    *,
    seed: int = 0,
    samples: int = 200,
    options: Options | None = None,
    split: str = "heldout",
    cases: Sequence[Case] | None = None,
    explained: int = 3,
    on_blame: Callable[[Blame], Any] | None = None,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Questions about what is there and what is not, and what a found set mends of the inventions.

    Half of the pictures, by their id, choose the features; figures are of the other half: of all
    its wrong answers, and of ``options.kept`` of its right ones. Other questions of these pictures
    (what is there, the flags on a map, the written word), twice as many, are protected: answers
    that were right must stay so.

    Args:
        lever: with statistics.
        seed: of the scenes.
        samples: scenes to draw.
        options: how hard to look.
        split: of the scenes.
        cases: instead of scenes, cases of the user's own (POPE, HallusionBench).
        explained: how many wrong answers of the held-out half are explained.
        on_blame: told each explanation; what it returns is kept in the report as ``picture``.
        ledger: where parts stand that need not be measured anew.
        progress: called with (done, total, note).
    """
    options = options or Options(tokens=4, seed=seed)
    wish = presence_wish(samples, seed=seed, split=split, cases=cases)
    wish = replace(wish, protect=spread(wish.protect, 2 * options.kept))
    cases = [*wish.cases, *wish.protect]
    _, held = halves(cases)  # by picture, as ``find`` splits
    memo = Memo(lever, ledger or Ledger())
    told = find(lever, wish, options, memo=memo, progress=progress)
    asked = partial(examine, lever, max_new_tokens=options.tokens, ledger=ledger, progress=progress)
    before = asked(held, {}, plain=memo.plainly(held, options.tokens, progress))
    arms = _arms(lever, told, seed)
    fewer = before.fewer(options.kept)
    after = asked(fewer, arms, plain=memo.plainly(fewer, options.tokens))
    return {
        "base": before.by_kind(),
        "arms": after.table(),
        "mended": {name: mended(after, name).as_json() for name in arms},
        "broken": after.broken_by(),
        "accuracy": after.accuracies(before),
        "wrong": _explained(lever, after, explained, on_blame),
        "finding": told.as_json(),
        "samples": len({case.sample.id for case in cases}),
        "split": split,
        "seed": seed,
    }


def presence_wish(
    samples: int, *, seed: int = 0, split: str = "heldout", cases: Sequence[Case] | None = None
) -> Wish:
    """No to what is not there; every other question of the same pictures is protected."""
    if cases is None:
        corpus = SceneCorpus(2**30, seed=seed + 9_000_011, split=split)
        cases = presence_cases(s for _, s in corpus.read(0, samples))
    return Wish(
        cases=[case for case in cases if case.wanted.lower() == "no"],
        protect=[case for case in cases if case.wanted.lower() != "no"],
        text="do not see what is not there",
    )


def _arms(lever: Lever, told: Finding, seed: int) -> dict[str, Any]:
    """Edits of every arm: nothing, the reconstruction alone, what was found, random features.

    Where nothing good enough was found, the best set that was tried stands as ``best tried``.
    """
    arms: dict[str, Any] = {
        "no-op": {},
        "reconstruction": reconstruction_only(lever.dictionaries.values()),
    }
    own = told.interventions or told.best
    if own:
        arms["found" if told.found else "best tried"] = lever.edits(own)
        arms["random"] = lever.edits(as_controls(lever, own, seed))
    return arms


def _explained(
    lever: Lever,
    after: Examination,
    count: int,
    on_blame: Callable[[Blame], Any] | None,
) -> list[dict[str, Any]]:
    """The first wrong answers, each with the features of image and text that are to blame."""
    pairs = zip(after.cases, after.base.answers, after.base.right, strict=True)
    wrong = ((case, text) for case, text, right in pairs if not right and case.wanted)
    rows = []
    for case, text in islice(wrong, count):
        found = blame(lever, case, text)
        row = found.as_json()
        if on_blame is not None:
            row["picture"] = on_blame(found)
        rows.append(row)
    return rows
