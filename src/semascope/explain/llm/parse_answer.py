"""From what an LMM wrote to words: JSON found, checked, and never trusted.

A refusal, an answer that is no JSON, one that names nothing, or one that is not in English
becomes an abstention that says so. Knows the reply's text only; ``reply_text`` finds the JSON.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from semascope.explain.llm import reply_text
from semascope.explain.text.language import is_english
from semascope.explain.types import CATEGORIES, Category
from semascope.wellformed import well_formed

WORDS = ("description", "label", "abstain")
"""Fields of an answer that names a feature."""
KNOWN = (*WORDS, "fit", "coherence")
"""Fields of all answers that are asked for."""
_CANNOT = (
    r"(?:can(?:no|')?t|can not|could(?: not|n't)|(?:wo|do|did|does|am|was)(?:n't| not)|will not"
    r"|must decline|decline to|apologi[sz]e|refuse to|have to decline)"
)
_ADVERB = r"(?:[a-z]+ly,? |still |also |simply )*"
_REFUSES = re.compile(
    r"^\W*(?:(?:unfortunately|sorry|apologies|however|but|as an ai[^,]*"
    r"|it (?:seems|appears|looks)(?: like| that| as if)?),?\s*(?:but )?)*"
    rf"(?:(?:i|we)(?:'m| am|'re| are)? {_ADVERB}"
    rf"(?:sorry|unable|not able|not comfortable|afraid|not allowed|{_CANNOT})"
    r"|as an ai\b|sorry, |my apologies|i apologi[sz]e|unable to \w+|cannot (?:assist|help|comply|"
    r"identify|determine|provide|view|see|access|process|answer|fulfil)|no (?:image|picture|photo|"
    r"example)s? (?:was|were|is|are|has been|have been)? ?(?:provided|attached|visible|given|shown|"
    r"supplied|received|uploaded|available|found)"
    r"|(?:the )?(?:image|picture)s? (?:(?:is|are|was|were|did|do|does|could|can|has|have)"
    r"(?: not|n't)|cannot|can't|failed to) ?(?:be |been )?(?:provided|visible|attached|load(?:ed)?"
    r"|display(?:ed)?|view(?:ed)?|available|accessible|uploaded|seen)"
    r"|please (?:provide|upload|attach|share))",
    re.IGNORECASE,
)
_SPEAKS_OF_REFUSING = re.compile(
    r"\b(i(?:'m| am) (?:sorry|unable|not able)|i can(?:no|')t|i (?:wo|do)n't|as an ai|"
    r"unable to (?:assist|help)|i must decline)",
    re.IGNORECASE,
)
_TAKES_BACK = re.compile(
    rf"\b(?:i|we)(?:'m| am|'re| are)? {_ADVERB}(?:{_CANNOT}|unable to|not able to) {_ADVERB}"
    r"(?:help|assist|identify|comply|provide|answer|continue|describe|name|do (?:this|that))\b",
    re.IGNORECASE,
)
"""A refusal in prose behind an answer, which was then a draft."""
_BLANK = r"[\s.?!_/…\"'()\-–—]*"
_NOTHING = re.compile(
    rf"{_BLANK}(?:null|none|nil|nan|n\W?a|not (?:applicable|available|specified|known|sure|clear)"
    r"|un(?:known|clear|sure|certain|defined|specified|determined|identified|identifiable|named"
    r"|able|interpretable|labell?ed)|indeterminate|undeterminable|inconclusive"
    r"|cannot (?:tell|say|determine|see)|can't (?:tell|say)|no (?:label|description|name|answer"
    r"|idea|words?|clear pattern|common pattern|common theme|pattern|commonality|explanation)"
    r"|nothing(?: in common| shared| found)?|abstain(?:ed|s)?|refus(?:al|ed) to answer|tbd)?"
    + _BLANK,
    re.IGNORECASE,
)
_INVISIBLE = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\x7f-\x9f]+")
_BREAKS = re.compile(r"[<>`{}\x00-\x1f\u2028\u2029]+")
LONGEST_LABEL = 60
LONGEST_DESCRIPTION = 600


class UnreadableError(Exception):
    """An answer that cannot be used; its message becomes the reason of an abstention."""


def parse(text: str, fields: Sequence[str] = KNOWN) -> dict[str, Any]:
    """The last JSON object of a reply that has one of ``fields``, keys in lower case.

    What was thought before, drafts, fences and prose are left out; an answer may be nested under
    a key or in a list. Where no object has any of the fields, the last one that is not empty.

    Raises:
        UnreadableError: Nothing, no JSON, a refusal, or a reply that ends before its answer.
    """
    text = well_formed(text)[-reply_text.LONGEST :]
    if not text.strip():
        raise UnreadableError("The model answered with nothing.")
    try:
        said = reply_text.answer_part(text)
    except reply_text.CutWhileThinkingError as error:
        raise UnreadableError(str(error)) from error
    if not said.strip():
        raise UnreadableError("The model thought, and answered with nothing.")
    return _last(said, fields)


def parses(text: str, fields: Sequence[str] = KNOWN) -> bool:
    """Whether ``parse`` finds an object."""
    try:
        return bool(parse(text, fields))
    except UnreadableError:
        return False


def _last(said: str, fields: Sequence[str]) -> dict[str, Any]:
    found = list(reply_text.objects(said))
    if reply_text.unfinished(said, found[-1][0][1] if found else 0, fields):
        raise UnreadableError(f"The answer was cut off, no JSON: {said.strip()[-80:]!r}")
    if found and _TAKES_BACK.search(_straight(said[found[-1][0][1] :])):
        raise UnreadableError(f"The model refused: {said[found[-1][0][1] :].strip()[:120]}")
    for _, one in reversed(found):
        answer = reply_text.with_fields(one, fields)
        if answer is not None and not reply_text.placeholder(answer, fields):
            return answer
    inner = reply_text.whole(said.strip())
    if isinstance(inner, str) and inner != said:
        return parse(inner, fields)
    if isinstance(inner, list) and (listed := reply_text.with_fields(inner, fields)) is not None:
        return listed
    if _SPEAKS_OF_REFUSING.search(_straight(said)):
        raise UnreadableError("The model refused.")
    if found:
        return next((one for _, one in reversed(found) if one), {})
    raise UnreadableError(f"The answer was no JSON: {said.strip()[:80]!r}")


def _straight(text: str) -> str:
    return text.replace("’", "'").replace("ʼ", "'")


def plain(text: Any) -> str:
    """One line without marks that would break a page or a prompt, wherever they stand."""
    without = re.sub(r"</?[a-zA-Z][^<>]*>", "", _INVISIBLE.sub("", well_formed(str(text))))
    return " ".join(_BREAKS.sub(" ", without).split())


def _text(value: Any, between: str) -> str:
    """A field as one line; empty for what is no text: null, true, an object."""
    if isinstance(value, list | tuple):
        return between.join(filter(None, (_text(one, between) for one in value[:8])))
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    try:
        return plain(value)
    except ValueError:  # an integer of thousands of digits
        return ""


def label_of(answer: dict[str, Any]) -> str:
    """One line, few words, without marks that would break a page or a prompt; empty for none."""
    label = _text(answer.get("label"), " or ").strip(" .\"'")
    if len(label) > LONGEST_LABEL:
        # Of one endless word, its beginning.
        label = label[:LONGEST_LABEL].rsplit(" ", 1)[0]
    return label


def category_of(answer: dict[str, Any]) -> Category:
    """The category, "other" where it is none of ours."""
    said = _text(answer.get("category"), " ").lower()
    said = {"color": "colour", "place": "scene", "word": "text"}.get(said, said)
    return next((c for c in CATEGORIES if c == said), "other")


_NUMBER = re.compile(r"\s*([+-]?\d{1,9}(?:[.,]\d{1,20})?)\s*(%|/\s*\d{1,3}(?:\.0)?)?\s*")


def number(value: Any) -> tuple[float, float] | None:
    """(number, what it is of) of 3, "3", "2,5", "85%" (of 100) or "9/10" (of 10); of 0 where it
    does not say. None for what is no number, true and NaN included.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (float(value), 0.0) if abs(value) < 1e9 else None  # false for NaN
    match = _NUMBER.fullmatch(value) if isinstance(value, str) and len(value) < 64 else None
    if match is None:
        return None
    of = 100.0 if match[2] == "%" else float(match[2].lstrip("/")) if match[2] else 0.0
    return float(match[1].replace(",", ".")), of


