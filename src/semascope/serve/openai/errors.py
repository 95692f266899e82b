"""Errors of ``/v1`` in OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}``.

Knows statuses and sentences; no request and no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.responses import JSONResponse

from semascope.errors import SemascopeError, ServeError, TooMuch

PREFIX = "/v1/"
TOO_LONG = "context_length_exceeded"
NO_MODEL = "model_not_found"
RETRY_SECONDS = 5
"""Seconds after which a client that found the queue full may ask again."""


class Refused(ServeError):
    """A request that is unsupported or invalid; ``param`` names the field."""

    def __init__(self, message: str, param: str = "", code: str = "", status: int = 400) -> None:
        """``param``: the field; ``code``: OpenAI's word for the error, where it has one."""
        super().__init__(message)
        self.param, self.code, self.status = param, code, status


def answer(error: SemascopeError) -> JSONResponse:
    """One of semascope's errors."""
    if isinstance(error, TooMuch):
        return body(429, str(error), kind="rate_limit_error", code="rate_limit_exceeded")
    if isinstance(error, Refused):
        return body(error.status, str(error), param=error.param, code=error.code)
    return body(400, str(error))


def invalid(errors: Sequence[Mapping[str, Any]]) -> JSONResponse:
    """What is wrong with the fields of a request; the first is named."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return body(400, f"The body is no JSON: {first['ctx']['error']}.")
    loc = [part for part in first["loc"] if part != "body"]
    names = [part for part in loc if not _is_branch(part)]
    param = ".".join(map(str, names))
    code = TOO_LONG if names[:1] == ["messages"] and first["type"] == "string_too_long" else ""
    return body(400, f"{param or 'The body'}: {first['msg']}.", param=param, code=code)


def _is_branch(part: Any) -> bool:
    """Whether a part of an error's location names one type of a union."""
    return isinstance(part, str) and (part in ("str", "none") or "[" in part)


def body(
    status: int, message: str, *, kind: str = "", param: str = "", code: str = ""
) -> JSONResponse:
    """The response; characters that cannot be encoded are replaced."""
    usual = "server_error" if status >= 500 else "invalid_request_error"
    fields = {
        "message": message,
        "type": kind or usual,
        "param": param or None,
        "code": code or None,
    }
    clean = {k: v and v.encode("utf-8", "replace").decode() for k, v in fields.items()}
    headers = {"retry-after": str(RETRY_SECONDS)} if status == 429 else None
    return JSONResponse({"error": clean}, status_code=status, headers=headers)
