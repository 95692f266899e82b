"""Requests, with the limits that keep one question from occupying the model.

Each record is a request's body, its validation and its schema. A request beyond a limit is refused
with a sentence; it is never cut.
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
"""Marks the place of a picture in a message's text (U+FFFC, object replacement character)."""


def few_enough(value: list[Intervention]) -> list[Intervention]:
    """The interventions. Raises ValueError where they name too many features."""
    if sum(len(item.features) for item in value) > MOST_FEATURES:
        raise ValueError(f"at most {MOST_FEATURES} features can be changed at once")
    return value


class RequestBody(BaseModel):
    """A request; unknown fields are refused, and docstrings describe the others."""

    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, frozen=True, allow_inf_nan=False
    )


class ListQuery(RequestBody):
    """A window of the filtered, sorted list of features."""

    dictionary: str = Field("", max_length=300)
    """``site/name``; empty for all."""
    sort: SortKey = "score"
    order: Order = "desc"
    score: str = Field("", max_length=60)
    """The score that ``sort=score`` and ``min_score`` use; empty for the first that exists."""
    category: str = Field("", max_length=60)
    modality: Modality | Literal[""] = ""
    alive: bool | None = None
    explained: bool | None = None
    """True: only features with an explanation; false: only those that explainers abstained from."""
    min_score: float | None = Field(None, ge=-1, le=1)
    words: str = Field("", max_length=200)
    """Text that the label or the description contains."""
    offset: int = Field(0, ge=0, le=10_000_000)
    limit: int = Field(40, ge=1, le=200)


class SearchQuery(RequestBody):
    """A search for features by the meaning of their explanations."""

    q: str = Field(min_length=1, max_length=300)
    dictionary: str = Field("", max_length=300)
    limit: int = Field(40, ge=1, le=200)


class SplittingQuery(RequestBody):
    """How a feature is followed through wider dictionaries."""

    threshold: float = Field(0.6, gt=0, le=1, allow_inf_nan=False)
    """Least cosine of a feature and its parent."""
    children: int = Field(6, ge=1, le=24)
    """Most children shown for each feature."""


class Ask(RequestBody):
    """A question, with a picture or without, and how to answer it."""

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
    """Hashes of its pictures. They come before the text, or where U+FFFC marks each in it."""


class ChatAsk(RequestBody):
    """A conversation to continue, with features changed or not."""

    messages: list[Message] = Field(min_length=1, max_length=100)
    plain: bool = False
    """Continue the text of the only message, without pictures and without a chat template."""
    prefill: str = Field("", max_length=4_000)
    """Text that the answer begins with."""
    interventions: list[Intervention] = Field(default_factory=list, max_length=64)
    max_new_tokens: int = Field(128, ge=1, le=1_024)
    temperature: float = Field(0.0, ge=0, le=2, allow_inf_nan=False)
    """0 always takes the likeliest token."""
    top_p: float = Field(1.0, gt=0, le=1, allow_inf_nan=False)
    """Nucleus sampling: draw from the likeliest tokens whose probabilities add up to this."""
    seed: int = Field(0, ge=0, le=2**31 - 1)
    top: int = Field(5, ge=0, le=20)
    """How many alternatives to give for each token."""

    @field_validator("interventions")
    @classmethod
    def _bounded(cls, value: list[Intervention]) -> list[Intervention]:
        """At most ``MOST_FEATURES`` features."""
        return few_enough(value)

    @model_validator(mode="after")
    def _one_text(self) -> Self:
        """Plain text is one message without pictures."""
        if self.plain and (len(self.messages) > 1 or self.messages[0].pictures):
            raise ValueError("plain needs one message, without pictures")
        return self

    @field_validator("messages")
    @classmethod
    def _to_answer(cls, value: list[Message]) -> list[Message]:
        """The last message is the user's, and the conversation is not too long."""
        if value[-1].role != "user":
            raise ValueError("the last message must be the user's; to begin an answer use prefill")
        if sum(len(message.text) for message in value) > 60_000:
            raise ValueError("the conversation has more than 60,000 characters: begin a new one")
        return value


class FollowedAsk(ChatAsk):
    """A conversation and the answer's tokens so far."""

    answer: list[TokenId] = Field(default_factory=list, max_length=1_024)
    """Ids of the answer's tokens so far."""


