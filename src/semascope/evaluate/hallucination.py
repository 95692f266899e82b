"""Wrong answers about pictures: counted, explained by features, and fixed or not in several arms.

Cases are questions about what is in a picture, as POPE asks them (Li et al. 2023, "Evaluating
Object Hallucination"), from drawn scenes (``search.presence``) or from POPE's and HallusionBench's
own files (``pope_hallusion``). ``examine`` answers them under several arms; ``blame`` attributes a
wrong answer to features of the image and of the text.

The controls are *no-op* (it must change nothing), *reconstruction* (what the dictionaries' errors
cost, see ``reconstruction``) and *random* features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from semascope.causal.attribution.feature_share import FeatureShare
from semascope.causal.attribution.metrics import ContinuationContrast, token_ids
from semascope.causal.attribution.result import Attribution, at
from semascope.causal.search.cases import Case, answers, meets, spread
from semascope.causal.search.ledger import Ledger, stamp
from semascope.causal.search.presence import OPPOSITE
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.errors import CausalError
from semascope.heat import blend
from semascope.statistics import Figure, share
from semascope.subject.heatmap import heat
from semascope.subject.types import PICTURE_KINDS, Edits


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of running the model, over the same cases."""

    name: str
    answers: tuple[str, ...]
    right: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Examination:
    """Cases, the plain model's answers, and those of every arm."""

    cases: tuple[Case, ...]
    base: Arm
    arms: tuple[Arm, ...]

    def table(self) -> list[dict[str, Any]]:
        """For each arm: fixed, broken, unchanged, with intervals."""
        return [arm_effects(self.base, arm) for arm in self.arms]

    def broken_by(self) -> dict[str, dict[str, Any]]:
        """Share of right answers that each arm breaks, by kind of question and by yes or no.

        A set that says no to everything breaks only the answers that should be yes.
        """
        kinds = [_kind_and_answer(case) for case in self.cases]
        broken: dict[str, dict[str, Any]] = {}
        for arm in self.arms:
            broken[arm.name] = {}
            for kind in dict.fromkeys(kinds):
                rows = [i for i, k in enumerate(kinds) if k == kind and self.base.right[i]]
                count = sum(not arm.right[i] for i in rows)
                broken[arm.name][kind] = share(count, len(rows)).as_json()
        return broken

    def accuracies(self, whole: Examination) -> dict[str, dict[str, float]]:
        """Accuracy on ``whole`` that each arm's shares fixed and broken lead to, by kind.

        The cases here may be all wrong ones of ``whole`` and only a few of the right ones
        (``fewer``). ``presence`` is the mean over yes and no: POPE's accuracy on a balanced set.
        """
        by_arm: dict[str, dict[str, float]] = {"plain": {}, **{arm.name: {} for arm in self.arms}}
        for kind in dict.fromkeys(map(_kind_and_answer, whole.cases)):
            rows = [i for i, case in enumerate(self.cases) if _kind_and_answer(case) == kind]
            every = [i for i, case in enumerate(whole.cases) if _kind_and_answer(case) == kind]
            plain = by_arm["plain"][kind] = _share(whole.base.right[i] for i in every)
            for arm in self.arms:
                fixed = _share(arm.right[i] for i in rows if not self.base.right[i])
                intact = _share(arm.right[i] for i in rows if self.base.right[i])
                by_arm[arm.name][kind] = plain * intact + (1 - plain) * fixed
        for accuracy in by_arm.values():
            if {"presence yes", "presence no"} <= accuracy.keys():
                accuracy["presence"] = (accuracy["presence yes"] + accuracy["presence no"]) / 2
        return by_arm

    def by_kind(self) -> dict[str, dict[str, Any]]:
        """The unsteered model's accuracy by kind, with POPE's other figures for yes and no."""
        kinds = Counter(case.kind for case in self.cases)
        return {kind: self._figures(kind) for kind in kinds}

    def _figures(self, kind: str) -> dict[str, Any]:
        rows = [i for i, case in enumerate(self.cases) if case.kind == kind]
        right = [self.base.right[i] for i in rows]
        figures: dict[str, Any] = {"accuracy": share(sum(right), len(right)).as_json()}
        wanted = [self.cases[i].wanted.lower() for i in rows]
        if not set(wanted) <= {"yes", "no"}:
            return figures
        answered_yes = [self.base.answers[i].lower().lstrip().startswith("yes") for i in rows]
        truth = [w == "yes" for w in wanted]
        hits = sum(a and t for a, t in zip(answered_yes, truth, strict=True))
        precision = hits / sum(answered_yes) if any(answered_yes) else None
        recall = hits / sum(truth) if any(truth) else None
        both = (precision or 0.0) + (recall or 0.0)
        return {
            **figures,
            "precision": precision,
            "recall": recall,
            "f1": 2 * (precision or 0.0) * (recall or 0.0) / both if both else 0.0,
            "yes_share": sum(answered_yes) / len(answered_yes),
            "hallucinated": share(
                sum(a and not t for a, t in zip(answered_yes, truth, strict=True)),
                len(truth) - sum(truth),
            ).as_json(),
        }

    def wrong(self) -> list[Case]:
        """Cases that the unsteered model gets wrong."""
        return [c for c, right in zip(self.cases, self.base.right, strict=True) if not right]

    def fewer(self, right: int) -> list[Case]:
        """All cases that the unsteered model gets wrong, and at most ``right`` of the others."""
        fine = [c for c, met in zip(self.cases, self.base.right, strict=True) if met]
        return [*self.wrong(), *spread(fine, right)]


