"""The bars of causal work, each a figure by name with its controls beside it, as JSON.

* ``evaluate_attribution``   does attribution tell what ablation would: r, identity, cost
* ``evaluate_steering``      do object features, put into a blank picture, get their concept named
* ``evaluate_hallucination`` are invented presences mended by features found automatically

Everything is measured anew with the seed given, on drawn scenes. Knows what causal knows; which
features are objects, and what they are called, the caller says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from semascope.causal.ablation import ablate_exactly, pearson
from semascope.causal.attribution import attribute, watched_run
from semascope.causal.cases import Case, halves, meets
from semascope.causal.find import find
from semascope.causal.hallucination import examine, mended, presence_cases, reconstruction_only
from semascope.causal.interventions import How, Intervention, Where
from semascope.causal.measure import Lever, as_control, matched_controls
from semascope.causal.metrics import LogProb, Metric, prepare
from semascope.causal.rows import per_row
from semascope.causal.statistics import mean, share
from semascope.causal.units import output_site
from semascope.causal.wish import Options, Wish
from semascope.corpus.sample import Sample, Turn
from semascope.corpus.scenes import SceneCorpus
from semascope.errors import CausalError
from semascope.subject.types import Batch

Progress = Callable[[int, int, str], None]
Feature = tuple[str, int]
Object = tuple[Feature | tuple[Feature, ...], str]
"""A feature, or a small set of them, and the concept that it is of."""
QUESTION = "What is in the picture?"


def evaluate_attribution(
    lever: Lever,
    *,
    seed: int = 0,
    samples: int = 100,
    top: int = 50,
    steps: int = 10,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Attribution against exact ablation over the top features of each prompt.

    The metric is the log-probability of the answer's first token as the model would say it;
    the prompts are held-out scenes, each with one of its questions.
    """
    names = ("integrated", "gradient", "activation", "gap", "error")
    lists: dict[str, list[float]] = {name: [] for name in names}
    ratios: list[float] = []
    for number, sample in enumerate(asked_scenes(seed, samples)):
        batch = lever.subject.encode([sample], answer="", max_tokens=None)
        with torch.no_grad():
            metric = LogProb(int(lever.subject.logits(batch)[0, -1].argmax()))
        plain = attribute(lever.subject, batch, lever.dictionaries, metric)
        whole = attribute(lever.subject, batch, lever.dictionaries, metric, integrated=steps)
        for name, found in (("gradient", plain), ("integrated", whole)):
            told = ablate_exactly(lever.subject, batch, lever.dictionaries, metric, found, top=top)
            lists[name].append(told.r)
            if name == "gradient":
                peaks = np.asarray([feature.peak for feature in told.features])
                lists["activation"].append(pearson(peaks, told.effects))
        lists["gap"] += [site.gap() for found in (plain, whole) for site in found.sites]
        lists["error"] += [site.error_share() for site in plain.sites]
        if number < 10:
            ratios.append(cost_ratio(lever, batch, metric))
        if progress is not None:
            progress(number + 1, samples, f"r {np.nanmean(lists['integrated']):.3f}")
    return {
        "r_integrated": mean(lists["integrated"]).as_json(),
        "r_gradient": mean(lists["gradient"]).as_json(),
        "r_activation_alone": mean(lists["activation"]).as_json(),
        "identity_gap": float(max(lists["gap"])),
        "error_share": mean(lists["error"]).as_json(),
        "cost_ratio": float(np.median(ratios)),
        "top": top,
        "steps": steps,
        "seed": seed,
        "samples": samples,
    }


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


@dataclass(frozen=True, slots=True)
class Plan:
    """Where and how hard object features are tried; one choice is made for all of them."""

    wheres: tuple[Where, ...] = field(
        default_factory=lambda: (Where(kinds=("image",)), Where(generated=False), Where())
    )
    doses: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    how: How = "add"
    tokens: int = 16
    rows: int = 16