class WhyAsk(FollowedAsk):
    """Why a token came: the features and concepts that promote or suppress it.

    By default the token is the answer's last; without an answer, the next one.
    """

    position: int | None = Field(None, ge=0, le=1_000_000)
    """Position of another token of the prompt or the answer, counted from the prompt's first."""
    mode: Literal["attribution", "activation"] = "attribution"
    """``attribution``: what promotes or suppresses the token; ``activation``: what fires."""
    at: Where = Where()
    """Only features at these tokens count: positions, a role, a region of a picture."""
    against: TokenId | None = None
    """Id of another token: explain the difference of the two logits."""
    integrated: int = Field(1, ge=1, le=32)
    """Steps of integrated gradients."""
    limit: int = Field(24, ge=1, le=200)
    clusters: bool = False
    """Whether features are also grouped into concepts, with measured effects."""
    similarity: float = Field(0.4, ge=-1, le=1)
    """Least mean cosine of the descriptions within a cluster."""
    smallest: int = Field(2, ge=1, le=50)
    """Fewest features of a cluster."""
    features: int = Field(200, ge=2, le=1_000)
    """How many of the strongest features are clustered."""
    effects: int = Field(8, ge=0, le=64)
    """How many clusters are ablated and measured."""
    names: int = Field(8, ge=0, le=24)
    """How many clusters an LMM names, if the server has one."""


class ReadAsk(FollowedAsk):
    """The prompt as the model reads it, with the probability of every token."""


class SteerAsk(FollowedAsk):
    """A conversation answered as it is, with features changed, and with random features changed.

    ``answer`` holds the unchanged answer if it exists already.
    """

    interventions: list[Intervention] = Field(min_length=1, max_length=64)
    control: bool = True
    """Whether to run a control: random features matched in density and norm."""
    control_seed: int = Field(0, ge=0, le=2**31 - 1)


class VersusAsk(FollowedAsk):
    """Two dictionaries, or two models, on one prompt.

    The token explained is ``answer``'s last, or the next one. With ``write``, each model first
    writes its own answer, and token number ``token`` of it is explained.
    """

    dictionaries: list[Annotated[str, Field(min_length=3, max_length=300)]] = Field(
        min_length=2, max_length=2
    )
    """Two of ``site/name``."""
    models: list[Annotated[str, Field(max_length=300)]] = Field(
        default_factory=lambda: ["", ""], min_length=2, max_length=2
    )
    """The model of each dictionary, by its name in ``/api/info``; empty for the first."""
    write: bool = False
    """Whether each model writes an answer of up to ``max_new_tokens``."""
    answers: list[Annotated[list[TokenId], Field(max_length=1_024)]] = Field(
        default_factory=list, max_length=2
    )
    """Token ids of each model's answer, if known: then no answer is written."""
    token: int = Field(0, ge=0, le=1_023)
    """Which token of each answer is explained; the last where an answer is shorter."""
    limit: int = Field(12, ge=1, le=100)
    clusters: bool = False
    """Whether the features of each side are also grouped into concepts."""
    similarity: float = Field(0.4, ge=-1, le=1)
    """Least mean cosine of the descriptions within a cluster."""
    smallest: int = Field(2, ge=1, le=50)
    """Fewest features of a cluster."""
    features: int = Field(200, ge=2, le=1_000)
    """How many of the strongest features are clustered."""


class Example(RequestBody):
    """A text, a picture, or both."""

    text: str = Field("", max_length=8_000)
    picture: MediaHash | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        """There is a text or a picture."""
        if not self.text and self.picture is None:
            raise ValueError("give a text or a picture")
        return self


class TryAsk(Example):
    """One feature on a text, a picture, or both."""

    feature: FeatureId


class ExamplesAsk(RequestBody):
    """A search for features that some examples have and others lack."""

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
    """Texts to compare with another by meaning."""

    text: str = Field(min_length=1, max_length=2_000)
    others: list[Annotated[str, Field(max_length=2_000)]] = Field(max_length=200)


class NoteAsk(RequestBody):
    """A note about a feature."""

    feature: FeatureId
    text: str = Field(min_length=1, max_length=4_000)
    author: str = Field("", max_length=100)


class ListAsk(RequestBody):
    """The features of a list, in order."""

    features: list[FeatureId] = Field(default_factory=list, max_length=5_000)
    about: str = Field("", max_length=2_000)


class RateAsk(RequestBody):
    """A grade."""

    task: str = Field(min_length=1, max_length=64)
    rater: RaterName
    grade: int = Field(ge=0, le=3)
    seconds: float = Field(0.0, ge=0, le=86_400, allow_inf_nan=False)


class CompareAsk(Ask):
    """A question answered twice: as the model is, and with features changed."""

    interventions: list[Intervention] = Field(min_length=1, max_length=64)

    @field_validator("interventions")
    @classmethod
    def _bounded(cls, value: list[Intervention]) -> list[Intervention]:
        """At most ``MOST_FEATURES`` features."""
        return few_enough(value)
