"""Every kind of score that a scorer writes, by name and meaning.

This is the one place for them. The stages read the kinds from ``Score.kind``, the page gets names
and meanings from here through ``/api/info``, and lists offer figures in this order. A test runs
every scorer and fails for a kind that has no entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScoreKind:
    """How a person reads one kind of score."""

    name: str
    """A few words for a label."""
    meaning: str
    """One or two sentences for a tooltip."""
    top: float = 1.0
    """The largest value that it can take."""


SCORE_KINDS: Mapping[str, ScoreKind] = {
    "iou": ScoreKind(
        "IoU",
        "Overlap of the heat map with the true mask of what the label names, on held-out images.",
    ),
    "detection": ScoreKind(
        "Detection AUROC",
        "How well the description tells held-out samples where the feature is active from samples "
        "where it is not. Active samples weigh the same in every activation interval.",
    ),
    "grounded": ScoreKind(
        "Grounded IoU",
        "Overlap of the heat map with the segments that an open-vocabulary detector finds for the "
        "label, on held-out images.",
    ),
    "clip": ScoreKind(
        "CLIP similarity",
        "CLIP's cosine of the label with the held-out images that activate the feature. The "
        "baseline is that of inactive images.",
    ),
    "clip_masked": ScoreKind(
        "CLIP similarity, masked",
        "The same with everything greyed out except where the feature is active.",
    ),
    "fuzzing": ScoreKind(
        "Fuzzing AUROC",
        "How well the description tells the region where the feature is active from another "
        "region of the same held-out sample.",
    ),
    "simulation": ScoreKind(
        "Simulation r",
        "Correlation of the activations predicted from the description with the true ones, on "
        "held-out tokens.",
    ),
    "told_apart": ScoreKind(
        "Told apart",
        "Share of the held-out samples that activate the feature and fit its explanation better "
        "than those of its five nearest features. Chance is one in six; explanations that fit "
        "equally well share a sample.",
    ),
    "specificity": ScoreKind(
        "Specificity, 0 to 3",
        "Mean grade of how well held-out samples that activate the feature fit the description, "
        "from 0 (unrelated) to 3 (exact), over all activation intervals.",
        top=3.0,
    ),
    "consistency": ScoreKind(
        "Consistency",
        "Share of the held-out samples that activate the feature and, by the judge, fit the "
        "description. The baseline is the same share of inactive samples.",
    ),
    "sensitivity": ScoreKind(
        "Sensitivity AUROC",
        "How much more strongly the feature is active on new scenes drawn from its label than on "
        "scenes drawn from other labels.",
    ),
    "monosemanticity": ScoreKind(
        "Monosemanticity",
        "Mean cosine between the samples that activate the feature, weighted by their activations. "
        "It needs no description; the baseline is that of any two samples.",
    ),
    "interest": ScoreKind(
        "Interest",
        "Probability that a person would care about the label, by a small classifier: low for "
        "punctuation and other low-level features.",
    ),
    "iou_pixels": ScoreKind(
        "IoU, pixels",
        "IoU counted in pixels instead of image tokens, so that small objects can score higher.",
    ),
    "iou_soft": ScoreKind(
        "IoU, soft",
        "Overlap of the heat map with the true mask without a threshold: every token counts by "
        "its activation.",
    ),
    "detection_all": ScoreKind(
        "Detection AUROC, unweighted",
        "Detection with every held-out sample weighing the same.",
    ),
    "detection_ap": ScoreKind(
        "Detection AP",
        "Average precision of detection; the baseline is the share of active samples.",
    ),
    "iou_random": ScoreKind(
        "IoU, random label",
        "Control: IoU with the label of another feature.",
    ),
    "grounded_random": ScoreKind(
        "Grounded IoU, random label",
        "Control: grounded IoU with the label of another feature.",
    ),
    "detection_shuffled": ScoreKind(
        "Detection AUROC, shuffled labels",
        "Control: detection with the description of another feature. Chance is .5.",
    ),
    "told_apart_shuffled": ScoreKind(
        "Told apart, shuffled labels",
        "Control: told apart with the six explanations shuffled. Chance is one in six.",
    ),
    "fuzzing_shuffled": ScoreKind(
        "Fuzzing AUROC, shuffled labels",
        "Control: fuzzing with the description of another feature. Chance is .5.",
    ),
    "clip_shuffled": ScoreKind(
        "CLIP similarity, shuffled labels",
        "Control: CLIP similarity with the label of another feature.",
    ),
    "clip_masked_shuffled": ScoreKind(
        "CLIP similarity, masked, shuffled labels",
        "Control: masked CLIP similarity with the label of another feature.",
    ),
}
"""By ``Score.kind``, in the order in which a list offers them: controls last."""


def describe(kind: str) -> ScoreKind:
    """Name and meaning of a kind; for one from an imported atlas, its own name in plain words."""
    if kind in SCORE_KINDS:
        return SCORE_KINDS[kind]
    plain = kind.replace("_", " ").strip()
    return ScoreKind(
        plain[:1].upper() + plain[1:],
        f"The score '{kind}', as it came with the atlas: semascope did not measure it.",
    )


def ordered(kinds: Iterable[str]) -> list[str]:
    """``kinds`` in the order of ``SCORE_KINDS``, then the others by name."""
    place = {kind: number for number, kind in enumerate(SCORE_KINDS)}
    return sorted(kinds, key=lambda kind: (place.get(kind, len(place)), kind))