def evaluate_steering(
    lever: Lever,
    objects: Sequence[Object],
    *,
    seed: int = 0,
    plan: Plan | None = None,
    blank: Image.Image | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Share of object features that make the model name their concept in a blank picture.

    Place and dose are chosen once, on every second feature; the bar is measured on all of them
    and, apart, on those that did not choose. A control is a random feature of like density and
    norm under the same intervention, judged by the same concept.

    Args:
        lever: with statistics ``max`` and ``density``.
        objects: (feature or a set of them, concept as a person would say it), best-scored first.
        seed: of the controls.
        plan: places and doses to choose from.
        blank: the picture; plain light grey, 128 pixels, if left out.
        progress: called with (done, total, note).

    Raises:
        CausalError: fewer than four features, or no statistics.
    """
    plan = plan or Plan()
    if len(objects) < 4 or lever.statistics is None:
        raise CausalError("Steering is judged on at least four features with their statistics.")
    sample = blank_sample(blank)
    sets = [(_members(features), concept) for features, concept in objects]
    tried = []
    for where in plan.wheres:
        for dose in plan.doses:
            named = _named(lever, sample, sets[::2], where, dose, plan)
            tried.append((sum(named), -dose, where, dose))
            if progress is not None:
                total = len(plan.wheres) * len(plan.doses)
                progress(len(tried), total, f"{sum(named)} of {len(named)} at {dose:g}")
    _, _, where, dose = max(tried, key=lambda row: row[:2])
    random_sets = [(_random_features(lever, own, seed), concept) for own, concept in sets]
    named = _named(lever, sample, sets, where, dose, plan)
    return {
        "named": share(sum(named), len(named)).as_json(),
        "named_held_out": share(sum(named[1::2]), len(named[1::2])).as_json(),
        "named_random": _share(_named(lever, sample, random_sets, where, dose, plan)),
        "named_unsteered": _share(_named(lever, sample, sets, where, 0.0, plan)),
        "dose": dose,
        "where": where.model_dump(mode="json", exclude_defaults=True),
        "how": plan.how,
        "tried": [
            {"named": n, "dose": d, "where": w.model_dump(mode="json", exclude_defaults=True)}
            for n, _, w, d in tried
        ],
        "features": len(objects),
        "seed": seed,
    }


def blank_sample(blank: Image.Image | None = None, question: str = QUESTION) -> Sample:
    """A picture of nothing, and what to ask of it."""
    picture = blank or Image.new("RGB", (128, 128), (214, 214, 214))
    return Sample(id="blank", turns=(Turn("user", question, images=1),), images=(picture,))


def _share(named: Sequence[bool]) -> dict[str, Any]:
    return share(sum(named), len(named)).as_json()


def _members(features: Feature | tuple[Feature, ...]) -> tuple[Feature, ...]:
    """A set of features from one or from several."""
    if isinstance(features[0], str):
        return (features,)  # a pair (dictionary, index)
    return features


def _random_features(lever: Lever, features: Sequence[Feature], seed: int) -> tuple[Feature, ...]:
    """As many random features, each like one of these in density and norm."""
    assert lever.statistics is not None
    drawn: list[Feature] = []
    for key, index in features:
        avoid = [i for k, i in (*features, *drawn) if k == key]
        control = matched_controls(
            lever.dictionaries[key], key, index, lever.statistics, count=1, seed=seed, avoid=avoid
        )
        drawn.append((key, control[0]))
    return tuple(drawn)


def _named(
    lever: Lever,
    sample: Sample,
    sets: Sequence[tuple[tuple[Feature, ...], str]],
    where: Where,
    dose: float,
    plan: Plan,
) -> list[bool]:
    """Whether the answer under each feature holds its concept, many features to a batch."""
    named: list[bool] = []
    for start in range(0, len(sets), plan.rows):
        part = sets[start : start + plan.rows]
        edits = per_row(
            [
                lever.edits([Intervention(features=own, where=where, how=plan.how, strength=dose)])
                for own, _ in part
            ]
        )
        told = lever.subject.generate_batch(
            [sample] * len(part), edits=edits, max_new_tokens=plan.tokens, top=1
        )
        named += [
            meets(answer.text, Case(sample, concept))
            for answer, (_, concept) in zip(told, part, strict=True)
        ]
    return named


def evaluate_hallucination(
    lever: Lever,
    *,
    seed: int = 0,
    samples: int = 200,
    options: Options | None = None,
    split: str = "heldout",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Presence questions on held-out scenes: what is invented, and what a found set mends.

    Half of the scenes, by their id, choose the features; figures are of the other half.
    """
    corpus = SceneCorpus(2**30, seed=seed + 9_000_011, split=split)
    cases = presence_cases((s for _, s in corpus.read(0, samples)), kinds=("presence", "map"))
    invented = [case for case in cases if case.wanted.lower() == "no"]
    present = [case for case in cases if case.wanted.lower() == "yes"]
    _, held = halves(cases)  # by picture, as ``find`` splits
    told = find(
        lever,
        Wish(cases=invented, protect=present, text="do not see what is not there"),
        options or Options(tokens=4, seed=seed),
        progress=progress,
    )
    arms = {"no-op": {}, "reconstruction": reconstruction_only(lever.dictionaries.values())}
    if told.found:
        arms["found"] = lever.edits(told.interventions)
        arms["random"] = lever.edits(
            as_control(own, _random_features(lever, own.features, seed))
            for own in told.interventions
        )
    after = examine(lever, held, arms, max_new_tokens=4, progress=progress)
    return {
        "base": after.by_kind(),
        "arms": after.table(),
        "mended": {name: mended(after, name).as_json() for name in arms},
        "finding": told.as_json(),
        "samples": samples,
        "split": split,
        "seed": seed,
    }
