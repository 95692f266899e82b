"""From what an LMM wrote to an Explanation: JSON found, checked, and never trusted.

A refusal, an answer that is no JSON or is not in English becomes an abstention that says so.
Knows the answer's text only.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from semascope.explain import words
from semascope.explain.types import CATEGORIES, Category

_REFUSAL = re.compile(
    r"\b(i(?:'m| am) (?:sorry|unable|not able)|i can(?:no|')t|as an ai|unable to (?:assist|help))",
    re.IGNORECASE,
)
_ENGLISH = frozenset(
    """a an the of in on at to for from by with and or is are that this it as not no which who
    when where what such like used any all both other various pictures images text words""".split()
)
LONGEST_LABEL = 60
LONGEST_DESCRIPTION = 600


class UnreadableError(Exception):
    """An answer that cannot be used; its message becomes the reason of an abstention."""


def parse(text: str) -> dict[str, Any]:
    """The JSON object of an answer, fences and chatter around it left out."""
    if not text.strip():
        raise UnreadableError("The model answered with nothing.")
    for match in re.finditer(r"\{", text):
        try:
            found, _ = json.JSONDecoder().raw_decode(text[match.start() :])
        except json.JSONDecodeError:
            continue
        if isinstance(found, dict):
            return found
    if _REFUSAL.search(text):
        raise UnreadableError("The model refused.")
    raise UnreadableError(f"The answer was no JSON: {text.strip()[:80]!r}")


def plain(text: Any) -> str:
    """One line without marks that would break a page or a prompt, wherever they stand."""
    without = re.sub(r"</?[a-zA-Z][^<>]*>", "", str(text))
    return " ".join(re.sub(r"[<>`{}\x00-\x1f]+", " ", without).split())


def label_of(answer: dict[str, Any]) -> str:
    """One line, few words, without marks that would break a page or a prompt."""
    label = plain(answer.get("label", "")).strip(" .\"'")
    if len(label) > LONGEST_LABEL:
        label = label[:LONGEST_LABEL].rsplit(" ", 1)[0]
    return label


def category_of(answer: dict[str, Any]) -> Category:
    """The category, "other" where it is none of ours."""
    said = str(answer.get("category", "")).strip().lower()
    said = {"color": "colour", "place": "scene", "word": "text"}.get(said, said)
    return next((c for c in CATEGORIES if c == said), "other")


def confidence_of(answer: dict[str, Any]) -> float:
    """0 to 1; a model that says 85 means .85."""
    value = answer.get("confidence", 0.5)
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
        return 0.5
    return min(max(value / 100 if value > 1 else float(value), 0.0), 1.0)


def check_english(description: str) -> None:
    """Raise UnreadableError for words in another language, which no judge here could match."""
    letters = [c for c in description if c.isalpha()]
    plain = sum(c.isascii() for c in letters)
    spoken = [description[a:b].lower() for a, b in words.spans(description)]
    foreign = letters and plain < 0.8 * len(letters)
    if foreign or (len(spoken) >= 6 and not _ENGLISH & set(spoken)):
        raise UnreadableError(f"The answer is not in English: {description[:80]!r}")


@dataclass(frozen=True, slots=True)
class Said:
    """An answer that can be used."""

    description: str
    label: str
    category: Category
    confidence: float


def read(text: str) -> Said | None:
    """An answer, checked; None where the model abstained or gave no words.

    Raises UnreadableError for a refusal, no JSON, or another language.
    """
    answer = parse(text)
    description = plain(answer.get("description", ""))[:LONGEST_DESCRIPTION]
    label = label_of(answer)
    if answer.get("abstain") is True or not (label or description):
        return None
    check_english(f"{description} {label}")
    return Said(
        description or label,
        label or description[:LONGEST_LABEL],
        category_of(answer),
        confidence_of(answer),
    )


def abstention(text: str) -> str:
    """Why a model that abstained did so, in its words."""
    said = plain(parse(text).get("description", ""))[:LONGEST_DESCRIPTION]
    return said or "The model gave no words."
