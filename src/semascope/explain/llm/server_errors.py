"""Why a server refused: this question alone, a parameter that it does not take, or the set-up.

One refused question must not end a run, and a wrong address must not be asked 131,072 times.
Servers tell the two apart in words only, so the words are read here. Knows status and text.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

Fault = Literal["parameter", "item", "no_key", "no_money", "no_model", "no_vision", "passing"]

_POLICY = re.compile(
    r"content.?(?:management )?(?:filter|policy)|moderation|flagged|safety (?:system|settings)"
    r"|responsible.?ai|usage polic|inappropriate|prohibited content|data_inspection|sensitive",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context.?(?:length|window|size)|maximum (?:context|model|sequence|input|number of tokens)"
    r"|too (?:long|many tokens|large)|exceeds? (?:the )?(?:max|limit|context)|reduce (?:the )?"
    r"(?:length|your prompt)|prompt is too|payload|string_above_max_length|max_model_len"
    r"|longer than the",
    re.IGNORECASE,
)
_KEY = re.compile(r"api.?key|authenticat|unauthori[sz]ed|invalid token|access token", re.IGNORECASE)
_MONEY = re.compile(
    r"insufficient.?(?:quota|funds|balance|credit)|exceeded your current quota|billing"
    r"|out of credits?|payment required|credit balance",
    re.IGNORECASE,
)
_MODEL = re.compile(
    r"model.?not.?found|(?:no such|unknown|invalid|unsupported) model|invalid_model"
    r"|not a valid model|model\b.{0,80}(?:does not exist|not found|not exist|is not (?:available"
    r"|loaded|served)|doesn't exist)",
    re.IGNORECASE,
)
_PICTURE = re.compile(r"image|vision|picture|multi-?modal", re.IGNORECASE)
_BLIND = re.compile(
    r"not (?:a )?(?:support|accept|multi-?modal|take|enabled|allowed|have vision|vision)"
    r"|(?:n't|n’t|cannot) (?:support|accept|take|process image inputs)"
    r"|unsupported (?:content|input)"
    r"|text.only|only (?:supports? )?text|no endpoints found|is not a multimodal|not able to see"
    r"|unknown (?:part|content) type|invalid content type|expected (?:a )?string|mmproj",
    re.IGNORECASE,
)
_ONE_PICTURE = re.compile(
    r"format|mime|media.?type|decode|corrupt|download|base64|pixels|dimension"
    r"|too (?:large|small|big)"
    r"|size|at most|exceed",
    re.IGNORECASE,
)
_NOT_TAKEN = re.compile(
    r"unsupported|not support|n't support|unrecogni[sz]ed|unknown|unexpected"
    r"|extra (?:inputs|fields)"
    r"|extra_forbidden|not permitted|not allowed|not accepted|only the default|deprecated"
    r"|must be|invalid|not implemented|incompatible|not available|forbidden|cannot be"
    r"|use '?max_comp",
    re.IGNORECASE,
)
_ALSO = {
    "response_format": r"response_format|json_schema|guided|grammar|structured.?output",
    "max_tokens": r"max_tokens|max_completion_tokens",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a server's refusal means."""

    fault: Fault
    parameter: str = ""
    """Which parameter it does not take, where that is the fault."""


def refusal(
    status: int, text: str, code: str, param: str, sent: Collection[str], *, seen: bool
) -> Refusal:
    """Judge an HTTP error.

    Args:
        status: HTTP status, 400 or above.
        text: The error's sentence.
        code: Its code, where it has one.
        param: The parameter it names, where it does.
        sent: Parameters of the request that can be left out.
        seen: Whether the server has answered a question with pictures before.
    """
    told = f"{text} {code}"
    if _MONEY.search(told) or status == 402:
        return Refusal("no_money")
    if status in (408, 409, 425, 429) or status >= 500:
        return Refusal("passing")
    if _POLICY.search(told):
        return Refusal("item")
    if status in (401, 403):
        return Refusal("no_key")
    if status in (404, 405) or _MODEL.search(told):
        return Refusal("no_model")
    named = _named(text, param, sent)
    if named:
        return Refusal("parameter", named)
    if _KEY.search(told):
        return Refusal("no_key")
    blind = _PICTURE.search(told) and _BLIND.search(told) and not _ONE_PICTURE.search(told)
    return Refusal("no_vision" if blind and not seen else "item")


def _named(text: str, param: str, sent: Collection[str]) -> str:
    """The parameter of the request that an error says is not taken; empty for none."""
    if _TOO_LONG.search(text) and not param:
        return ""
    for name in sorted(sent, key=len, reverse=True):
        if param and re.split(r"[.\[]", param)[0] == name:
            return name
    for name in sorted(sent, key=len, reverse=True):
        pattern = _ALSO.get(name, re.escape(name))
        if re.search(rf"\b(?:{pattern})", text, re.IGNORECASE) and _NOT_TAKEN.search(text):
            return name
    return ""
