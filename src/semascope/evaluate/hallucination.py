"""Wrong answers about pictures: found, explained, and mended or not, beside what chance mends.

``presence_cases`` asks drawn scenes what is there and what is not, as POPE does (Li et al. 2023,
"Evaluating Object Hallucination"), with maps of flags and written words as further kinds;
``files`` reads POPE's and HallusionBench's own files into the same cases. ``examine`` answers them
under several arms; ``blame`` says which features, of the image or of the text, made a wrong answer.

Arms that every intervention stands beside: *no-op* (it must change nothing), *reconstruction
only* (what the dictionary's error costs, the reference's hidden confound) and *random* features.

Knows cases, edits and figures; it does not look for the intervention, ``find`` does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from semascope.causal.attribution.feature_share import FeatureShare
from semascope.causal.attribution.metrics import ContinuationContrast, token_ids
from semascope.causal.attribution.result import Attribution, at
from semascope.causal.attribution.scores import reconstruct
from semascope.causal.attribution.watched_run import Watch
from semascope.causal.search.cases import Case, answers, meets, spread
from semascope.causal.search.ledger import Ledger, stamp
from semascope.causal.search.presence import _OPPOSITE
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.causal.steering.units import dictionary_id, output_site
from semascope.dictionary.types import Dictionary
from semascope.errors import CausalError
from semascope.heat import blend
from semascope.statistics import Figure, share
from semascope.subject.heatmap import heat
from semascope.subject.patches import VisionPatches, is_pictured
from semascope.subject.readable import read_positions, without_sinks
from semascope.subject.types import PICTURE_KINDS, Edit, EditContext, Edits


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
        return [compared(self.base, arm) for arm in self.arms]

    def broken_by(self) -> dict[str, dict[str, Any]]:
        """For each arm and each kind of question, by its answer where that is yes or no, what is
        broken of the right answers: a set that says no to everything breaks every yes alone."""
        kinds = [_asked_for(case) for case in self.cases]
        told: dict[str, dict[str, Any]] = {}
        for arm in self.arms:
            told[arm.name] = {}
            for kind in dict.fromkeys(kinds):
                rows = [i for i, k in enumerate(kinds) if k == kind and self.base.right[i]]
                lost = sum(not arm.right[i] for i in rows)
                told[arm.name][kind] = share(lost, len(rows)).as_json()
        return told

    def accuracies(self, whole: Examination) -> dict[str, dict[str, float]]:
        """For each arm and kind of question, the accuracy that what it mends and breaks leads to.

        These cases may be all that are wrong and a few that are right (``fewer``) of ``whole``,
        whose plain accuracies are moved by the shares seen here. ``presence`` is the mean of its
        two sides, POPE's accuracy over as many yes as no.
        """
        told: dict[str, dict[str, float]] = {"plain": {}, **{arm.name: {} for arm in self.arms}}
        for kind in dict.fromkeys(map(_asked_for, whole.cases)):
            rows = [i for i, case in enumerate(self.cases) if _asked_for(case) == kind]
            every = [i for i, case in enumerate(whole.cases) if _asked_for(case) == kind]
            was = told["plain"][kind] = _share(whole.base.right[i] for i in every)
            for arm in self.arms:
                mended = _share(arm.right[i] for i in rows if not self.base.right[i])
                stayed = _share(arm.right[i] for i in rows if self.base.right[i])
                told[arm.name][kind] = was * stayed + (1 - was) * mended
        for own in told.values():
            if {"presence yes", "presence no"} <= own.keys():
                own["presence"] = (own["presence yes"] + own["presence no"]) / 2
        return told

    def by_kind(self) -> dict[str, dict[str, Any]]:
        """The plain model's accuracy, and for yes and no what POPE reports, by kind."""
        kinds = Counter(case.kind for case in self.cases)
        return {kind: self._figures(kind) for kind in kinds}

    def _figures(self, kind: str) -> dict[str, Any]:
        rows = [i for i, case in enumerate(self.cases) if case.kind == kind]
        right = [self.base.right[i] for i in rows]
        figures: dict[str, Any] = {"accuracy": share(sum(right), len(right)).as_json()}
        wanted = [self.cases[i].wanted.lower() for i in rows]
        if not set(wanted) <= {"yes", "no"}:
            return figures
        said = [self.base.answers[i].lower().lstrip().startswith("yes") for i in rows]
        truth = [w == "yes" for w in wanted]
        hits = sum(s and t for s, t in zip(said, truth, strict=True))
        precision = hits / sum(said) if any(said) else None
        recall = hits / sum(truth) if any(truth) else None
        both = (precision or 0.0) + (recall or 0.0)
        return {
            **figures,
            "precision": precision,
            "recall": recall,
            "f1": 2 * (precision or 0.0) * (recall or 0.0) / both if both else 0.0,
            "yes_share": sum(said) / len(said),
            "hallucinated": share(
                sum(s and not t for s, t in zip(said, truth, strict=True)),
                len(truth) - sum(truth),
            ).as_json(),
        }

    def wrong(self) -> list[Case]:
        """Cases that the plain model gets wrong."""
        return [c for c, right in zip(self.cases, self.base.right, strict=True) if not right]

    def fewer(self, right: int) -> list[Case]:
        """All cases that the plain model gets wrong, and at most so many of the others."""
        fine = [c for c, met in zip(self.cases, self.base.right, strict=True) if met]
        return [*self.wrong(), *spread(fine, right)]


