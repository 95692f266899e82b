"""What a server sent, read without trust: a chat completion, or a sentence about what it is.

Servers that call themselves OpenAI-compatible differ: content in parts, thinking in a field of its
own, five shapes of errors, and pages where no API is. Knows bytes and JSON; asks nobody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from semascope.wellformed import well_formed

_CUT = ("length", "max_tokens", "max_output_tokens", "model_length")
_FILTERED = (
    "content_filter",
    "content-filter",
    "safety",
    "recitation",
    "blocklist",
    "prohibited_content",
    "refusal",
    "sensitive",
)


class NotACompletionError(Exception):
    """A body that is no chat completion; the message says what it is."""

    def __init__(self, message: str, *, page: bool = False, passing: bool = False) -> None:
        super().__init__(message)
        self.page = page
        """Whether it is a web page: the address is wrong."""
        self.passing = passing
        """Whether another try may well succeed."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One chat completion."""

    text: str
    finish: str = ""
    """"stop", "cut", "filtered", or as the server says."""
    refusal: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


def json_of(body: bytes) -> Any:
    """The JSON of a body.

    Raises:
        NotACompletionError: A web page, a stream, other text, or nothing.
    """
    text = body.decode("utf-8-sig", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    start = text.lstrip()[:400]
    if not start:
        raise NotACompletionError("answered with an empty body", passing=True)
    if re.match(r"(?is)(?:<\?xml.*?\?>\s*)?<(?:!doctype|html|head|body|!--)", start):
        raise NotACompletionError("answered with a web page, not JSON", page=True)
    if start.startswith(("data:", "event:")):
        raise NotACompletionError("answered with a stream of events, not one JSON object")
    if start.startswith("{"):
        raise NotACompletionError("answered with JSON that is cut off or broken", passing=True)
    raise NotACompletionError(f"answered with text, not JSON: {one_line(start, 80)!r}")


def completion(body: bytes) -> Completion:
    """Read a body as a chat completion.

    Raises:
        NotACompletionError: It is something else; an error that came with status 200, too.
    """
    found = json_of(body)
    if not isinstance(found, dict):
        raise NotACompletionError(f"answered with JSON of another shape: {_kind(found)}")
    choices = found.get("choices")
    if not isinstance(choices, list):
        told = error_text(found)
        if told:
            raise NotACompletionError(f"answered with an error: {told}")
        keys = ", ".join(map(str, list(found)[:6])) or "no key"
        raise NotACompletionError(f"answered with JSON of another shape: an object with {keys}")
    if not any(isinstance(one, dict) for one in choices):
        raise NotACompletionError("sent an answer without choices", passing=True)
    choice = next(one for one in choices if isinstance(one, dict))
    told = error_text({"error": choice["error"]}) if choice.get("error") else ""
    if told:
        raise NotACompletionError(f"answered with an error: {told}", passing=True)
    return _completion(choice, found.get("usage"))


def _completion(choice: Mapping[str, Any], usage: Any) -> Completion:
    message = choice.get("message")
    message = message if isinstance(message, dict) else {"content": choice.get("text")}
    usage = usage if isinstance(usage, dict) else {}
    text = content_text(message.get("content"))
    refusal = content_text(message.get("refusal")) or _refusal_part(message.get("content"))
    return Completion(
        text=well_formed(text if text.strip() else _arguments(message)),
        finish=_finish(choice.get("finish_reason")),
        refusal=well_formed(refusal),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
    )


def content_text(content: Any) -> str:
    """The words of a message's content: a string, or parts; parts that are thinking are none."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        kind = str(content.get("type", "text"))
        if kind not in ("text", "output_text"):
            return ""
        text = content.get("text")
        return text if isinstance(text, str) else ""
    if isinstance(content, list):
        return "".join(content_text(part) for part in content if not isinstance(part, list))
    return ""


def _refusal_part(content: Any) -> str:
    parts = content if isinstance(content, list) else []
    told = [p.get("refusal") for p in parts if isinstance(p, dict) and p.get("type") == "refusal"]
    return " ".join(one for one in told if isinstance(one, str))


def _arguments(message: Mapping[str, Any]) -> str:
    """The arguments of a tool call: some servers give structured output so."""
    calls = message.get("tool_calls")
    first = calls[0] if isinstance(calls, list) and calls else {}
    call = first.get("function") if isinstance(first, dict) else None
    call = call if isinstance(call, dict) else message.get("function_call")
    given = call.get("arguments") if isinstance(call, dict) else None
    return given if isinstance(given, str) else json.dumps(given) if given else ""


def _finish(reason: Any) -> str:
    said = str(reason or "").lower()
    if said in _CUT:
        return "cut"
    return "filtered" if said in _FILTERED else said


def _count(value: Any) -> int:
    known = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12
    return int(value) if known else 0


def error_text(found: Any) -> str:
    """The sentence of an error in any of the usual shapes; empty where there is none.

    {"error": {"message": …}}, {"error": "…"}, {"detail": … or [{"loc", "msg"}]}, {"message": …},
    {"object": "error", "message": …}, {"errors": […]}.
    """
    if isinstance(found, str):
        return one_line(found)
    if isinstance(found, list):
        return "; ".join(filter(None, (error_text(one) for one in found[:3])))
    if not isinstance(found, dict):
        return ""
    if isinstance(found.get("msg"), str):
        where = found.get("loc")
        place = ".".join(map(str, where)) + ": " if isinstance(where, list) else ""
        return one_line(place + found["msg"])
    for key in ("error", "detail", "message", "errors", "title", "reason", "code"):
        told = error_text(found.get(key))
        if told:
            return told
    return ""


def error_fields(found: Any) -> tuple[str, str]:
    """(code, param) of an error, empty where it has none."""
    inner = found.get("error", found) if isinstance(found, dict) else {}
    inner = inner if isinstance(inner, dict) else {}
    code, param = inner.get("code") or inner.get("type"), inner.get("param")
    return str(code or ""), param if isinstance(param, str) else ""


def one_line(text: str, longest: int = 300) -> str:
    """Text from outside in one printable line of bounded length."""
    spaced = "".join(c if c.isprintable() else " " for c in well_formed(text[: 4 * longest]))
    line = " ".join(spaced.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _kind(found: Any) -> str:
    if isinstance(found, list):
        return "a list"
    return "null" if found is None else f"a {type(found).__name__}"


def allowance(body: Mapping[str, Any]) -> int:
    """Tokens that a request allows its reply, 0 where it sets no bound."""
    sent = {**body, **body.get("extra_body", {})}
    value = sent.get("max_completion_tokens", sent.get("max_tokens", 0))
    return value if isinstance(value, int) else 0


def has_picture(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether any of some chat messages holds a picture."""
    parts = [p for m in messages if isinstance(m["content"], list) for p in m["content"]]
    return any(part.get("type") == "image_url" for part in parts)
