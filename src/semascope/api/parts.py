"""What chats, features and steering need of an open run, so that none of them imports it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL import Image

    from semascope.atlas import Atlas, Media
    from semascope.causal import SteerableModel
    from semascope.evidence import Evidence
    from semascope.monitor.conversation import Conversation
    from semascope.subject import Subject, TokenChoice
    from semascope.workspace import Workspace

FeatureId = tuple[str, int]
"""``site/name`` of a dictionary, and the number of a feature in it."""


class RunParts(Protocol):
    """A model with its dictionaries, and what is known of their features: ``OpenRun`` is one."""

    workspace: Workspace | None

    @property
    def subject(self) -> Subject:
        """The model."""
        ...

    @property
    def steerable(self) -> SteerableModel:
        """The model with its dictionaries and statistics."""
        ...

    @property
    def atlas(self) -> Atlas:
        """Explanations and scores of the features."""
        ...

    @property
    def media(self) -> Media:
        """Pictures of exemplars."""
        ...

    def evidence(self, dictionary: str) -> Evidence:
        """Exemplars and statistics of a dictionary's features."""
        ...


class AnsweredChat(Protocol):
    """A conversation with its answer: ``Chat`` is one."""

    @property
    def run(self) -> RunParts:
        """The run that was asked."""
        ...

    @property
    def conversation(self) -> Conversation:
        """The conversation as ``semascope.monitor`` takes it."""
        ...

    @property
    def tokens(self) -> tuple[TokenChoice, ...]:
        """The answer's tokens."""
        ...

    @property
    def pictures(self) -> Sequence[Image.Image]:
        """The pictures of the conversation."""
        ...
