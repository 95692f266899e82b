"""The vocabulary namer: features put into words without any language model.

Words of captions and words of texts are contrasted between the samples on which a feature
fires and those on which it is silent (``term_contrast``); the terms that together detect best name
the feature ("mango or apple": ``term_cover``). What of these it fires on most is said for pictures
(``subtypes``), and what stands near for text (``term_context``). Reads the ``explain`` split,
captions and text tokens; never truth objects, never the score split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from semascope.evidence.types import EvidenceSample, FeatureEvidence
from semascope.explain.explainers.embedding_agreement import EmbeddingAgreement
from semascope.explain.explainers.subtypes import particulars
from semascope.explain.explainers.term_context import Surroundings, context, distinguishing
from semascope.explain.explainers.term_contrast import TermContrast, contrast, grouping, incidence
from semascope.explain.explainers.term_cover import (
    Agree,
    VocabularyOptions,
    candidates,
    cover,
)
from semascope.explain.explainers.term_frequency import TermFrequency, shares
from semascope.explain.explainers.wording import agreeing, sentence, shown, told_as
from semascope.explain.text import categories
from semascope.explain.text.documents import Document, DocumentLibrary
from semascope.explain.text.excerpts import ExcerptCutter
from semascope.explain.text.exemplar_terms import ExemplarTerms, Mode, read, terms_of
from semascope.explain.text.form import LONGEST, joined, refusals
from semascope.explain.text.terms import NEAR, spans
from semascope.explain.types import Cost, Embedder, Explanation, Promoted, abstain

VERSION = "vocabulary/6"


@dataclass(frozen=True, slots=True, eq=False)
class _Reading:
    """One record, read."""

    record: FeatureEvidence
    mode: Mode
    fired: list[ExemplarTerms]
    silent: list[EvidenceSample]


@dataclass(frozen=True, slots=True, eq=False)
class _Draft:
    """What one feature is to be called, before it is written."""

    reading: _Reading
    mode: Mode
    docs: list[Document]
    """Of its firing samples."""
    told: list[str]
    """Tokens that it makes likelier."""
    surroundings: Surroundings
    near: int = -1
    """What stands near, -1 for nothing in particular."""
    above: tuple[int, ...] = ()
    """What it fires on above all."""


class VocabularyNamer:
    """Names features by contrast of words; no model is asked.

    ``background``: samples whose words say how common a term is (a ``TermFrequency`` may be shared
    and is then read once); without them, those of the batch at hand. ``promoted``: tokens that
    a feature makes likelier, and ``embed``: sentence vectors, with which a label is to agree, as
    further evidence. What it named before changes nothing.
    """

    name = "vocabulary"

    def __init__(
        self,
        background: TermFrequency | Iterable[EvidenceSample] | None = None,
        *,
        promoted: Promoted | None = None,
        embed: Embedder | None = None,
        options: VocabularyOptions | None = None,
    ) -> None:
        if background is not None and not isinstance(background, TermFrequency):
            background = TermFrequency(background)
        self._background = background
        self.library = background.library if background is not None else DocumentLibrary()
        self._cutter = background.cutter if background is not None else ExcerptCutter()
        self.promoted = promoted
        self._meaning = EmbeddingAgreement(embed) if embed is not None else None
        self.options = options or VocabularyOptions()

    def explain(self, records: Sequence[FeatureEvidence]) -> list[Explanation]:
        """One explanation a record, in order."""
        start = perf_counter()
        readings = [self._read(record) for record in records]
        found: dict[int, Explanation] = {}
        for mode in ("picture", "text", "both"):
            rows = [i for i, r in enumerate(readings) if r.mode == mode and self._enough(r)]
            named = self._name([readings[i] for i in rows], mode) if rows else []
            found.update(zip(rows, named, strict=True))
        each = Cost(seconds=(perf_counter() - start) / max(len(records), 1))
        return [(found.get(i) or self._silent(r)).spending(each) for i, r in enumerate(readings)]

    def _enough(self, reading: _Reading) -> bool:
        return len(reading.fired) >= self.options.least_exemplars

    def _read(self, record: FeatureEvidence) -> _Reading:
        mine = record.split("explain")
        cases = self._cutter.cases(mine)
        largest = cases.firing[0].peak if cases.firing else 1.0
        fired = [read(e, self.library, largest) for e in cases.firing]
        kept = [f for f in fired if f.mode == cases.mode or cases.mode == "both"]
        return _Reading(mine, cases.mode, kept, cases.silent)

    def _silent(self, reading: _Reading) -> Explanation:
        if reading.mode == "control" and reading.fired:
            reason = "It fires on control tokens of the chat template."
        else:
            reason = f"Too few samples to explain it from: {len(reading.fired)}."
        return abstain(reading.record, self.name, reason, VERSION)

    def _name(self, readings: list[_Reading], mode: Mode) -> list[Explanation]:
        """All features of one mode at once: three sparse products, then a choice for each."""
        common = self._common(readings, mode)
        table = self._contrast(readings, mode, common)
        starts = np.searchsorted(table.feature, np.arange(len(readings) + 1))
        chosen: list[_Draft | Explanation] = [
            self._choose(reading, mode, table, slice(starts[i], starts[i + 1]), common)
            for i, reading in enumerate(readings)
        ]
        drafts = iter(self._apart([draft for draft in chosen if isinstance(draft, _Draft)]))
        return [
            self._explanation(next(drafts)) if isinstance(one, _Draft) else one for one in chosen
        ]

    def _common(self, readings: list[_Reading], mode: Mode) -> NDArray[np.float64]:
        """(terms,) share of background samples with each term; numbers every term on the way."""
        for reading in readings:
            self.library.docs(reading.silent)
        if self._background is not None:
            # Asked twice, since the first time may number terms.
            self._background.shares(mode, 0)
            return self._background.shares(mode, len(self.library))
        pool = {
            (s.row, s.id): s
            for r in readings
            for s in (*r.silent, *(f.exemplar.shown for f in r.fired))
        }
        return shares(pool.values(), mode, self.library, self._cutter)

    def _contrast(
        self, readings: list[_Reading], mode: Mode, common: NDArray[np.float64]
    ) -> TermContrast:
        n, width = len(readings), len(common)
        fired = [f for r in readings for f in r.fired]
        owner = np.repeat(np.arange(n), [len(r.fired) for r in readings])
        weights = np.array([f.weight for f in fired])
        gather = grouping(owner, n)
        at = incidence([f.terms for f in fired], width, weights)
        near = incidence([f.context for f in fired], width, weights * self.options.context_weight)
        total = gather @ weights
        silent = [terms_of(self.library.doc(s), mode) for r in readings for s in r.silent]
        counts = np.array([len(r.silent) for r in readings])
        quiet = grouping(np.repeat(np.arange(n), counts), n) @ incidence(silent, width)
        table = contrast(
            (gather @ (at + near)).tocsr(),
            total,
            total**2 / np.maximum(gather @ weights**2, 1e-12),
            quiet.tocsr(),
            counts.astype(np.float64),
            common,
        )
        return table.take(np.lexsort((-table.gain, table.feature)))

    def _choose(
        self,
        reading: _Reading,
        mode: Mode,
        table: TermContrast,
        rows: slice,
        common: NDArray[np.float64],
    ) -> _Draft | Explanation:
        told = self._told(reading.record.index)
        agree = self._agree(reading, mode)
        names = candidates(table, rows, self.library, self.options, told, agree)
        if not names:
            return abstain(reading.record, self.name, "No word sets its samples apart.", VERSION)
        silent = [terms_of(self.library.doc(s), mode) for s in reading.silent]
        chosen = cover(names, reading.fired, silent, self.library, self.options)
        docs = [self.library.doc(f.exemplar.shown) for f in reading.fired]
        if chosen.gain < self.options.least_gain:
            label = self._label(chosen.terms[:1], docs)
            reason = f"The best word tells too little: {label} (gain {chosen.gain:.2f})."
            return abstain(reading.record, self.name, reason, VERSION)
        around = [terms_of(doc, mode) for doc in docs]
        weights = np.array([f.weight for f in reading.fired])
        at = [f.terms for f in reading.fired]
        surroundings = Surroundings(chosen, around, at, weights, silent)
        draft = _Draft(reading, mode, docs, told, surroundings)
        if mode == "text":
            return replace(draft, near=context(draft.surroundings, common, self.library)[0])
        above = particulars(chosen.strong(), reading.fired, common, self.library)
        return replace(draft, above=tuple(above))

    def _apart(self, drafts: Sequence[_Draft]) -> list[_Draft]:
        """The same, with what sets those of text apart that would have the same label."""
        groups: dict[str, list[int]] = {}
        for number, draft in enumerate(drafts):
            if draft.mode == "text" and draft.near < 0:
                groups.setdefault(self._written(draft)[0].casefold(), []).append(number)
        out = list(drafts)
        for group in groups.values():
            if len(group) > 1:
                terms = distinguishing([drafts[i].surroundings for i in group], self.library)
                for number, term in zip(group, terms, strict=True):
                    out[number] = replace(drafts[number], near=term)
        return out

    def _label(self, terms: Sequence[int], docs: Sequence[Document]) -> str:
        return joined([shown(self.library.key(t), docs) for t in terms])

    def _written(self, draft: _Draft) -> tuple[str, tuple[int, ...]]:
        """The label, and the terms that it names: as many of the surest as make a good form."""
        strong, docs = draft.surroundings.cover.strong(), draft.docs
        near = self._near(draft)
        near = NEAR + near if near else ""
        for count in range(len(strong), 0, -1):
            label = self._label(strong[:count], docs)
            if not refusals(label + near):
                return label + near, strong[:count]
        return self._label(strong[:1], docs), strong[:1]

    def _near(self, draft: _Draft) -> str:
        """What stands near: the word alone, since what always stands beside it may be the name.

        Empty where the name holds it already.
        """
        if draft.near < 0:
            return ""
        named = self._label(draft.surroundings.cover.strong(), draft.docs)
        near = shown(self.library.key(draft.near), draft.docs, whole=False)
        held = {named[a:b].lower() for a, b in spans(named)}
        return "" if {near[a:b].lower() for a, b in spans(near)} <= held else near

    def _explanation(self, draft: _Draft) -> Explanation:
        """What a draft says, in words."""
        label, named = self._written(draft)
        cover, docs, told = draft.surroundings.cover, draft.docs, draft.told

        def said(terms: Sequence[int]) -> str:
            return joined([told_as(self.library.key(term), docs) for term in terms])

        if draft.above:
            label = _short([self._label([term], docs) for term in draft.above])
        return Explanation(
            feature=draft.reading.record.index,
            description=sentence(
                said(named),
                draft.mode,
                strongest=said(draft.above),
                weaker=said([term for term in cover.terms if term not in named]),
                near=self._near(draft),
                makes_say=agreeing(told, label),
            ),
            label=label,
            category=categories.category(label, seen=draft.mode != "text"),
            confidence=float(np.clip(cover.gain, 0.0, 1.0)),
            author=self.name,
            prompt_version=VERSION,
            inputs=_hash(draft.reading),
        )

    def _agree(self, reading: _Reading, mode: Mode) -> Agree | None:
        """Whether labels agree with this feature's samples in meaning, where vectors were given."""
        if self._meaning is None:
            return None
        firing = [self._body(f.exemplar.shown, mode) for f in reading.fired]
        silent = [self._body(shown, mode) for shown in reading.silent]
        weights = [f.weight for f in reading.fired]
        direction = self._meaning.direction(firing, weights, silent)
        return None if direction is None else partial(self._meaning.agreement, direction=direction)

    def _body(self, shown: EvidenceSample, mode: Mode) -> str:
        doc = self.library.doc(shown)
        return doc.text[:400] if mode == "text" else doc.caption or doc.text[:400]

    def _told(self, feature: int) -> list[str]:
        tokens = self.promoted(feature) if self.promoted else ()
        return [t.strip() for t in tokens if t.strip().isalpha() and len(t.strip()) > 2]


def _short(names: Sequence[str]) -> str:
    """As many of some names, the first first, as a label has room for; two at the most."""
    label = joined(names[:2])
    return label if len(label.split()) <= LONGEST else names[0]


def _hash(reading: _Reading) -> str:
    """Of the samples read and of how the feature fired on them."""
    digest = hashlib.sha256(VERSION.encode())
    for fired in reading.fired:
        digest.update(fired.exemplar.shown.id.encode())
        digest.update(fired.exemplar.activations.tobytes())
    for sample in reading.silent:
        digest.update(sample.id.encode())
    return digest.hexdigest()[:16]
