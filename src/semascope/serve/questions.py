"""What may be asked of the model, with the limits that keep one question from taking all of it.

Each record is at once the body of a request, its validation and its schema. A limit that is
passed is answered with a sentence, never with a truncated run. Knows no model.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from semascope.causal.interventions import Intervention
from semascope.serve.records import Modality, Order, SortKey

MediaHash = Annotated[str, Field(pattern=r"^[0-9a-f]{16,64}$")]
MOST_FEATURES = 2_000


def few_enough(value: list[Intervention]) -> list[Intervention]:
    """The interventions, or a ValueError where they name too many features."""
    if sum(len(item.features) for item in value) > MOST_FEATURES:
        raise ValueError(f"at most {MOST_FEATURES} features can be changed at once")
    return value


class Asked(BaseModel):
    """A request: strict about its fields, described by their docstrings."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)


class ListQuery(Asked):
    """Which features, in which order, which window."""

    dictionary: str = Field("", max_length=300)
    """``site/name``; empty for all."""
    sort: SortKey = "score"
    order: Order = "desc"
    score: str = Field("", max_length=60)
    """Which score ``sort=score`` and ``min_score`` read; empty for the first that exists."""
    category: str = Field("", max_length=60)
    modality: Modality | Literal[""] = ""
    alive: bool | None = None
    explained: bool | None = None
    """True: only features with words; false: only those that an explainer abstained from."""
    min_score: float | None = Field(None, ge=-1, le=1)
    words: str = Field("", max_length=200)
    """Letters that the label or the description contains."""
    offset: int = Field(0, ge=0, le=10_000_000)
    limit: int = Field(40, ge=1, le=200)


class SearchQuery(Asked):
    """Features whose words mean what these words mean."""

    q: str = Field(min_length=1, max_length=300)
    dictionary: str = Field("", max_length=300)
    limit: int = Field(40, ge=1, le=200)


class Ask(Asked):
    """A picture or none, a question, and how to answer it."""

    question: str = Field(min_length=1, max_length=4_000)
    picture: MediaHash | None = None
    """Hash of a stored or uploaded picture."""
    system: str = Field("", max_length=4_000)
    max_new_tokens: int = Field(48, ge=1, le=512)
    temperature: float = Field(0.0, ge=0, le=2, allow_inf_nan=False)
    seed: int = Field(0, ge=0, le=2**31 - 1)
    top: int = Field(5, ge=0, le=20)
    """How many alternatives to give for each token."""


class Message(Asked):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str = Field("", max_length=20_000)
    pictures: list[MediaHash] = Field(default_factory=list, max_length=8)
    """Hashes of the pictures that it shows before its text."""


class ChatAsk(Asked):
    """A conversation to be continued, with features changed or not."""

    messages: list[Message] = Field(min_length=1, max_length=100)
    prefill: str = Field("", max_length=4_000)
    """Words that the answer begins with."""
    interventions: list[Intervention] = Field(default_factory=list, max_length=64)
    max_new_tokens: int = Field(128, ge=1, le=1_024)
    temperature: float = Field(0.0, ge=0, le=2, allow_inf_nan=False)
    """0 takes the likeliest token, always."""
    seed: int = Field(0, ge=0, le=2**31 - 1)
    top: int = Field(5, ge=0, le=20)
    """How many alternatives to give for each token."""

    @field_validator("interventions")
    @classmethod
    def _bounded(cls, value: list[Intervention]) -> list[Intervention]:
        """As in a comparison."""
        return few_enough(value)

    @field_validator("messages")
    @classmethod
    def _to_answer(cls, value: list[Message]) -> list[Message]:
        """Somebody must have said something to be answered."""
        if value[-1].role != "user":
            raise ValueError("the last message must be the user's; to begin an answer use prefill")
        if sum(len(message.text) for message in value) > 60_000:
            raise ValueError("the conversation has more than 60,000 characters: begin a new one")
        return value


class WhyAsk(ChatAsk):
    """Why a token of an answer came: which features spoke for it and against it."""

    answer: list[int] = Field(min_length=1, max_length=1_024)
    """Ids of the answer's tokens, up to and with the one that is asked about."""
    limit: int = Field(24, ge=1, le=200)


class CompareAsk(Ask):
    """The same question twice: as the model is, and with features changed."""

    interventions: list[Intervention] = Field(min_length=1, max_length=64)

    @field_validator("interventions")
    @classmethod
    def _bounded(cls, value: list[Intervention]) -> list[Intervention]:
        """Enough for any concept, too few to hold the model up."""
        return few_enough(value)
