"""Finds the columns of a record: pictures, conversation, question and answer, text.

Names are compared without case, spaces and hyphens. A column that the user names takes precedence
over usual names. The role of each used column is returned with the values, so that unused columns
can be counted and reported.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from semascope.corpus.tabular.base import BadRow

IMAGE_COLUMNS = (
    "image", "images", "img", "imgs", "picture", "pictures", "photo", "jpg", "jpeg", "png", "webp",
    "file_name", "filename", "image_path", "img_path", "image_file", "image_name", "filepath",
    "image_bytes", "image_base64", "image_b64", "image_paths", "image_url", "image_urls",
)  # fmt: skip
TALK_COLUMNS = (
    "conversations", "messages", "conversation", "texts", "dialogue", "dialog", "turns", "chat",
)  # fmt: skip
QUESTION_COLUMNS = (
    "question", "questions", "query", "instruction", "prompt", "problem", "user", "human", "input",
)  # fmt: skip
ANSWER_COLUMNS = (
    "answer", "answers", "multiple_choice_answer", "response", "completion", "output", "solution",
    "assistant", "gpt", "chosen",
)  # fmt: skip
MORE_COLUMNS = ("input", "context", "passage", "hint")
"""Columns with context of a question."""
CHOICES = ("choices", "options")
TEXT_COLUMNS = (
    "text", "caption", "captions", "txt", "content", "sentence", "description", "sentences",
    "texts", "alt_text", "alt", "raw", "comment", "body", "article", "document", "story",
    "abstract", "summary", "title",
)  # fmt: skip
PARTS_OF_TEXT = frozenset("text caption captions sentence sentences description alt".split())
NO_TEXT = frozenset(
    "id ids url urls path file files lang language length len score source type licence license "
    "num count embedding name hash index".split()
)
"""A column with one of these in its name holds metadata, not text."""
INNER = ("raw", "text", "caption", "sentence", "answer", "value", "content", "en")
"""Keys under which a nested object keeps its text."""
SPEAKERS, SPOKEN = ("from", "role", "speaker", "author"), ("value", "content", "text")
PAIRS = (
    ("user", "assistant"), ("question", "answer"), ("human", "gpt"), ("query", "response"),
    ("instruction", "output"), ("prompt", "completion"), ("human", "assistant"),
)  # fmt: skip
MORE_CAPTIONS = "captions beyond a picture's first"


@dataclass(frozen=True, slots=True)
class ChosenColumns:
    """Columns that the user names; None looks for a usual name."""

    image: str | None = None
    text: str | None = None
    question: str | None = None
    answer: str | None = None
    conversation: str | None = None


@dataclass(slots=True)
class RecordFields:
    """The contents of a record by role."""

    images: list[object] = field(default_factory=list)
    talk: list[object] | None = None
    """Messages, if the record is a conversation."""
    text: str = ""
    used: dict[str, str] = field(default_factory=dict)
    """Role of each used column."""
    left: Counter[str] = field(default_factory=Counter)
    """Parts of used columns that were left out, by reason."""


def normal(name: object) -> str:
    """A column's name as it is compared."""
    return re.sub(r"[\s\-]+", "_", str(name).strip().lstrip("\ufeff").lower())


class AliasedRecord:
    """A record whose columns are found by usual names."""

    def __init__(self, record: Mapping[Any, Any]) -> None:
        self.record = record
        self.names: dict[str, Any] = {}
        for name in record:
            self.names.setdefault(normal(name), name)

    def find(self, names: Iterable[str]) -> tuple[Any, Any]:
        """(column, value) of the first name whose column holds something; (None, None)."""
        for name in names:
            column = self.names.get(name)
            if column is not None and not _empty(self.record[column]):
                return column, self.record[column]
        return None, None

    def named(self, column: str | None, names: Iterable[str]) -> tuple[Any, Any]:
        """As ``find``, or the one column that the user names."""
        if column is None:
            return self.find(names)
        value = self.record.get(column)
        return (None, None) if _empty(value) else (column, value)

    def numbered(self, pattern: str) -> list[Any]:
        """Columns such as ``caption_0``, by number."""
        found = [(re.fullmatch(pattern, name), column) for name, column in self.names.items()]
        kept = [(int(m[1]), c) for m, c in found if m and not _empty(self.record[c])]
        return [column for _, column in sorted(kept, key=lambda pair: pair[0])]


def _empty(value: object) -> bool:
    return value is None or (isinstance(value, str | bytes | list | tuple | dict) and not value)


def fields(record: Mapping[Any, Any], asked: ChosenColumns) -> RecordFields:
    """The record's pictures, conversation or text; BadRow if a value has an unusable type."""
    row, out = AliasedRecord(record), RecordFields()
    _images(row, asked, out)
    if asked.text is None and (_talk(row, asked, out) or _question(row, asked, out)):
        return out
    _text(row, asked, out)
    return out


