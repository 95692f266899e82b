"""A client of any OpenAI-compatible LMM server: vLLM, SGLang, ``semascope serve``, a hosted API.

Bounded concurrency, one back-off shared by all calls, replies cached by content. A server that is
busy is asked again; a question that it refuses costs that question alone; a set-up that cannot work
ends in a sentence that says what to do; a parameter that it does not take is left out from then on.
Knows chat messages; knows no feature.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import openai

from semascope.errors import ExplainError, ServerUnreachable
from semascope.explain.llm import completion, parse_answer
from semascope.explain.llm.async_map import Backoff, TransientError, seconds_asked
from semascope.explain.llm.reply_cache import ReplyCache, content_key
from semascope.explain.llm.server_errors import Refusal, refusal
from semascope.explain.types import Cost, Price

LOG = logging.getLogger(__name__)
Message = Mapping[str, Any]
Usable = Callable[[str], bool]
"""Whether the text of a reply can be used; what cannot is asked for again the next time."""
ROOM_TO_THINK = 8
"""Where a server counts thinking as part of the reply (``max_completion_tokens``), the allowance is
so many times as large."""
_MOST_REFUSED = 20
"""Questions refused before any was answered: then the set-up is at fault, not the questions."""
_MOST_FAILED = 3
"""Questions in a row that failed in all attempts: then the server is at fault."""
_OPTIONAL = ("response_format", "temperature", "seed", "max_tokens", "max_completion_tokens")
"""Parameters that a request can do without."""


class SetupError(ExplainError):
    """A server that will never answer as it is addressed now: key, model, address, credit."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model said."""

    text: str
    cost: Cost
    refused: bool = False
    cached: bool = False
    failure: str = ""
    """Why there is no answer in it: cut off, filtered, refused by the server. Never cached."""
    final: bool = False
    """Whether the same question would fail again."""


