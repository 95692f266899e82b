"""What may be asked of the model, with the limits that keep one question from taking all of it.

Each record is at once the body of a request, its validation and its schema. A limit that is
passed is answered with a sentence, never with a truncated run. Knows no model.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from semascope.causal.steering.interventions import Intervention, Where
from semascope.serve.schema.responses import Modality, Order, SortKey

MediaHash = Annotated[str, Field(pattern=r"^[0-9a-f]{16,64}$")]
FeatureId = Annotated[str, Field(min_length=3, max_length=300)]
"""``site/dictionary/index``."""
RaterName = Annotated[str, Field(min_length=1, max_length=60, pattern=r"\S")]
TokenId = Annotated[int, Field(ge=0, le=10_000_000)]
MOST_FEATURES = 2_000
HERE = "\ufffc"
"""Stands in a text where a picture of the message does (U+FFFC, object replacement character)."""


def few_enough(value: list[Intervention]) -> list[Intervention]:
    """The interventions, or a ValueError where they name too many features."""
    if sum(len(item.features) for item in value) > MOST_FEATURES:
        raise ValueError(f"at most {MOST_FEATURES} features can be changed at once")
    return value


class RequestBody(BaseModel):
    """A request: strict about its fields, described by their docstrings."""

    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, frozen=True, allow_inf_nan=False
    )


class ListQuery(RequestBody):
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


class SearchQuery(RequestBody):
    """Features whose words mean what these words mean."""

    q: str = Field(min_length=1, max_length=300)
    dictionary: str = Field("", max_length=300)
    limit: int = Field(40, ge=1, le=200)


class SplittingQuery(RequestBody):
    """How far a feature is followed through wider dictionaries."""

    threshold: float = Field(0.6, gt=0, le=1, allow_inf_nan=False)
    """Cosine from which a feature comes from another."""
    children: int = Field(6, ge=1, le=24)
    """Most children of a feature that are shown."""


class Ask(RequestBody):
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


class Message(RequestBody):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str = Field("", max_length=20_000)
    pictures: list[MediaHash] = Field(default_factory=list, max_length=8)
    """Hashes of its pictures: before its text, or where U+FFFC stands in it, once for each."""


class ChatAsk(RequestBody):
    """A conversation to be continued, with features changed or not."""

    messages: list[Message] = Field(min_length=1, max_length=100)
    plain: bool = False
    """Continue the text of the one message, without pictures and without a chat template."""
    prefill: str = Field("", max_length=4_000)
    """Words that the answer begins with."""
    interventions: list[Intervention] = Field(default_factory=list, max_length=64)
    max_new_tokens: int = Field(128, ge=1, le=1_024)
    temperature: float = Field(0.0, ge=0, le=2, allow_inf_nan=False)
    """0 takes the likeliest token, always."""
    top_p: float = Field(1.0, gt=0, le=1, allow_inf_nan=False)
    """Draw from the likeliest tokens alone, whose probabilities reach this share together."""
    seed: int = Field(0, ge=0, le=2**31 - 1)
    top: int = Field(5, ge=0, le=20)
    """How many alternatives to give for each token."""

    @field_validator("interventions")
    @classmethod
    def _bounded(cls, value: list[Intervention]) -> list[Intervention]:
        """As in a comparison."""
        return few_enough(value)

    @model_validator(mode="after")
    def _one_text(self) -> Self:
        """What is plain is one text."""
        if self.plain and (len(self.messages) > 1 or self.messages[0].pictures):
            raise ValueError("plain needs one message, without pictures")
        return self

    @field_validator("messages")
    @classmethod
    def _to_answer(cls, value: list[Message]) -> list[Message]:
        """Somebody must have said something to be answered."""
        if value[-1].role != "user":
            raise ValueError("the last message must be the user's; to begin an answer use prefill")
        if sum(len(message.text) for message in value) > 60_000:
            raise ValueError("the conversation has more than 60,000 characters: begin a new one")
        return value


class FollowedAsk(ChatAsk):
    """A conversation and the tokens that followed it."""

    answer: list[TokenId] = Field(default_factory=list, max_length=1_024)
    """Ids of the answer's tokens so far."""


class WhyAsk(FollowedAsk):
    """Why a token came: which features, and which concepts, speak for it and against it.

    The token asked about is the answer's last; with no answer, the one that would come next.
    """

    position: int | None = Field(None, ge=0, le=1_000_000)
    """Another token instead, of prompt or answer, counted from the prompt's first."""
    mode: Literal["attribution", "activation"] = "attribution"
    """What speaks for the token, signed, or what fires."""
    at: Where = Where()
    """Only features at these tokens count: a span, a role, a region of a picture."""
    against: TokenId | None = None
    """Id of another token: then the difference of the two logits is explained."""
    integrated: int = Field(1, ge=1, le=32)
    """Steps of integrated gradients."""
    limit: int = Field(24, ge=1, le=200)
    clusters: bool = False
    """Whether the features are told as concepts too, with measured effects."""
    similarity: float = Field(0.4, ge=-1, le=1)
    """Mean cosine of the descriptions within a cluster, at the least."""
    smallest: int = Field(2, ge=1, le=50)
    """Features that a cluster has, at the least."""
    features: int = Field(200, ge=2, le=1_000)
    """How many of the strongest are clustered."""
    effects: int = Field(8, ge=0, le=64)
    """How many clusters are ablated and measured."""
    names: int = Field(8, ge=0, le=24)
    """How many clusters an LMM names, where the server was given one."""


