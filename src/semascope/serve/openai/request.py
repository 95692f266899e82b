"""Requests to ``/v1``: the fields that are supported; all others are refused by name.

An unsupported field that would change the answer is refused. It is accepted where it is null or
asks for what happens anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, model_validator

from semascope.causal.steering.interventions import Intervention
from semascope.numbers import MOST
from semascope.serve.openai.errors import Refused

MOST_TOKENS = 1_024
"""Most tokens of an answer; larger limits are lowered to this."""
MOST_STOPS = 16
_NOTHING: tuple[Any, ...] = (None, [], {}, "")
_ANYTHING = frozenset(
    {"user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"}
)
"""Fields about the user, which never change an answer."""
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "top_k": (-1, 0),
    "min_p": (0,),
    "echo": (False,),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "use_beam_search": (False,),
}
"""Values of unsupported fields that ask for what happens anyway."""
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False, strict=True)]
TopP = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, strict=True)]


class Part(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["text", "image_url"]
    text: str = ""
    image_url: dict[str, Any] | str | None = None


class ChatMessage(BaseModel):
    """A message as the ``openai`` package writes it."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None

    def check(self, place: int) -> None:
        """Raise Refused for a field of the message that is not supported."""
        for name, value in (self.model_extra or {}).items():
            if value not in _NOTHING:
                raise Refused(
                    f"'{name}' of a message is not supported: leave it out.",
                    f"messages[{place}].{name}",
                    "unsupported_parameter",
                )


class StreamOptions(BaseModel):
    """What a stream holds besides the answer."""

    model_config = ConfigDict(extra="forbid")

    include_usage: StrictBool | None = None
    """Whether a last chunk counts the tokens."""
    include_obfuscation: Literal[False] | None = None
    """Chunks are not padded to hide the length of their text."""


class GenerationRequest(BaseModel):
    """Fields of every request for an answer."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    model: str | None = None
    """The name in ``/v1/models``, which is also the default."""
    max_tokens: StrictInt | None = Field(None, ge=1, le=MOST)
    """At most 1,024; larger values are lowered."""
    temperature: Temperature | None = None
    """0 takes the likeliest token; the default is 1, as in OpenAI's interface."""
    top_p: TopP | None = None
    """Nucleus sampling: the share of probability to draw from."""
    seed: StrictInt | None = Field(None, ge=-(2**63), le=2**63 - 1)
    stop: str | list[str] | None = None
    """At most 16 strings that end the answer."""
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    interventions: list[Intervention] | None = Field(None, max_length=64)
    """Features to change while it answers (``extra_body={"interventions": [...]}``)."""

    @model_validator(mode="after")
    def _stops_are_few(self) -> GenerationRequest:
        """Refuse too many stops instead of dropping some."""
        if isinstance(self.stop, list) and len(self.stop) > MOST_STOPS:
            raise ValueError(f"stop: at most {MOST_STOPS} strings can end an answer")
        return self

    @property
    def stops(self) -> list[str]:
        """Strings that end the answer."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return [text for text in given if text]

    @property
    def counts(self) -> bool:
        """Whether a stream ends with the number of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def wants_logprobs(self) -> bool:
        """Whether each token comes with its log-probability."""
        return False

    def check(self) -> None:
        """Raise Refused for an unsupported field, by its name."""
        if self.stream_options is not None and not self.stream:
            raise Refused("stream_options needs stream: true.", "stream_options")
        for name, value in (self.model_extra or {}).items():
            if value in _NOTHING or name in _ANYTHING or value in _NEUTRAL.get(name, ()):
                continue
            if name == "tool_choice" or name not in _NEUTRAL:
                why = "is not supported"
            else:
                usual = " or ".join(repr(v) for v in _NEUTRAL[name])
                why = f"can only be {usual} here"
            raise Refused(f"'{name}' {why}: leave it out.", name, "unsupported_parameter")


class ChatRequest(GenerationRequest):
    """The body of ``/v1/chat/completions``; unsupported fields are refused by name."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=100)
    max_completion_tokens: StrictInt | None = Field(None, ge=1, le=MOST)
    logprobs: StrictBool | None = None
    top_logprobs: StrictInt | None = Field(None, ge=0, le=20)
    prefill: str | None = Field(None, max_length=4_000)
    """Words that the answer begins with (``extra_body={"prefill": "..."}``)."""

    @property
    def limit(self) -> int:
        """Tokens that the answer may have."""
        return min(self.max_completion_tokens or self.max_tokens or 128, MOST_TOKENS)

    @property
    def wants_logprobs(self) -> bool:
        """Whether ``logprobs`` asks for them."""
        return bool(self.logprobs)

    def check(self) -> None:
        """Raise Refused for an unsupported field."""
        super().check()
        if self.top_logprobs and not self.logprobs:
            raise Refused("top_logprobs needs logprobs: true.", "top_logprobs")
        for place, message in enumerate(self.messages):
            message.check(place)


class TextRequest(GenerationRequest):
    """The body of ``/v1/completions``: a text that is continued, without a chat template."""

    prompt: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=1)]
    )
    """One text."""

    @property
    def limit(self) -> int:
        """Tokens that the answer may have; 16 by default, as in OpenAI's interface."""
        return min(self.max_tokens or 16, MOST_TOKENS)

    @property
    def text(self) -> str:
        """The text to be continued."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]
