"""Prompts with a wanted answer, and whether a model gives it.

A case is met if the model's *written* answer meets it, judged by its words. Its margin, of
log-probabilities, moves long before the words do.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from semascope.causal.attribution.forced_tokens import Begins, answer_logprobs
from semascope.causal.attribution.metrics import token_ids
from semascope.corpus.sample import Sample
from semascope.errors import CausalError
from semascope.subject.model import Subject
from semascope.subject.types import Edits


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A prompt with its wanted answer."""

    sample: Sample
    """The prompt, up to the user's last turn."""
    wanted: str
    """Words that the answer should contain, as the model would write them; yes and no must come
    first. Empty if any answer will do."""
    unwanted: str = ""
    """Words that it should not contain."""
    kind: str = ""
    """Kind of question, for tables."""
    accepted: tuple[str, ...] = ()
    """Alternatives to ``wanted``; margins use ``wanted`` only."""
    refused: tuple[str, ...] = ()
    """Other unwanted words; margins use ``unwanted`` only."""

    @property
    def id(self) -> str:
        """The sample's id with a hash of the question: one picture can have several questions."""
        question = self.sample.text + "|".join(turn.text for turn in self.sample.turns)
        digest = hashlib.sha256(f"{question}|{self.wanted}|{self.unwanted}".encode())
        return f"{self.sample.id}:{digest.hexdigest()[:8]}"


Judge = Callable[[str, Case], bool]
"""Whether an answer meets a case."""
Progress = Callable[[int, int, str], None]
"""Called with (done, total, note)."""


def meets(text: str, case: Case) -> bool:
    """Whether an answer contains the wanted words as whole words, and no unwanted ones.

    A wanted yes or no must be the answer's first word.
    """
    answer = _words(text)
    wanted, unwanted = _words(case.wanted), _words(case.unwanted)
    if wanted in (["yes"], ["no"]):
        return answer[:1] == wanted
    met = any(_holds(answer, words) for words in (wanted, *map(_words, case.accepted)))
    refused = [words for words in (unwanted, *map(_words, case.refused)) if words]
    return met and not any(_holds(answer, words) for words in refused)


def _words(text: str) -> list[str]:
    """Lower-case words without punctuation."""
    return re.findall(r"\w+", text.lower())


def _holds(words: list[str], part: list[str]) -> bool:
    """Whether ``words`` contains ``part`` in one piece; a plural s on its end is allowed."""
    for start in range(len(words) - len(part) + 1):
        piece = words[start : start + len(part)]
        if piece == part or (part and piece == [*part[:-1], part[-1] + "s"]):
            return True
    return not part


def answers(
    subject: Subject,
    cases: Sequence[Case],
    edits: Edits | None = None,
    *,
    max_new_tokens: int = 16,
    rows: int = 8,
    progress: Progress | None = None,
) -> list[str]:
    """The greedy answer to each case, ``rows`` prompts at a time."""
    written: list[str] = []
    for start in range(0, len(cases), rows):
        part = [case.sample for case in cases[start : start + rows]]
        done = subject.generate_batch(part, edits=edits, max_new_tokens=max_new_tokens, top=1)
        written += [generation.text for generation in done]
        if progress is not None:
            progress(len(written), len(cases), "answers of the unsteered model")
    return written


def margins(
    subject: Subject,
    cases: Sequence[Case],
    edits: Edits | None = None,
    *,
    rows: int = 8,
    begins: Begins | None = None,
) -> list[float]:
    """log p(wanted) − log p(unwanted) of each case, nats per token; p(wanted) alone if no unwanted.

    Each side is the mean over its tokens, so that long names are not at a disadvantage. ``begins``
    gives where a pass may resume (``PrefixCache.begin``).
    """
    result: list[float] = []
    for start in range(0, len(cases), rows):
        part = cases[start : start + rows]
        batch = subject.encode([case.sample for case in part], answer="", max_tokens=None)
        ids = [[_ids(subject, text) for text in (c.wanted, c.unwanted)] for c in part]
        if all(len(side) == 1 for pair in ids for side in pair):
            result += _one_token(subject, batch, ids, edits, begins)  # both sides in one pass
            continue
        sides = [_mean_logprobs(subject, batch, [pair[0] for pair in ids], edits, begins)]
        if any(case.unwanted for case in part):
            sides.append(_mean_logprobs(subject, batch, [pair[1] for pair in ids], edits, begins))
        result += [sides[0][i] - (sides[1][i] if len(sides) > 1 else 0.0) for i in range(len(part))]
    return result


def _ids(subject: Subject, text: str) -> tuple[int, ...]:
    return token_ids(subject, text) if text else ()


def _one_token(
    subject: Subject,
    batch: Any,
    ids: Sequence[Sequence[Sequence[int]]],
    edits: Edits | None,
    begins: Begins | None,
) -> list[float]:
    """log p(wanted) − log p(unwanted) where each is one token."""
    wanted = [pair[0] for pair in ids]
    first = answer_logprobs(subject, batch, wanted, edits or {}, begins)  # (1, V) each
    return [float(row[0, w[0]] - row[0, u[0]]) for row, (w, u) in zip(first, ids, strict=True)]


def _mean_logprobs(
    subject: Subject,
    batch: Any,
    ids: Sequence[Sequence[int]],
    edits: Edits | None,
    begins: Begins | None,
) -> list[float]:
    """Mean log-probability per token of each text as the answer's beginning; 0 for no text."""
    forced = answer_logprobs(subject, batch, ids, edits or {}, begins)
    return [
        float(rows.gather(1, torch.as_tensor(tokens, device=rows.device)[:, None]).mean())
        if tokens
        else 0.0
        for rows, tokens in zip(forced, ids, strict=True)
    ]


def split(cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """(search, held out), by a hash of each sample's id: one picture never falls in both.

    Raises CausalError where one side would be empty.
    """
    search, held = halves(cases)
    if not search or not held:
        raise CausalError(
            f"{len(cases)} examples are too few to split into a search half and a held-out half: "
            "give at least eight, on different pictures or prompts."
        )
    return search, held


def spread(cases: Sequence[Case], most: int) -> list[Case]:
    """At most ``most`` of the cases, evenly spaced."""
    if len(cases) <= most:
        return list(cases)
    return [cases[i * len(cases) // most] for i in range(most)]


def halves(cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """As ``split``, but either side may be empty."""
    search: list[Case] = []
    held: list[Case] = []
    for case in cases:
        digest = hashlib.sha256(case.sample.id.encode()).digest()
        (held if digest[0] < 128 else search).append(case)
    return search, held
