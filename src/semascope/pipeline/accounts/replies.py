"""What came of the questions to models: how many answers could be used, and why the others not.

A run in which most answers were of no use is not done, whatever the cheaper namers found. Knows
explanations and counts.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from semascope.errors import ExplainError

if TYPE_CHECKING:
    from semascope.explain.scorers.lmm_judge import LMMJudge
    from semascope.explain.types import Explanation

LOG = logging.getLogger(__name__)
MOST_UNUSABLE = 0.5
"""Share of a model's answers that may be of no use; above it the stage fails."""
MOST_UNREAD = 0.2
"""Share of a judge's answers that may be of no use; a judge that fails biases what is left."""
EARLY = 16
"""Answers after which a model none of whose answers was of use is asked no more."""
_KINDS = (
    ("cut off", "; allow more with --max-reply-tokens"),
    ("still thinking", "; allow more with --max-reply-tokens"),
    ("thought, and answered with nothing", "; allow more with --max-reply-tokens"),
    ("not in English", "; name a model that answers in English with --model"),
    ("content filter", "; name another model with --model"),
    ("context", "; serve the model with a longer context"),
    ("no JSON", "; name a model that answers with JSON with --model"),
)


@dataclass(slots=True)
class ReplyCounts:
    """One model's answers."""

    asked: int = 0
    unusable: Counter[str] = field(default_factory=Counter)
    """Answers of no use, by reason."""
    example: dict[str, str] = field(default_factory=dict)
    """One reason of each kind in full."""

    def add(self, reason: str) -> None:
        """Count an answer; ``reason`` is empty where it was of use."""
        self.asked += 1
        if reason:
            kind = kind_of(reason)
            self.unusable[kind] += 1
            self.example.setdefault(kind, reason)


def kind_of(reason: str) -> str:
    """A reason without what is particular to one reply."""
    return reason.split(": ", 1)[0].rstrip(".")[:120]


def tally(
    explanations: Iterable[Explanation], into: dict[str, ReplyCounts] | None = None
) -> dict[str, ReplyCounts]:
    """By author: every answer of the models that were asked."""
    found = {} if into is None else into
    for one in explanations:
        for author, reason in one.replies.items():
            found.setdefault(author, ReplyCounts()).add(reason)
    return found


def failed(records: Iterable[Mapping[str, Any]]) -> bool:
    """Whether any answer behind a part's records was of no use: it is to be asked for again."""
    return any(reason for record in records for reason in record.get("replies", {}).values())


def check(found: Mapping[str, ReplyCounts], *, early: bool = False) -> None:
    """Raise ExplainError where most answers of a model were of no use.

    ``early``: while the work goes on, where none was of use among ``EARLY`` or more.
    """
    for author, of in found.items():
        bad = of.unusable.total()
        over = bad == of.asked >= EARLY if early else bad > MOST_UNUSABLE * of.asked
        if over:
            raise ExplainError(sentence(author, "answers", of.asked, of.unusable, of.example))
        if bad and not early:
            LOG.warning(sentence(author, "answers", of.asked, of.unusable, of.example, over=False))


def check_judge(judge: LMMJudge, asked: int, unread: Counter[str]) -> None:
    """Raise ExplainError where too many of a judge's answers could not be read."""
    if not unread:
        return
    kinds, example = grouped(unread)
    if unread.total() > MOST_UNREAD * asked:
        raise ExplainError(sentence(judge.name, "judgements", asked, kinds, example))
    LOG.warning(sentence(judge.name, "judgements", asked, kinds, example, over=False))


def grouped(reasons: Mapping[str, int]) -> tuple[Counter[str], dict[str, str]]:
    """(how many, an example) of each kind of reason."""
    kinds: Counter[str] = Counter()
    example: dict[str, str] = {}
    for reason, times in reasons.items():
        kinds[kind_of(reason)] += times
        example.setdefault(kind_of(reason), reason)
    return kinds, example


def sentence(
    author: str,
    what: str,
    asked: int,
    unusable: Counter[str],
    example: Mapping[str, str],
    over: bool = True,
) -> str:
    """How many were of no use, why, and what to do; ``over``: that it is too many to go on."""
    ranked = unusable.most_common()
    first = example.get(ranked[0][0], ranked[0][0]).rstrip(".")
    advice = next((told for mark, told in _KINDS if mark in first), "")
    others = ", ".join(f"{times} {kind}" for kind, times in ranked[1:4])
    model = author.split(":", 1)[-1]
    return (
        f"{unusable.total()} of {asked} {what} of {model} could not be used: {first[:240]}"
        f"{f' (and {others})' if others else ''}{advice}."
        + (" What was answered is kept; the same command asks for the rest." if over else "")
    )


def figures(found: Mapping[str, ReplyCounts]) -> dict[str, Any]:
    """By author: answers asked for, and those of no use by reason; empty where nobody was asked."""
    told = {a: {"asked": of.asked, "unusable": dict(of.unusable)} for a, of in found.items()}
    return {"replies": told} if told else {}
