"""The questions that run the model, in one table: routes and the client's methods come from it.

A new one costs five edits: its request (``requests.py``), its event (``events.py``), its row here,
its case in ``WorkspaceExplorer.ask``, and its call on the page.
"""

from __future__ import annotations

from dataclasses import dataclass

from semascope.serve.schema.requests import (
    ChatAsk,
    CompareAsk,
    ExamplesAsk,
    MeasureAsk,
    ReadAsk,
    RequestBody,
    SteerAsk,
    TourAsk,
    TryAsk,
    VersusAsk,
    WhyAsk,
)


@dataclass(frozen=True, slots=True)
class Question:
    """One question to the model; its answer is a stream of events."""

    name: str
    """The client's method."""
    path: str
    """POST here."""
    body: type[RequestBody]
    about: str
    """For the documentation of the route and the method."""
    click: bool = False
    """Whether it is short and goes before answers in the queue."""


QUESTIONS = (
    Question(
        "compare", "/api/compare", CompareAsk,
        "Answer a question twice, as the model is and with features changed, token by token.",
    ),
    Question(
        "chat", "/api/chat", ChatAsk,
        "Answer a conversation, token by token, with features changed or not.",
    ),
    Question(
        "why", "/api/why", WhyAsk,
        "Which features, and which concepts, stand behind a token or in a region.", click=True,
    ),
    Question(
        "read", "/api/read", ReadAsk,
        "The prompt as the model reads it, with every token's own probability.", click=True,
    ),
    Question(
        "steer", "/api/steer", SteerAsk,
        "The answer beside the steered answer, and both beside a random control.",
    ),
    Question(
        "try_feature", "/api/try", TryAsk,
        "One feature's activations on your own text or picture.", click=True,
    ),
    Question(
        "examples", "/api/examples", ExamplesAsk,
        "Features that some examples have and others have not; search by picture.",
    ),
    Question(
        "versus", "/api/versus", VersusAsk,
        "Two dictionaries, or two models, on one prompt.",
    ),
    Question(
        "measure", "/api/register/measure", MeasureAsk,
        "Measure what a feature does to a concept of the register, and keep the figure.",
    ),
    Question(
        "play_tour", "/api/tour", TourAsk,
        "Play one step of a guided tour; its events are those of the questions that it asks.",
    ),
)  # fmt: skip
"""Every question, in the order of the documentation."""
BY_BODY = {question.body: question for question in QUESTIONS}
"""The question that a request asks."""
