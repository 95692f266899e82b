"""How true are the explanations of a whole dictionary, on scenes whose truth is known?

The figures of ``semascope evaluate explanations``, each by name: how many alive features are in
words, how well the words detect and localise on held-out samples, beside their controls, and
how often they name the right concept. Knows records, explanations, scores and scene truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from semascope.evidence.types import Exemplar, FeatureEvidence
from semascope.explain.scorers.iou import overlap
from semascope.explain.scorers.match_truth import areas, coverage, named_things, picture_tokens
from semascope.explain.text import form
from semascope.explain.text.claims import Claim, claim
from semascope.explain.text.exemplar_terms import mode_of
from semascope.explain.types import Explanation, Score
from semascope.statistics import mean_interval

CONCEPTS = {"object": "name", "colour": "colour", "word": "word", "emotion": "emotion"}
"""Kinds of concept, and the field of a scene's object that holds them."""
BARS: Mapping[str, tuple[float, float]] = {
    "explained_fraction": (0.60, 1.0),
    "detection_auroc_mean": (0.90, 1.0),
    "detection_auroc_shuffled": (0.45, 0.55),
    "iou_object_mean": (0.50, 1.0),
    "iou_random": (0.0, 0.02),
    "right_concept": (0.75, 1.0),
    "concepts_with_feature": (0.70, 1.0),
    "cascade_score_share": (0.95, float("inf")),
    "cascade_call_share": (0.0, 0.25),
    "told_apart": (0.55, 1.0),
    "labels_refused": (0.0, 0.01),
    "distinct_labels": (0.85, 1.0),
}
"""What each figure is to lie between."""
SURE = (10, 30, 50, 70, 90)
"""Shares of the explained features in per cent, those of most confident words first."""
_LEAST_IOU = 0.2
_NEAR = 0.8


@dataclass(frozen=True, slots=True)
class TrueConcept:
    """The true concept on which a feature's heat lies best."""

    kind: str
    name: str
    iou: float
    """Mean over held-out exemplars, at each one's best threshold."""


def true_concept(record: FeatureEvidence, *, most: int = 12) -> TrueConcept | None:
    """The concept with the largest IoU over held-out exemplars; None where none reaches .2.

    Of concepts that lie equally well the more particular kind wins: a feature that fires on
    red circles alone is about them, not about red.
    """
    exemplars = [e for e in record.split("score").top if e.shown.truth.get("objects")][:most]
    exemplars = [e for e in exemplars if mode_of(e) == "picture"]
    if len(exemplars) < 2:
        return None
    found: list[TrueConcept] = []
    for kind, field in CONCEPTS.items():
        for name in _present(exemplars, field):
            asked = [
                [o for o in e.shown.truth["objects"] if o.get(field) == name] for e in exemplars
            ]
            value = float(np.mean([_best(e, o) for e, o in zip(exemplars, asked, strict=True)]))
            found.append(TrueConcept(kind, name, value))
    best = max(found, key=lambda c: c.iou, default=None)
    if best is None or best.iou < _LEAST_IOU:
        return None
    return next(c for c in found if c.iou >= best.iou - 1e-6)


def _present(exemplars: Sequence[Exemplar], field: str) -> list[str]:
    """Values of a field that stand in two exemplars or more, in order of first sight."""
    seen: dict[str, int] = {}
    for exemplar in exemplars:
        for name in {str(o[field]) for o in exemplar.shown.truth["objects"] if o.get(field)}:
            seen[name] = seen.get(name, 0) + 1
    return sorted(name for name, count in seen.items() if count >= 2)


def _best(exemplar: Exemplar, things: Sequence[Mapping[str, Any]]) -> float:
    """Largest grid IoU over thresholds of the heat with some things; 0 where there are none."""
    tokens = picture_tokens(exemplar.shown)
    if not things or not len(tokens):
        return 0.0
    total = np.sum([np.asarray(t["patches"][tokens], np.float64) for t in things], axis=0)
    heat = exemplar.activations[tokens].astype(np.float64)
    if total.max() <= 0 or heat.max() <= 0:
        return 0.0
    return float(
        overlap(heat / heat.max(), total.clip(0, 1), areas(exemplar.shown, tokens)).grid.max()
    )


def says_right(record: FeatureEvidence, explanation: Explanation, concept: TrueConcept) -> bool:
    """Whether the words name the true concept: what they name lies as well as the concept does.

    By place, not by spelling: "circle" is right for a feature of red circles in scenes where no
    other circle stands, and "fruit" is wrong for one of mangos.
    """
    said = claim(explanation.label, explanation.description)
    exemplars = [e for e in record.split("score").top if e.shown.truth.get("objects")][:12]
    values = [_said(e, said) for e in exemplars if mode_of(e) == "picture"]
    return bool(values) and float(np.mean(values)) >= _NEAR * concept.iou