class ReadAsk(FollowedAsk):
    """The prompt as the model reads it, with every token's own probability."""


class SteerAsk(FollowedAsk):
    """A conversation answered as it is, with features changed, and with random ones changed.

    ``answer`` holds the unchanged answer where it is there already.
    """

    interventions: list[Intervention] = Field(min_length=1, max_length=64)
    control: bool = True
    """Whether the same is done to random features matched in density and norm."""
    control_seed: int = Field(0, ge=0, le=2**31 - 1)


class VersusAsk(FollowedAsk):
    """Two dictionaries on one prompt, or two models.

    The token asked about is ``answer``'s last, or the one that would come next. With ``write`` each
    model first answers for itself, and its answer's ``token`` is asked about.
    """

    dictionaries: list[Annotated[str, Field(min_length=3, max_length=300)]] = Field(
        min_length=2, max_length=2
    )
    """Two of ``site/name``."""
    models: list[Annotated[str, Field(max_length=300)]] = Field(
        default_factory=lambda: ["", ""], min_length=2, max_length=2
    )
    """Which model each dictionary is of, by the names that ``/api/info`` tells; empty for the
    first."""
    write: bool = False
    """Whether each model answers, ``max_new_tokens`` long."""
    answers: list[Annotated[list[TokenId], Field(max_length=1_024)]] = Field(
        default_factory=list, max_length=2
    )
    """Ids of what each model answered, where it is known: then nothing is written again."""
    token: int = Field(0, ge=0, le=1_023)
    """Which token of each answer is asked about, the last where an answer is shorter."""
    limit: int = Field(12, ge=1, le=100)
    clusters: bool = False
    """Whether the features of each are told as concepts too."""
    similarity: float = Field(0.4, ge=-1, le=1)
    """Mean cosine of the descriptions within a cluster, at the least."""
    smallest: int = Field(2, ge=1, le=50)
    """Features that a cluster has, at the least."""
    features: int = Field(200, ge=2, le=1_000)
    """How many of the strongest are clustered."""


class TryAsk(RequestBody):
    """One feature on a text, a picture, or both."""

    feature: FeatureId
    text: str = Field("", max_length=8_000)
    picture: MediaHash | None = None

    @model_validator(mode="after")
    def _something(self) -> TryAsk:
        """There must be something to read."""
        if not self.text and self.picture is None:
            raise ValueError("give a text or a picture")
        return self


class Example(RequestBody):
    """A text, a picture, or both."""

    text: str = Field("", max_length=8_000)
    picture: MediaHash | None = None

    @model_validator(mode="after")
    def _something(self) -> Example:
        """There must be something to read."""
        if not self.text and self.picture is None:
            raise ValueError("give a text or a picture")
        return self


class ExamplesAsk(RequestBody):
    """Features that some examples have and others have not."""

    wanted: list[Example] = Field(min_length=1, max_length=8)
    unwanted: list[Example] = Field(default_factory=list, max_length=8)
    limit: int = Field(20, ge=1, le=100)


class MeasureAsk(RequestBody):
    """Measure what a feature does to the probes of a concept of the register."""

    concept: str = Field(min_length=1, max_length=60)
    feature: FeatureId
    strength: float = Field(4.0, ge=-10, le=10, allow_inf_nan=False)
    """In multiples of the feature's own maximum."""


class ConceptQuery(RequestBody):
    """The k features nearest in meaning to some words."""

    q: str = Field(min_length=1, max_length=300)
    k: int = Field(50, ge=1, le=500)
    dictionary: str = Field("", max_length=300)
    """``site/name``; empty for all."""


class TourAsk(RequestBody):
    """Play one step of a guided tour."""

    name: str = Field(pattern=r"^[a-z-]{1,60}$")
    step: int = Field(ge=0, le=1_000)
    """Its place among the tour's steps."""
    state: dict[str, Any] | None = None
    """The event ``tour_state`` of the step before; null for the first."""


class NearAsk(RequestBody):
    """Texts to be held against another by meaning."""

    text: str = Field(min_length=1, max_length=2_000)
    others: list[Annotated[str, Field(max_length=2_000)]] = Field(max_length=200)


class NoteAsk(RequestBody):
    """Something to keep about a feature."""

    feature: FeatureId
    text: str = Field(min_length=1, max_length=4_000)
    author: str = Field("", max_length=100)


class ListAsk(RequestBody):
    """What a list holds, in order."""

    features: list[FeatureId] = Field(default_factory=list, max_length=5_000)
    about: str = Field("", max_length=2_000)


class RateAsk(RequestBody):
    """A grade."""

    task: str = Field(min_length=1, max_length=64)
    rater: RaterName
    grade: int = Field(ge=0, le=3)
    seconds: float = Field(0.0, ge=0, le=86_400, allow_inf_nan=False)


class CompareAsk(Ask):
    """The same question twice: as the model is, and with features changed."""

    interventions: list[Intervention] = Field(min_length=1, max_length=64)

    @field_validator("interventions")
    @classmethod
    def _bounded(cls, value: list[Intervention]) -> list[Intervention]:
        """Enough for any concept, too few to hold the model up."""
        return few_enough(value)
