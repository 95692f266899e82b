"""The reader as an explainer: the model names what fires, and the words are tried before they go.

For each feature of pictures the activations at its exemplars' peaks are read (``self_reading``),
what the readings share is put into phrases (``generalise``), and of these the one is taken that
best tells firing samples of the explain split from silent ones. Samples that were read take no part
in that. A model that cannot read itself (``SelfReader.measure``) explains nothing, and says so.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from time import perf_counter

import numpy as np

from semascope.evidence.store.peak_vectors import peaks
from semascope.evidence.types import FeatureEvidence
from semascope.explain.reader.generalise import Phrase, commonness, phrases
from semascope.explain.reader.readings import Reading, names
from semascope.explain.scorers.lexical_judge import LexicalJudge
from semascope.explain.text import categories
from semascope.explain.text.excerpts import ExcerptCutter
from semascope.explain.types import Cost, Explanation, abstain
from semascope.statistics import auroc

VERSION = "reader/1"
LEAST_READINGS = 3
LEAST_AUROC = 0.6
"""Phrases that tell firing samples from silent ones no better than this are not said."""
PEAKS = 4
"""Readings of one feature."""


Place = tuple[int, int]
"""(row of the gathered corpus, token)."""


class ReaderExplainer:
    """Explains features of pictures by what the model read in its activations."""

    def __init__(
        self,
        texts: Mapping[Place, str],
        *,
        model: str,
        refusal: str = "",
        seconds: float = 0.0,
        count: int = PEAKS,
        least_auroc: float = LEAST_AUROC,
    ) -> None:
        """
        Args:
            texts: what the model said of the activation at each (row, token).
            model: its name.
            refusal: why this model's readings mean nothing; then every feature abstains.
            seconds: that one reading took.
            count: readings of each feature.
            least_auroc: phrases that tell no better are not said.
        """
        self.name = f"reader:{model}"
        self.texts, self.refusal, self.seconds = texts, refusal, seconds
        self.count, self.least_auroc = count, least_auroc
        self._common = commonness([[Reading(text, 1.0)] for text in texts.values()])
        self._judge = LexicalJudge()
        self._cutter = ExcerptCutter()

    def explain(self, records: Sequence[FeatureEvidence]) -> list[Explanation]:
        """One explanation a record, in order, from its explain split."""
        if self.refusal:
            return [abstain(r, self.name, self.refusal, VERSION) for r in records]
        start = perf_counter()
        readings = [self.readings(record) for record in records]
        found = [self._one(r, own) for r, own in zip(records, readings, strict=True)]
        each = (perf_counter() - start) / max(len(records), 1)
        costs = (Cost(len(own), seconds=each + self.seconds * len(own)) for own in readings)
        return [e.spending(cost) for e, cost in zip(found, costs, strict=True)]

    def readings(self, record: FeatureEvidence) -> list[Reading]:
        """What the model said at the record's peaks, strong to weak."""
        known = (p for p in peaks(record, None) if (p.row, p.token) in self.texts)
        return [
            Reading(self.texts[p.row, p.token], p.strength, p.row, p.token)
            for p in islice(known, self.count)
        ]

    def _one(self, record: FeatureEvidence, readings: list[Reading]) -> Explanation:
        if len(readings) < LEAST_READINGS:
            reason = "It does not fire on pictures often enough to be read."
            return abstain(record, self.name, reason, VERSION)
        tried = self._tried(record, readings)
        if tried is None:
            return abstain(record, self.name, "Its readings share nothing.", VERSION)
        phrase, figure = tried
        if figure < self.least_auroc:
            reason = f"What its readings share tells too little: {phrase.label}."
            return abstain(record, self.name, reason, VERSION)
        return Explanation(
            feature=record.index,
            description=_sentence(phrase, readings),
            label=phrase.label,
            category=categories.category(phrase.label, seen=True),
            confidence=float(np.clip(2 * figure - 1, 0.0, 1.0)),
            author=self.name,
            prompt_version=VERSION,
            inputs=_hash(readings),
        )

    def _tried(
        self, record: FeatureEvidence, readings: Sequence[Reading]
    ) -> tuple[Phrase, float] | None:
        """The phrase that tells best which samples fire, of those that were not read."""
        found = phrases(readings, self._common)
        if not found:
            return None
        read = {reading.row for reading in readings}
        cases = self._cutter.cases(record.split("explain"))
        firing = [e for e in cases.firing if e.shown.row not in read]
        if len(firing) < 2 or len(cases.silent) < 2:
            return found[0], found[0].share
        samples = [*(e.shown for e in firing), *cases.silent]
        words = [Explanation(record.index, f"Pictures of {p.label}.", p.label) for p in found]
        weights = np.array([e.peak for e in firing], np.float64)
        figures = [
            auroc(ratings[: len(firing)], ratings[len(firing) :], weights / weights.max())
            for ratings in self._judge.rate(words, [samples] * len(words))
        ]
        # Of phrases that tell alike, the one that covers more of what was read.
        best = max(range(len(found)), key=lambda i: (round(figures[i], 2), found[i].specific, -i))
        return found[best], figures[best]


def _sentence(phrase: Phrase, readings: Sequence[Reading]) -> str:
    """Where it fires, and what the model read there, each name with how often."""
    said = Counter(name for reading in readings for name in names(reading.text))
    listed = ", ".join(
        f"{name} ({count} of {len(readings)})" if count > 1 else name
        for name, count in said.most_common(4)
    )
    named = " and of ".join(
        " or ".join(_spoken(name, readings) for name in sense.split(" or "))
        for sense in phrase.label.split("; ")
    )
    return f"Pictures of {named}. The model reads there: {listed}."


def _spoken(name: str, readings: Sequence[Reading]) -> str:
    """A name with the article that the model gave it."""
    before = re.compile(rf"\b(an?|the|some) {re.escape(name)}\b", re.IGNORECASE)
    found = Counter(m.group(1).lower() for r in readings for m in before.finditer(r.text))
    article = found.most_common(1)[0][0] if found else ""
    return name if article in ("", "some") else f"{article} {name}"


def _hash(readings: Sequence[Reading]) -> str:
    digest = hashlib.sha256(VERSION.encode())
    for reading in readings:
        digest.update(f"{reading.row}/{reading.token}/{reading.strength:.4f}".encode())
    return digest.hexdigest()[:16]