def _said(exemplar: Exemplar, said: Claim) -> float:
    named = named_things(said, exemplar.shown)
    tokens = picture_tokens(exemplar.shown)
    if named is None or not len(tokens):
        return 0.0
    share = coverage(named, tokens)
    heat = exemplar.activations[tokens].astype(np.float64)
    if share.max() <= 0 or heat.max() <= 0:
        return 0.0
    return float(overlap(heat / heat.max(), share, areas(exemplar.shown, tokens)).grid.max())


def figures(
    records: Iterable[FeatureEvidence],
    explanations: Mapping[int, Explanation],
    scores: Iterable[Score],
) -> dict[str, Any]:
    """Every figure by name, means with their intervals, and whether each bar is reached.

    ``records``: of all alive features; read once, in order, so a generator is fine.
    """
    concepts: dict[int, TrueConcept] = {}
    right: dict[str, list[float]] = {kind: [] for kind in CONCEPTS}
    told: list[float] = []
    for record in records:
        words = explanations.get(record.index)
        told.append(float(words is not None and not words.abstained))
        if words is None or words.abstained:
            continue
        concept = true_concept(record)
        if concept is not None:
            concepts[record.index] = concept
            right[concept.kind].append(float(says_right(record, words, concept)))
    out: dict[str, Any] = {
        "features_alive": len(told),
        "features_explained": int(sum(told)),
        "explained_fraction": 0.0,
        "features_of_a_concept": len(concepts),
        "right_concept_by_kind": {k: _mean(v) for k, v in right.items() if v},
    }
    _put(out, "explained_fraction", told)
    every = [value for values in right.values() for value in values]
    _put(out, "right_concept", every)
    listed = list(scores)
    for name, values in _collected(listed, concepts).items():
        _put(out, name, values)
    out |= by_confidence(listed, explanations)
    labels = [e.label for _, e in sorted(explanations.items()) if not e.abstained and e.label]
    for name, values in form.figures(labels).items():
        _put(out, name, values)
    out["labels_refused_by_reason"] = form.reasons(labels)
    out["bars"] = reached(out)
    return out


def _collected(
    scores: Iterable[Score], concepts: Mapping[int, TrueConcept]
) -> dict[str, list[float]]:
    names = {
        "detection": "detection_auroc_mean",
        "detection_shuffled": "detection_auroc_shuffled",
        "detection_ap": "detection_ap_mean",
        "iou": "iou_mean",
        "iou_pixels": "iou_pixels_mean",
        "iou_soft": "iou_soft_mean",
        "iou_random": "iou_random",
        "fuzzing": "fuzzing_auroc_mean",
        "fuzzing_shuffled": "fuzzing_auroc_shuffled",
        "simulation": "simulation_r_mean",
        "specificity": "specificity_mean",
        "consistency": "consistency_mean",
        "sensitivity": "sensitivity_auroc_mean",
        "monosemanticity": "monosemanticity_mean",
    }
    values: dict[str, list[float]] = {}
    for score in scores:
        values.setdefault(names.get(score.kind, score.kind), []).append(score.value)
        if score.kind == "iou" and _is_object(concepts.get(score.feature)):
            values.setdefault("iou_object_mean", []).append(score.value)
    return values


def by_confidence(
    scores: Iterable[Score], explanations: Mapping[int, Explanation]
) -> dict[str, float]:
    """How well the words detect that their authors were surest of: the first 10 %, and so on.

    What a reader gains who looks at confident words alone (selective prediction, Geifman and
    El-Yaniv 2017); beside it Pearson's r of confidence and detection. Empty without scores.
    """
    detection = {score.feature: score.value for score in scores if score.kind == "detection"}
    told = [explanations[f] for f in sorted(detection) if f in explanations]
    if len(told) < 2:
        return {}
    sure = np.array([words.confidence for words in told])
    value = np.array([detection[words.feature] for words in told])
    order = np.argsort(-sure, kind="stable")
    found = {
        f"detection_surest_{share}": _mean(value[order[: -(-share * len(order) // 100)]].tolist())
        for share in SURE
    }
    if sure.std() > 0 and value.std() > 0:
        found["confidence_r"] = float(np.corrcoef(sure, value)[0, 1])
    return found


def _is_object(concept: TrueConcept | None) -> bool:
    return concept is not None and concept.kind == "object"


def reached(values: Mapping[str, Any]) -> dict[str, bool]:
    """Each bar by name: whether its figure is there and lies within."""
    return {
        name: name in values and low <= float(values[name]) <= high
        for name, (low, high) in BARS.items()
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _put(out: dict[str, Any], name: str, values: Sequence[float]) -> None:
    if values:
        figure = mean_interval(np.array(values, np.float64))
        out[name] = figure.value
        out[f"{name}_interval"] = [figure.low, figure.high]
        out[f"{name}_n"] = len(values)