def _images(row: AliasedRecord, asked: ChosenColumns, out: RecordFields) -> None:
    column, _ = row.named(asked.image, IMAGE_COLUMNS)
    columns = [column] if column is not None else []
    if not columns and asked.image is None:
        columns = row.numbered(r"(?:image|img|picture)s?_?(\d+)")
    for each in columns:
        out.used[str(each)] = "pictures"
        out.images += listed(parsed(row.record[each]))


def listed(value: object) -> list[object]:
    """The items of a list; a single value as a list of one; [] for None."""
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def parsed(value: object) -> object:
    """A JSON list or object in a string, as CSV holds them; other values as they are."""
    if isinstance(value, str) and value[:1] in "[{" and value.rstrip()[-1:] in ("]", "}"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _talk(row: AliasedRecord, asked: ChosenColumns, out: RecordFields) -> bool:
    column, value = row.named(asked.conversation, TALK_COLUMNS)
    value = parsed(value)
    if column is None or (normal(column) == "texts" and not _of_objects(value)):
        return _messages_in_two(row, asked, out)
    out.used[str(column)] = "conversation"
    messages = list(_messages(value))
    system, said = row.find(("system", "system_prompt"))
    first = next((m for m in messages if isinstance(m, Mapping)), {})
    if isinstance(said, str) and _spoken_by(first) != "system":
        out.used[str(system)] = "system prompt"
        messages.insert(0, {"role": "system", "content": said})
    out.talk = messages
    return True


def _spoken_by(message: Mapping[Any, Any]) -> object:
    return next((message[name] for name in SPEAKERS if message.get(name)), None)


def _of_objects(value: object) -> bool:
    value = value if isinstance(value, list | tuple) else [value]
    return bool(value) and all(isinstance(item, Mapping | list | tuple) for item in value)


def _messages_in_two(row: AliasedRecord, asked: ChosenColumns, out: RecordFields) -> bool:
    """Messages before the answer in one column, those of the answer in another."""
    first, before = row.named(asked.question, ("prompt",))
    second, after = row.named(asked.answer, ("completion", "chosen", "response"))
    if not (isinstance(before, list | tuple) and _of_objects(before)):
        if isinstance(after, list | tuple) and len(after) > 1 and _of_objects(after):
            out.used[str(second)] = "conversation"  # preference pairs whose prompt is within
            out.talk = list(_messages(after))
            return True
        return False
    out.used[str(first)] = "conversation"
    out.talk = list(_messages(before))
    if isinstance(after, list | tuple):
        out.used[str(second)] = "conversation"
        out.talk += _messages(after)
    elif isinstance(after, str):
        out.used[str(second)] = "answer"
        out.talk.append({"role": "assistant", "content": after})
    return True


def _messages(value: object) -> Iterator[object]:
    """Messages of any usual shape as ``{"role", "content"}``; BadRow if there is no list."""
    if isinstance(value, Mapping):
        columns = [v for v in value.values() if isinstance(v, list | tuple)]
        if len(columns) == len(value) and len({len(column) for column in columns}) == 1:
            value = [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
        else:
            value = [value]
    if not isinstance(value, list | tuple):
        raise BadRow("conversation is not a list")
    for number, item in enumerate(value):
        if isinstance(item, str) and all(isinstance(other, str) for other in value):
            yield {"role": ("user", "assistant")[number % 2], "content": item}
        elif isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], str):
            yield {"role": "user", "content": item[0]}
            yield {"role": "assistant", "content": item[1]}
        elif isinstance(item, Mapping):
            yield from _message(item)
        else:
            yield item


def _message(item: Mapping[Any, Any]) -> Iterator[object]:
    """One message, or the two of a pair."""
    by_name = {normal(name): value for name, value in item.items()}
    pair = next((p for p in PAIRS if by_name.get(p[0]) or by_name.get(p[1])), None)
    if _spoken_by(by_name) is None and pair is not None:
        if by_name.get("system"):
            yield {"role": "system", "content": by_name["system"]}
        pair = next((p for p in PAIRS if by_name.get(p[0]) and by_name.get(p[1])), pair)
        for role, name in zip(("user", "assistant"), pair, strict=True):
            if by_name.get(name):
                yield {"role": role, "content": by_name[name]}
        return
    spoken = next((by_name[name] for name in SPOKEN if by_name.get(name) is not None), None)
    yield {"role": _spoken_by(by_name), "content": spoken}