def _asked_for(case: Case) -> str:
    """The kind of question, with yes or no where that is the answer."""
    wanted = case.wanted.lower()
    return " ".join(word for word in (case.kind, wanted if wanted in _OPPOSITE else "") if word)


def _share(met: Iterable[bool]) -> float:
    """Of none, none."""
    rows = list(met)
    return sum(rows) / len(rows) if rows else 0.0


def compared(base: Arm, arm: Arm) -> dict[str, Any]:
    """What an arm mends and breaks of the base's answers."""
    pairs = list(zip(base.right, arm.right, strict=True))
    wrong = [now for was, now in pairs if not was]
    right = [now for was, now in pairs if was]
    same = sum(a == b for a, b in zip(base.answers, arm.answers, strict=True))
    return {
        "arm": arm.name,
        "fixed": share(sum(wrong), len(wrong)).as_json(),
        "broken": share(sum(not now for now in right), len(right)).as_json(),
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
    """Answer every case plainly and under each arm's edits; a ledger knows an arm by its name.

    ``plain``: what the model says plainly, where that is known already.
    """
    done: list[Arm] = []
    ledger, asked = ledger or Ledger(), stamp([case.id for case in cases])
    for number, (name, edits) in enumerate([("base", {}), *arms.items()]):
        work = partial(
            answers, steerable.subject, cases, edits, max_new_tokens=max_new_tokens, rows=rows
        )
        known = list(plain) if plain is not None and not number else None
        written: list[str] = known or ledger.do(f"arm {name} {max_new_tokens}|{asked}", work)
        right = tuple(meets(text, case) for text, case in zip(written, cases, strict=True))
        done.append(Arm(name, tuple(written), right))
        if progress is not None:
            progress(number + 1, len(arms) + 1, name)
    return Examination(tuple(cases), done[0], tuple(done[1:]))


def reconstruction_only(dictionaries: Iterable[Dictionary]) -> Edits:
    """Edits that replace x by its reconstruction x̂, without the error and with every feature as is.

    A dictionary that reads one site and writes another gives x̂ of what it read.

    Raises:
        CausalError: two dictionaries reconstruct the same site.
    """
    known = list(dictionaries)
    writers: dict[str, Dictionary] = {}
    for dictionary in known:
        other = writers.setdefault(output_site(dictionary), dictionary)
        if other is not dictionary:
            raise CausalError(
                f"{dictionary_id(other)} and {dictionary_id(dictionary)} both reconstruct "
                f"{output_site(dictionary)}: choose one of them."
            )
    edits: dict[str, Edit] = {}
    readers: dict[str, Watch] = {}
    for site, dictionary in writers.items():
        if site != dictionary.site:
            readers.setdefault(dictionary.site, Watch())
        edits[site] = Reconstruct(site, dictionary, readers.get(dictionary.site))
    for site, reader in readers.items():
        reader.before = edits.get(site)
    return {**edits, **readers}


@dataclass(frozen=True, slots=True)
class Reconstruct:
    """x -> x̂ at tokens that the dictionary reads.

    The others stay as they are: first tokens, template tokens and attention sinks; on the vision
    side, the class token and patches without an image token.
    """

    site: str
    """Where x̂ goes."""
    dictionary: Dictionary
    reader: Watch | None = None
    """Records x where the dictionary reads, if that is another site."""

    def __call__(self, x: Tensor, context: EditContext) -> Tensor:
        source = self._source(x)
        if is_pictured(self.site):
            layout = VisionPatches.of(self.site, x, context.maps)
            inputs = VisionPatches.of(self.dictionary.site, source, context.maps).spread(source)
            after = self._reconstructed(layout.spread(x), inputs, EditContext(0, layout.maps))
            return layout.gather(after, x)
        return self._reconstructed(x, source, context)

    def _source(self, x: Tensor) -> Tensor:
        """What the dictionary reads."""
        if self.site == self.dictionary.site:
            return x
        if self.reader is None or self.reader.seen is None:
            raise CausalError(f"{self.dictionary.site}, which feeds {self.site}, did not run.")
        return self.reader.seen

    def _reconstructed(self, x: Tensor, source: Tensor, context: EditContext) -> Tensor:
        """(R, T, d) by token, from (R, T, d_in)."""
        read = read_positions(
            context.maps, x.shape[1], start=context.start, site=self.dictionary.site
        )
        copies = len(x) // len(context.maps)
        tokens = torch.from_numpy(read).to(x.device).repeat_interleave(copies, dim=0)  # (R, T)
        tokens = without_sinks([source], tokens)
        rows = source[tokens].float()  # (N, d_in)
        output = reconstruct(self.dictionary, self.dictionary.encode(rows), rows)
        return x.index_put((tokens,), output.to(x))


@dataclass(frozen=True, slots=True)
class Blame:
    """Why a wrong answer was given rather than the right one."""

    case: Case
    answer: str
    image: tuple[FeatureShare, ...]
    """Features at image tokens, those that spoke most for the wrong answer first."""
    text: tuple[FeatureShare, ...]
    image_share: float
    """Σ of positive scores at image tokens, as a share of all positive scores."""
    attribution: Attribution

    @property
    def culprit(self) -> str:
        """Which side spoke louder for the wrong answer."""
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
    """Attribute log p(the wrong answer) − log p(the right one) to features of image and text.

    ``answer`` is what the model said; for yes and no, its first word is set against the other.
    """
    if not case.wanted:
        raise CausalError(f"Case {case.id} has no right answer to set the wrong one against.")
    words = answer.strip().split()
    wrong = case.unwanted or (words[0] if words else "")
    metric = ContinuationContrast(
        token_ids(steerable.subject, wrong), token_ids(steerable.subject, case.wanted)
    )
    batch = steerable.prompt(case.sample)
    found = steerable.attribute(batch, metric)
    seen = np.isin(found.maps[0].kinds, PICTURE_KINDS)
    sides = [
        [share_ for share_ in found.features(at(mask)) if share_.score > 0]
        for mask in (seen, ~seen)
    ]
    totals = [sum(share_.score for share_ in side) for side in sides]
    return Blame(
        case=case,
        answer=answer,
        image=tuple(sides[0][:top]),
        text=tuple(sides[1][:top]),
        image_share=totals[0] / sum(totals) if sum(totals) else 0.0,
        attribution=found,
    )


def mended(examination: Examination, arm: str) -> Figure:
    """Share of the hallucinated presences ('yes' to what is not there) that an arm mends."""
    chosen = next((a for a in examination.arms if a.name == arm), None)
    if chosen is None:
        raise CausalError(f"There is no arm {arm!r}: {[a.name for a in examination.arms]}.")
    rows = [
        i
        for i, case in enumerate(examination.cases)
        if case.wanted.lower() == "no" and not examination.base.right[i]
    ]
    return share(sum(chosen.right[i] for i in rows), len(rows))