@dataclass(slots=True)
class LMM:
    """One model at one address. Cheap to make; the connection opens at the first question."""

    base_url: str
    model: str
    api_key: str = "none"
    """Local servers ask for none, but the protocol wants one."""
    concurrency: int = 16
    timeout: float = 120.0
    temperature: float = 0.0
    max_tokens: int = 300
    price: Price = field(default_factory=Price)
    cache: ReplyCache | None = None
    backoff: Backoff = field(default_factory=Backoff)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Fields added to every request; null leaves one of ours out."""
    _left_out: set[str] = field(default_factory=set, repr=False)
    """Parameters that the server does not take; found out by asking."""
    _thinks: bool = field(default=False, repr=False)
    """Whether it wants ``max_completion_tokens``."""
    _met: bool = field(default=False, repr=False)
    """Whether it has ever answered."""
    _seen: bool = field(default=False, repr=False)
    """Whether it has answered a question with pictures."""
    _refused: int = field(default=0, repr=False)
    _failed: int = field(default=0, repr=False)

    async def ask(
        self,
        client: openai.AsyncOpenAI,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
        usable: Usable | None = None,
    ) -> Reply:
        """One answer. ``seed`` tells further answers to the same question apart.

        A question that the server refuses (its filter, its context length, a picture) gives a reply
        with ``failure``. Only replies without one that are ``usable`` are cached.

        Raises ServerUnreachable when nobody answers, ExplainError when the server will not take
        any question (no vision, no such model, no right to ask).
        """
        request = self._request(messages, schema, seed)
        key = content_key(request)
        known = self._known(key, usable or (lambda text: parse_answer.plausible(text, schema)))
        if known is not None:
            return known
        try:
            reply = await self._answered(client, request)
        except TransientError as error:
            return self._gave_up(error)
        good = not reply.failure and (usable is None or usable(reply.text))
        if self.cache is not None and good:
            self.cache.put(key, {"text": reply.text, "refused": reply.refused, "whole": True})
        return reply

    def _request(
        self, messages: Sequence[Message], schema: Mapping[str, Any] | None, seed: int
    ) -> dict[str, Any]:
        """What decides a reply; the key of the cache is made of it."""
        request = {
            "model": self.model,
            "messages": list(messages),
            "schema": schema,
            "temperature": self.temperature if seed == 0 else max(self.temperature, 0.7),
            "max_tokens": self.max_tokens,
            "seed": seed,
        }
        return request | ({"extra": dict(self.extra)} if self.extra else {})

    def _known(self, key: str, usable: Usable) -> Reply | None:
        """The reply in the cache; one that cannot be used is as good as none."""
        known = self.cache.get(key) if self.cache is not None else None
        text = known.get("text") if known else None
        if known is None or not isinstance(text, str) or known.get("refused") or not usable(text):
            return None
        return Reply(text, Cost(), cached=True)

    async def _answered(self, client: openai.AsyncOpenAI, request: Mapping[str, Any]) -> Reply:
        """Ask, and again without each parameter that turns out not to be taken."""
        for _ in range(2 * len(_OPTIONAL)):
            try:
                reply = await self.backoff.run(lambda: self._once(client, request))
            except _NotTakenError as error:
                self._learn(error)
                continue
            self._failed = 0
            return reply
        raise SetupError(f"{self.base_url} takes none of the forms of a question that are known.")

    def _learn(self, error: _NotTakenError) -> None:
        """Leave a parameter out from now on; say so once."""
        name = error.parameter
        if name == "max_tokens" and "max_completion_tokens" in str(error) and not self._thinks:
            self._thinks = True
            LOG.warning(
                "%s takes max_completion_tokens in place of max_tokens, which counts thinking: "
                "%d are allowed.", self.base_url, ROOM_TO_THINK * self.max_tokens,
            )  # fmt: skip
        elif name not in self._left_out:
            self._left_out.add(name)
            LOG.warning("%s does not take %s (%s): asked without it.", self.base_url, name, error)

    def connect(self) -> openai.AsyncOpenAI:
        """A client to use as ``async with``; its own retries are off, ours are shared.

        Raises ExplainError for an address or a key that cannot be one.
        """
        return openai.AsyncOpenAI(
            base_url=self._address(),
            api_key=_key(self.api_key),
            timeout=self.timeout,
            max_retries=0,
        )

    def check(self) -> None:
        """Ask the server which models it has, before anything else is done.

        Raises ServerUnreachable where nobody answers, ExplainError where it has not the model,
        wants a key, or is no API. A server that keeps no list of models passes.
        """
        try:
            with openai.OpenAI(
                base_url=self._address(), api_key=_key(self.api_key), timeout=10.0, max_retries=1
            ) as client:
                body = client.models.with_raw_response.list().http_response.content
        except openai.APIConnectionError as e:
            raise ServerUnreachable(self._unreachable(str(e.__cause__ or e))) from e
        except openai.APIStatusError as e:
            if e.status_code in (401, 403):
                raise SetupError(self._told("no_key", _said(e)[0])) from e
            return
        there = self._models(body)
        if there and not any(m == self.model or m.startswith(f"{self.model}:") for m in there):
            raise SetupError(
                f"{self.base_url} has no model {self.model!r}; it has: {', '.join(there[:12])}. "
                "Name one with --model."
            )

    def _models(self, body: bytes) -> list[str]:
        """Names in a list of models; none where it is of a shape that is not known."""
        try:
            found = completion.json_of(body)
        except completion.NotACompletionError as e:
            raise SetupError(self._no_api(e)) from e
        listed = found.get("data", found.get("models")) if isinstance(found, dict) else found
        if not isinstance(listed, list):
            return []
        names = [m.get("id") or m.get("name") if isinstance(m, dict) else m for m in listed]
        return [completion.one_line(name, 120) for name in names if isinstance(name, str)]

    def _address(self) -> str:
        """The base URL, checked."""
        try:
            parts = urlsplit(self.base_url)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            sound = sound and self.base_url.isprintable() and " " not in self.base_url
        except ValueError:
            sound = False
        if not sound:
            raise SetupError(
                f"--base-url {self.base_url!r} is no address; one looks like "
                "http://localhost:8000/v1."
            )
        if parts.path.rstrip("/").endswith("/chat/completions"):
            raise SetupError(
                f"--base-url {self.base_url!r} names one function of the API; leave out "
                "/chat/completions."
            )
        return self.base_url

    async def _once(self, client: openai.AsyncOpenAI, request: Mapping[str, Any]) -> Reply:
        start, body = time.perf_counter(), self._body(request)
        try:
            raw = await client.chat.completions.with_raw_response.create(**body)
            read = completion.completion(raw.http_response.content)
        except openai.APIConnectionError as e:
            raise self._no_connection(e) from e
        except openai.APIStatusError as e:
            return self._refusal(e, body, time.perf_counter() - start)
        except completion.NotACompletionError as e:
            if e.passing:
                raise TransientError(f"the server {e}") from e
            raise SetupError(self._no_api(e)) from e
        self._met, self._refused = True, 0
        self._seen = self._seen or completion.has_picture(request["messages"])
        return self._reply(read, time.perf_counter() - start, completion.allowance(body))

    def _no_connection(self, error: Exception) -> Exception:
        """A try that may succeed later, or the sentence that ends the run."""
        if isinstance(error, openai.APITimeoutError):
            return TransientError(f"no answer within {self.timeout:g} s")
        # A wrong address, not a server that went away for a moment. By name: the client
        # stands on either of two HTTP libraries, each with a ConnectError of its own.
        cause = error.__cause__ or error
        name = type(cause).__name__
        if not self._met and name in ("ConnectError", "UnsupportedProtocol", "LocalProtocolError"):
            return ServerUnreachable(self._unreachable(str(cause)))
        return TransientError(f"no connection ({cause})", gone=True)

    def _body(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request as this server takes it."""
        body = {k: request[k] for k in ("model", "messages", "temperature", "max_tokens", "seed")}
        if request["schema"]:
            shape = {"name": "answer", "strict": True, "schema": request["schema"]}
            body["response_format"] = {"type": "json_schema", "json_schema": shape}
        if self._thinks:
            body["max_completion_tokens"] = ROOM_TO_THINK * body.pop("max_tokens")
        for name in self._left_out | {k for k, v in self.extra.items() if v is None}:
            body.pop(name, None)
        more = {k: v for k, v in self.extra.items() if v is not None}
        if "max_completion_tokens" in more:
            body.pop("max_tokens", None)
        body = {k: v for k, v in body.items() if k not in more}
        return body | ({"extra_body": more} if more else {})

    def _reply(self, read: completion.Completion, seconds: float, allowed: int) -> Reply:
        asked, said = read.prompt_tokens, read.completion_tokens
        money = (asked * self.price.prompt + said * self.price.completion) / 1e6
        text = read.text or read.refusal
        failure = ""
        if read.finish == "cut" and not parse_answer.ends_whole(text):
            failure = f"cut off at {allowed:,} tokens" if allowed else "cut off by the server"
        elif read.finish == "filtered":
            failure = "stopped by the server's content filter"
        elif read.refusal:
            failure = "The model refused."
        elif not text.strip():
            failure = "The model answered with nothing."
        cost = Cost(1, asked, said, seconds, money)
        return Reply(text, cost, refused=bool(read.refusal), failure=failure)

    def _refusal(
        self, error: openai.APIStatusError, body: Mapping[str, Any], seconds: float
    ) -> Reply:
        """What an HTTP error comes to: another try, a reply that failed, or the end.

        Raises TransientError, ``_NotTakenError`` or SetupError.
        """
        text, code, param = _said(error)
        sent = [name for name in _OPTIONAL if name in body]
        found = refusal(error.status_code, text, code, param, sent, seen=self._seen)
        if found.fault == "passing":
            gone = error.status_code in (502, 503, 504)
            why = f"it answers with status {error.status_code}: {text}"
            raise TransientError(why, seconds_asked(error.response.headers), gone=gone) from error
        if found.fault == "parameter":
            raise _NotTakenError(found, text) from error
        if found.fault != "item":
            raise SetupError(self._told(found.fault, text)) from error
        self._refused += 1
        if self._refused >= _MOST_REFUSED and not self._met:
            raise SetupError(
                f"{self.base_url} refused the first {self._refused} questions and answered none: "
                f"{text}"
            ) from error
        why = f"refused by the server (status {error.status_code}): {text}"
        return Reply("", Cost(1, seconds=seconds), failure=why, final=True)

    def _gave_up(self, error: TransientError) -> Reply:
        """One question that failed in all its attempts.

        Raises ServerUnreachable where the server is at fault, not the question.
        """
        self._failed += 1
        if error.gone or not self._met or self._failed >= _MOST_FAILED:
            raise ServerUnreachable(self._unreachable(str(error))) from error
        why = f"failed in {self.backoff.attempts} attempts: {error}"
        return Reply("", Cost(1), failure=why, final=True)

    def _unreachable(self, why: str) -> str:
        return (
            f"No LMM server answers at {self.base_url}: {why}. Start one, for example with "
            f"`vllm serve {self.model} --port 8000` or `semascope serve`, and give its address "
            "with --base-url."
        )

    def _no_api(self, error: completion.NotACompletionError) -> str:
        hint = ""
        if error.page:
            hint = "; is /v1 missing from --base-url?"
            if urlsplit(self.base_url).path.rstrip("/").endswith("/v1"):
                hint = "; does --base-url name an OpenAI-compatible API?"
        return f"{self.base_url} {error}{hint or '.'}"

    def _told(self, fault: str, text: str) -> str:
        if fault == "no_key":
            return (
                f"{self.base_url} wants a valid API key: {text} Put it in the environment "
                "variable OPENAI_API_KEY."
            )
        if fault == "no_money":
            return f"{self.base_url} will not answer before it is paid: {text}"
        if fault == "no_model":
            slip = (
                ""
                if self.base_url.rstrip("/").endswith("/v1")
                else " Is /v1 missing from --base-url?"
            )
            return f"{self.base_url} has no model {self.model!r}: {text}{slip}"
        return (
            f"The model {self.model!r} at {self.base_url} cannot see pictures: "
            f"{text} Name a vision-language model with --model."
        )


class _NotTakenError(Exception):
    """A parameter that the server does not take."""

    def __init__(self, found: Refusal, text: str) -> None:
        super().__init__(text)
        self.parameter = found.parameter


def _said(error: openai.APIStatusError) -> tuple[str, str, str]:
    """(sentence, code, parameter) of an HTTP error, whatever its shape."""
    try:
        found = completion.json_of(error.response.content)
    except completion.NotACompletionError as e:
        return (
            (f"it {e}" if e.page else completion.one_line(error.response.text) or "no reason"),
            "",
            "",
        )
    code, param = completion.error_fields(found)
    return completion.error_text(found) or "no reason given", code, param


def _key(key: str) -> str:
    """The API key, as a header can carry it."""
    key = key.strip() or "none"
    if not (key.isascii() and key.isprintable()):
        raise SetupError("The API key in OPENAI_API_KEY holds characters that no key has.")
    return key