def _question(row: AliasedRecord, asked: ChosenColumns, out: RecordFields) -> bool:
    """A question with its answer, as a conversation of two turns."""
    asks, question = row.named(asked.question, QUESTION_COLUMNS)
    answers, answer = row.named(asked.answer, ANSWER_COLUMNS)
    if asks is None or (answers is None and row.find(TEXT_COLUMNS)[0] is not None):
        return False
    question = parsed(question)
    if isinstance(question, Mapping):
        question = next(_strings(question), None)
    if not isinstance(question, str):
        return _questions(asks, question, answers, answer, out)
    out.used[str(asks)] = "question"
    parts = [question]
    for name in MORE_COLUMNS:
        column, more = row.find((name,))
        if column not in (None, asks, answers) and isinstance(more, str):
            out.used[str(column)] = "question"
            parts = [*parts, more] if name in ("input", "hint") else [more, *parts]
    picks, choices = row.find(CHOICES)
    choices = parsed(choices)
    if isinstance(choices, list) and all(isinstance(choice, str) for choice in choices):
        out.used[str(picks)] = "question"
        parts += [f"{chr(ord('A') + n)}. {choice}" for n, choice in enumerate(choices)]
        if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
            answer = choices[answer]
    system, said = row.find(("system", "system_prompt"))
    out.talk = []
    if isinstance(said, str):
        out.used[str(system)] = "system prompt"
        out.talk.append({"role": "system", "content": said})
    column, past = row.find(("history",))
    if isinstance(past, list | tuple):
        out.used[str(column)] = "conversation"
        out.talk += _messages(past)
    out.talk.append({"role": "user", "content": "\n".join(parts)})
    if answers is not None:
        out.used[str(answers)] = "answer"
        out.talk.append({"role": "assistant", "content": _answer(answer, out)})
    return True


def _questions(
    asks: Any, question: object, answers: Any, answer: object, out: RecordFields
) -> bool:
    """Several questions with as many answers."""
    answer = parsed(answer)
    if not (isinstance(question, list | tuple) and all(isinstance(q, str) for q in question)):
        raise BadRow("question is of the wrong type")
    replies = answer if isinstance(answer, list | tuple) else [answer] * (answers is not None)
    if len(replies) not in (0, len(question)):
        raise BadRow("number of questions and of answers differ")
    out.used[str(asks)] = "question"
    out.talk = []
    for number, each in enumerate(question):
        out.talk.append({"role": "user", "content": each})
        if replies:
            out.talk.append({"role": "assistant", "content": _answer(replies[number], out)})
    if replies:
        out.used[str(answers)] = "answer"
    return True


def _answer(value: object, out: RecordFields) -> str:
    """An answer as text; the most frequent of several."""
    value = _captions(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return str(value)
    found = list(_strings(value))
    if not found:
        raise BadRow("answer is of the wrong type")
    counted = Counter(found)
    if len(counted) > 1:
        out.left["answers beyond the most frequent"] += len(counted) - 1
    return counted.most_common(1)[0][0]


def _strings(value: object) -> Iterator[str]:
    """The words in nested lists and objects, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        from semascope.corpus.media.text_encoding import words_of

        yield words_of(value)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, Mapping):
        by_name = {normal(name): inner for name, inner in value.items()}
        key = next((name for name in INNER if not _empty(by_name.get(name))), None)
        if key is not None:
            yield from _strings(by_name[key])


def _text(row: AliasedRecord, asked: ChosenColumns, out: RecordFields) -> None:
    columns = _text_columns(row, asked)
    if not columns:
        return
    values = [(normal(column).endswith("s"), row.record[column]) for column in columns]
    found = [
        w for several, value in values for w in _strings(_captions(value) if several else value)
    ]
    if not found:
        raise BadRow("text is of the wrong type")
    out.used |= {str(column): "text" for column in columns}
    out.text = found[0]
    if len(found) > 1:
        out.left[MORE_CAPTIONS] += len(found) - 1


def _captions(value: object) -> object:
    """The strings of a list that is written as JSON; any other text is what it is."""
    inner = parsed(value)
    texts = isinstance(inner, list) and bool(inner) and all(isinstance(i, str) for i in inner)
    return inner if texts else value


def _text_columns(row: AliasedRecord, asked: ChosenColumns) -> Sequence[Any]:
    """The column of words; several where they are numbered captions."""
    column, _ = row.named(asked.text, TEXT_COLUMNS)
    if column is not None or asked.text is not None:
        return [] if column is None else [column]
    several = row.numbered(r"(?:caption|text|sentence|description)s?_?(\d+)")
    if several:
        return several
    for name, column in row.names.items():
        parts = set(name.split("_"))
        if parts & PARTS_OF_TEXT and not parts & NO_TEXT and list(_strings(row.record[column])):
            return [column]
    column, _ = row.find(ANSWER_COLUMNS)
    return [] if column is None or not list(_strings(row.record[column])) else [column]


def unused(record: Mapping[Any, Any], used: Iterable[str]) -> list[str]:
    """Columns that hold something and were used as nothing."""
    taken = set(used)
    return [str(name) for name in record if str(name) not in taken and not _empty(record[name])]
