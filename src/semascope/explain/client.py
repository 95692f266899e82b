"""A client of any OpenAI-compatible LMM server: vLLM, SGLang, ``semascope serve``, a hosted API.

Bounded concurrency, one back-off shared by all calls, replies cached by content, and every way
in which a server fails turned into a retry, an abstention or a sentence that says what to do.
Knows chat messages; knows no feature.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import openai

from semascope.errors import ExplainError, ServerUnreachable
from semascope.explain.async_map import Backoff, TransientError
from semascope.explain.cache import ReplyCache, content_key
from semascope.explain.types import Cost

Message = Mapping[str, Any]
_NO_PICTURES = ("image", "vision", "multimodal", "multi-modal")
_NO_SCHEMA = ("response_format", "json_schema", "guided", "grammar")


@dataclass(frozen=True, slots=True)
class Price:
    """Money for a million tokens."""

    prompt: float = 0.0
    completion: float = 0.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model said."""

    text: str
    cost: Cost
    refused: bool = False
    cached: bool = False


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
    _schemas: bool = field(default=True, repr=False)
    """Whether the server takes JSON schemas; found out by asking."""
    _met: bool = field(default=False, repr=False)
    """Whether it has ever answered."""

    async def ask(
        self,
        client: openai.AsyncOpenAI,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
    ) -> Reply:
        """One answer. ``seed`` tells further answers to the same question apart.

        Raises ServerUnreachable when nobody answers, ExplainError when the server will not take
        the question whatever we do (no vision, no such model, no right to ask).
        """
        request = {
            "model": self.model,
            "messages": list(messages),
            "schema": schema,
            "temperature": self.temperature if seed == 0 else max(self.temperature, 0.7),
            "max_tokens": self.max_tokens,
            "seed": seed,
        }
        key = content_key(request)
        known = self.cache.get(key) if self.cache is not None else None
        if known is not None:
            return Reply(known["text"], Cost(), bool(known["refused"]), cached=True)
        try:
            reply = await self.backoff.run(lambda: self._once(client, request))
        except TransientError as error:
            raise ServerUnreachable(self._unreachable(str(error))) from error
        if self.cache is not None:
            self.cache.put(key, {"text": reply.text, "refused": reply.refused})
        return reply

    def connect(self) -> openai.AsyncOpenAI:
        """A client to use as ``async with``; its own retries are off, ours are shared."""
        return openai.AsyncOpenAI(
            base_url=self.base_url, api_key=self.api_key, timeout=self.timeout, max_retries=0
        )

    def check(self) -> None:
        """Ask the server which models it has, before anything else is done.

        Raises ServerUnreachable where nobody answers, ExplainError where it has not the model
        or wants a key. A server that keeps no list of models passes.
        """
        try:
            with openai.OpenAI(
                base_url=self.base_url, api_key=self.api_key, timeout=10.0, max_retries=1
            ) as client:
                there = [model.id for model in client.models.list()]
        except openai.APIConnectionError as e:
            raise ServerUnreachable(self._unreachable(str(e.__cause__ or e))) from e
        except openai.APIStatusError as e:
            if e.status_code in (401, 403):
                raise ExplainError(self._refused(e)) from e
            return
        if there and self.model not in there:
            raise ExplainError(
                f"{self.base_url} has no model {self.model!r}; it has: {', '.join(there[:12])}. "
                "Name one with --model."
            )

    async def _once(self, client: openai.AsyncOpenAI, request: Mapping[str, Any]) -> Reply:
        start, body = time.perf_counter(), self._body(request)
        try:
            answer = await client.chat.completions.create(**body)
        except (openai.APITimeoutError, openai.RateLimitError, openai.InternalServerError) as e:
            raise TransientError(str(e), _retry_after(e)) from e
        except openai.APIConnectionError as e:
            # A wrong address, not a server that went away for a moment. By name: the client
            # stands on either of two HTTP libraries, each with a ConnectError of its own.
            if not self._met and type(e.__cause__).__name__ == "ConnectError":
                raise ServerUnreachable(self._unreachable(str(e.__cause__ or e))) from e
            raise TransientError(f"no connection ({e.__cause__ or e})") from e
        except openai.APIStatusError as e:
            # Asked by what this question carried: others may have found out meanwhile.
            if "response_format" in body and _speaks_of(e, _NO_SCHEMA):
                self._schemas = False
                raise TransientError("the server takes no JSON schema", 0.0) from e
            raise ExplainError(self._refused(e)) from e
        self._met = True
        if not answer.choices:
            raise TransientError("the server sent an answer without choices")
        return self._reply(answer, time.perf_counter() - start)

    def _body(self, request: Mapping[str, Any]) -> dict[str, Any]:
        body = {k: request[k] for k in ("model", "messages", "temperature", "max_tokens", "seed")}
        if request["schema"] and self._schemas:
            shape = {"name": "answer", "strict": True, "schema": request["schema"]}
            body["response_format"] = {"type": "json_schema", "json_schema": shape}
        return body

    def _reply(self, answer: Any, seconds: float) -> Reply:
        message, usage = answer.choices[0].message, answer.usage
        asked = usage.prompt_tokens if usage else 0
        said = usage.completion_tokens if usage else 0
        money = (asked * self.price.prompt + said * self.price.completion) / 1e6
        refusal = getattr(message, "refusal", None)
        text = message.content or refusal or ""
        return Reply(text, Cost(1, asked, said, seconds, money), refused=bool(refusal))

    def _unreachable(self, why: str) -> str:
        return (
            f"No LMM server answers at {self.base_url}: {why}. Start one, for example with "
            f"`vllm serve {self.model} --port 8000` or `semascope serve`, and give its address "
            "with --base-url."
        )

    def _refused(self, error: openai.APIStatusError) -> str:
        if error.status_code in (401, 403):
            return f"{self.base_url} wants a valid API key: {error.message}"
        if error.status_code == 404:
            return f"{self.base_url} has no model {self.model!r}: {error.message}"
        if _speaks_of(error, _NO_PICTURES):
            return (
                f"The model {self.model!r} at {self.base_url} cannot see pictures: "
                f"{error.message}. Name a vision-language model with --model."
            )
        return f"{self.base_url} will not take the question: {error.message}"


def _speaks_of(error: openai.APIStatusError, topics: Sequence[str]) -> bool:
    said = str(error.message).lower()
    return any(topic in said for topic in topics)


def _retry_after(error: openai.OpenAIError) -> float | None:
    """Seconds that a 429 or 503 asks for."""
    response = getattr(error, "response", None)
    value = response.headers.get("retry-after") if response is not None else None
    try:
        return float(value) if value is not None else None
    except ValueError:
        return None