def confidence_of(answer: dict[str, Any]) -> float:
    """0 to 1: .9, "0.9", 85, "85%" and "9/10" are understood, and 1.5 means sure.

    .5 where the model gave none, or one of 2 to 10, whose scale cannot be known.
    """
    found = number(answer.get("confidence"))
    if found is None:
        return 0.5
    value, of = found
    if of:
        value /= of
    elif 10 < value <= 100:
        value /= 100
    elif value >= 2:
        return 0.5
    return min(max(value, 0.0), 1.0)


def fit_of(text: str) -> float:
    """A judge's answer, 0 to 3, as a share of 3.

    Raises:
        UnreadableError: No number, or one outside 0 to 3.
    """
    whole = reply_text.whole(text.strip()) if len(text) < 64 else None
    answer = {"fit": whole} if number(whole) is not None else parse(text, ("fit",))
    found = number(answer.get("fit"))
    if found is None:
        raise UnreadableError(f"The judge gave no number: {str(answer.get('fit'))[:40]!r}")
    value, of = found
    if of not in (0.0, 3.0) or not 0 <= value <= 3:
        raise UnreadableError(f"The judge's number is not from 0 to 3: {answer['fit']!r}")
    return value / 3


def check_english(description: str) -> None:
    """Raise UnreadableError for words in another language, which no judge here could match."""
    if not is_english(description):
        raise UnreadableError(f"The answer is not in English: {description[:80]!r}")


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """An answer that can be used."""

    description: str
    label: str
    category: Category
    confidence: float


