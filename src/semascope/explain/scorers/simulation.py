"""Simulation: from the words alone, how active should each token be? Correlation with the truth.

Pearson r over the tokens of held-out samples, firing and silent (Bills et al. 2023), **signed**:
no linear fit comes first, since after one a perfectly wrong explanation scores +1. The
simulator stands behind a protocol. Chance is 0; intervals draw samples, not tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semascope.evidence.types import EvidenceSample, FeatureEvidence
from semascope.explain.scorers.lexical_judge import LexicalJudge
from semascope.explain.scorers.match_truth import coverage, named_things
from semascope.explain.scorers.token_match import TokenMatcher
from semascope.explain.text.claims import Claim, claim
from semascope.explain.text.documents import DocumentLibrary
from semascope.explain.text.excerpts import ExcerptCutter
from semascope.explain.types import Explanation, Score
from semascope.statistics import pearson_interval
from semascope.subject.types import IMAGE_KINDS, Kind


class Simulator(Protocol):
    """Guesses activations from words."""

    @property
    def name(self) -> str:
        """Who guesses."""
        ...

    def simulate(
        self, explanation: Explanation, samples: Sequence[EvidenceSample]
    ) -> list[NDArray[np.float64]]:
        """For each sample (T,) guessed activations, on any scale."""
        ...


class WordSimulator:
    """Active on tokens of matching words; on all of a picture whose caption matches.

    It cannot look into a picture. With ``truth`` it is told where the named object is, which
    makes it a perfect observer of drawn scenes: what is lost then is the words' fault.
    """

    def __init__(self, library: DocumentLibrary | None = None, *, truth: bool = False) -> None:
        self.library = library or DocumentLibrary()
        self.truth = truth
        self._judge = LexicalJudge(self.library)

    @property
    def name(self) -> str:
        """Says whether truth was used."""
        return "words and truth" if self.truth else "words"

    def simulate(
        self, explanation: Explanation, samples: Sequence[EvidenceSample]
    ) -> list[NDArray[np.float64]]:
        """For each sample (T,) in [0, 1]."""
        said = claim(explanation.label, explanation.description)
        ratings = self._judge.rate([explanation], [samples])[0]
        return [
            self._sample(said, shown, float(rating))
            for shown, rating in zip(samples, ratings, strict=True)
        ]

    def _sample(self, said: Claim, shown: EvidenceSample, rating: float) -> NDArray[np.float64]:
        guess = np.zeros(len(shown.tokens))
        own = shown.image >= 0 if shown.moments else shown.image == 0
        pictured = np.flatnonzero(np.isin(shown.kinds, IMAGE_KINDS) & own)
        if self.truth and shown.truth.get("objects"):
            named = named_things(said, shown)
            if named is not None:
                guess[pictured] = coverage(named, pictured)
        elif len(pictured) and (said.seen or not said.read):
            guess[pictured] = rating
        if said.read or not said.seen:
            # What must stand near and does not makes it half as likely.
            self._tokens(said, shown, guess, rating if said.near is not None else 1.0)
        return guess

    def _tokens(
        self, said: Claim, shown: EvidenceSample, guess: NDArray[np.float64], share: float
    ) -> None:
        matcher = TokenMatcher(said, self.library.doc(shown))
        for token in np.flatnonzero(shown.kinds == Kind.TEXT).tolist():
            guess[token] = share * matcher.fit(token)


class SimulationScorer:
    """``simulation``: signed r between guessed and true activations of held-out tokens."""

    name = "simulation"

    def __init__(
        self, simulator: Simulator | None = None, *, least: int = 3, silent: int = 10, seed: int = 0
    ) -> None:
        self.simulator = simulator or WordSimulator()
        self.least = least
        self.silent = silent
        self.seed = seed
        self._cutter = ExcerptCutter()

    def score(
        self, records: Sequence[FeatureEvidence], explanations: Sequence[Explanation]
    ) -> list[Score]:
        """Scores of every explained feature with enough held-out samples."""
        scores = (
            self._one(record.split("score"), explanation)
            for record, explanation in zip(records, explanations, strict=True)
            if not explanation.abstained
        )
        return [score for score in scores if score is not None]

    def _one(self, record: FeatureEvidence, explanation: Explanation) -> Score | None:
        cases = self._cutter.cases(record)
        exemplars, silent = cases.firing, cases.silent[: self.silent]
        if len(exemplars) < self.least:
            return None
        samples = [*(e.shown for e in exemplars), *silent]
        true = [e.activations for e in exemplars] + [np.zeros(len(s.tokens)) for s in silent]
        guessed = self.simulator.simulate(explanation, samples)
        owner = np.repeat(np.arange(len(samples)), [len(t) for t in true])
        figure = pearson_interval(
            np.concatenate(true).astype(np.float64), np.concatenate(guessed), owner, self.seed
        )
        detail = {"simulator": self.simulator.name, "samples": len(samples)}
        return Score(
            record.index, self.name, figure.value, 0.0, *figure.interval, detail, explanation.author
        )