def _kind_and_answer(case: Case) -> str:
    """The kind of question, followed by its answer if that is yes or no."""
    wanted = case.wanted.lower()
    return " ".join(word for word in (case.kind, wanted if wanted in OPPOSITE else "") if word)


def _share(met: Iterable[bool]) -> float:
    """Share of true values; 0 if empty."""
    rows = list(met)
    return sum(rows) / len(rows) if rows else 0.0


def arm_effects(base: Arm, arm: Arm) -> dict[str, Any]:
    """Shares of the base's answers that an arm fixes, breaks, and leaves unchanged."""
    pairs = list(zip(base.right, arm.right, strict=True))
    wrong = [after for before, after in pairs if not before]
    right = [after for before, after in pairs if before]
    same = sum(a == b for a, b in zip(base.answers, arm.answers, strict=True))
    return {
        "arm": arm.name,
        "fixed": share(sum(wrong), len(wrong)).as_json(),
        "broken": share(sum(not after for after in right), len(right)).as_json(),
        "unchanged": share(same, len(pairs)).as_json(),
    }


def examine(
    steerable: SteerableModel,
    cases: Sequence[Case],
    arms: Mapping[str, Edits],
    *,
    max_new_tokens: int = 16,
    rows: int = 8,
    plain: Sequence[str] | None = None,
    ledger: Ledger | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Examination:
    """Answer every case without edits and under those of each arm.

    Args:
        steerable: the model.
        cases: the questions.
        arms: edits by the arm's name, which is also its name in the ledger.
        max_new_tokens: length limit of the answers.
        rows: prompts in a batch.
        plain: answers of the unsteered model, if known already.
        ledger: finished arms, to resume from.
        progress: called with (done, total, note).
    """
    done: list[Arm] = []
    ledger, cases_stamp = ledger or Ledger(), stamp([case.id for case in cases])
    for number, (name, edits) in enumerate([("base", {}), *arms.items()]):
        work = partial(
            answers, steerable.subject, cases, edits, max_new_tokens=max_new_tokens, rows=rows
        )
        known = list(plain) if plain is not None and not number else None
        written: list[str] = known or ledger.do(f"arm {name} {max_new_tokens}|{cases_stamp}", work)
        right = tuple(meets(text, case) for text, case in zip(written, cases, strict=True))
        done.append(Arm(name, tuple(written), right))
        if progress is not None:
            progress(number + 1, len(arms) + 1, name)
    return Examination(tuple(cases), done[0], tuple(done[1:]))


@dataclass(frozen=True, slots=True)
class Blame:
    """Why a wrong answer was given rather than the right one."""

    case: Case
    answer: str
    image: tuple[FeatureShare, ...]
    """Features at image tokens, those that promoted the wrong answer most first."""
    text: tuple[FeatureShare, ...]
    image_share: float
    """Σ of positive scores at image tokens, as a share of all positive scores."""
    attribution: Attribution

    @property
    def culprit(self) -> str:
        """The side that promoted the wrong answer more."""
        return "image" if self.image_share > 0.5 else "text"

    def picture(self) -> Image.Image | None:
        """The picture with what promoted the wrong answer as heat; None without a picture."""
        if not self.case.sample.images:
            return None
        values = self.attribution.by_token()
        token_map = self.attribution.maps[0]
        return blend(self.case.sample.images[0], heat(token_map, values[: len(token_map)]))

    def as_json(self) -> dict[str, Any]:
        """For a report."""
        return {
            "id": self.case.id,
            "kind": self.case.kind,
            "question": self.case.sample.turns[-1].text if self.case.sample.turns else "",
            "answer": self.answer,
            "wanted": self.case.wanted,
            "culprit": self.culprit,
            "image_share": round(self.image_share, 6),
            "image": [[f"{s.key}/{s.index}", round(s.score, 6)] for s in self.image],
            "text": [[f"{s.key}/{s.index}", round(s.score, 6)] for s in self.text],
        }


def blame(steerable: SteerableModel, case: Case, answer: str, *, top: int = 10) -> Blame:
    """Attribute log p(wrong answer) − log p(right answer) to features of image and text.

    ``answer`` is the model's; its first word is the wrong answer, unless the case names one.

    Raises:
        CausalError: the case has no right answer.
    """
    if not case.wanted:
        raise CausalError(f"Case {case.id} has no right answer to compare the wrong one with.")
    words = answer.strip().split()
    wrong = case.unwanted or (words[0] if words else "")
    metric = ContinuationContrast(
        token_ids(steerable.subject, wrong), token_ids(steerable.subject, case.wanted)
    )
    batch = steerable.prompt(case.sample)
    attribution = steerable.attribute(batch, metric)
    pictured = np.isin(attribution.maps[0].kinds, PICTURE_KINDS)
    sides = [
        [feature for feature in attribution.features(at(mask)) if feature.score > 0]
        for mask in (pictured, ~pictured)
    ]
    totals = [sum(feature.score for feature in side) for side in sides]
    return Blame(
        case=case,
        answer=answer,
        image=tuple(sides[0][:top]),
        text=tuple(sides[1][:top]),
        image_share=totals[0] / sum(totals) if sum(totals) else 0.0,
        attribution=attribution,
    )


def share_fixed(examination: Examination, arm: str) -> Figure:
    """Share of the hallucinations ('yes' to what is absent) that an arm fixes. CausalError without
    an arm of that name."""
    chosen = next((a for a in examination.arms if a.name == arm), None)
    if chosen is None:
        raise CausalError(f"There is no arm {arm!r}: {[a.name for a in examination.arms]}.")
    rows = [
        i
        for i, case in enumerate(examination.cases)
        if case.wanted.lower() == "no" and not examination.base.right[i]
    ]
    return share(sum(chosen.right[i] for i in rows), len(rows))