def read(text: str) -> ParsedAnswer | None:
    """An answer, checked; None where the model abstained or gave no words.

    Raises UnreadableError for a refusal, no JSON, or another language.
    """
    answer = parse(text, WORDS)
    description, label = _named(answer)
    if _abstains(answer) or not (label or description):
        return None
    check_english(f"{description} {label}")
    if not str(answer.get("label")).strip().startswith(('"', "'", "“", "‘", "«")):
        check_english(label)  # English beside it must not hide it; a quoted token may be foreign
    return ParsedAnswer(
        description or label,
        label or description[:LONGEST_LABEL],
        category_of(answer),
        confidence_of(answer),
    )


def usable(text: str) -> bool:
    """Whether ``read`` takes a reply: words, or an abstention of the model's own."""
    try:
        read(text)
    except UnreadableError:
        return False
    return True


def _named(answer: dict[str, Any]) -> tuple[str, str]:
    """(description, label), each empty where it says nothing.

    Raises UnreadableError where either is a refusal in words.
    """
    description = _text(answer.get("description"), "; ")[:LONGEST_DESCRIPTION]
    label = label_of(answer)
    for field in (description, label):
        # A feature may fire on refusals: then they stand in quotes.
        # "I can't" may be a token; three words of it are a sentence.
        spoken = len(field.split()) > 2 and field[0] not in "\"'“‘"
        if spoken and _REFUSES.match(_straight(field)):
            raise UnreadableError(f"The model refused: {field[:120]}")
    unnamed = bool(label) and _NOTHING.fullmatch(label) is not None
    if _NOTHING.fullmatch(description):
        description = ""
    # "unknown" is an answer, and the description says why: no words may be made of it.
    return ("", "") if unnamed else (description, label)


def name_of(answer: dict[str, Any]) -> str:
    """The label of an answer that has no description; empty where it names nothing.

    Raises UnreadableError for a refusal or another language.
    """
    given = answer.get("label")
    label = _named({"label": given})[1] if isinstance(given, str) else ""
    check_english(label)
    return "".join(c for c in label if c.isprintable())


def _abstains(answer: dict[str, Any]) -> bool:
    value = answer.get("abstain")
    if isinstance(value, str):
        return value.strip().lower() not in ("", "false", "no", "0", "null", "none", "n")
    return value is True or (isinstance(value, int | float) and value != 0)


def abstention(text: str) -> str:
    """Why a model that abstained did so, in its words."""
    answer = parse(text, WORDS)
    reasons = (answer.get("description"), answer.get("abstain"), answer.get("label"))
    told = (_text(one, "; ") if isinstance(one, str | list) else "" for one in reasons)
    said = next((t for t in told if t and not _NOTHING.fullmatch(t) and t.lower() != "true"), "")
    return said[:LONGEST_DESCRIPTION] or "The model gave no words."


def ends_whole(text: str) -> bool:
    """Whether a reply that ran to the bound had given its answer, and went on with blanks."""
    return text.rstrip(" \t\r\n`").endswith("}") and parses(text)


def plausible(text: str, schema: Mapping[str, Any] | None) -> bool:
    """Whether a reply in the cache may be an answer, where the caller does not say."""
    return parses(text) if schema else bool(text.strip())
