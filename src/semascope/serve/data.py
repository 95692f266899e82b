"""The one object that the server knows: an ``Explorer``.

The app factory is given an Explorer and nothing else, so the same page stands on a
workspace, on a fake that draws its own data (``serve.testing``) or on another store.
Every method is plain and blocking: the app calls the looking ones in a thread pool and
the asking ones (``compare``) in the one thread that owns the model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from semascope.serve.events import Emit
from semascope.serve.questions import ChatAsk, CompareAsk, ListQuery, SearchQuery, WhyAsk
from semascope.serve.records import FeatureList, FeaturePage, SubjectInfo, Upload


class Explorer(Protocol):
    """All that the page can look at and ask."""

    @property
    def sessions_file(self) -> Path | None:
        """Where conversations are kept; None keeps them only while the server runs."""
        ...

    def info(self) -> SubjectInfo:
        """What is under the microscope, and what can be done with it here."""
        ...

    def features(self, query: ListQuery) -> FeatureList:
        """One window of the sorted, filtered list."""
        ...

    def search(self, query: SearchQuery) -> FeatureList:
        """Features by meaning, nearest first; ``ServeError`` where no vectors were made."""
        ...

    def feature(self, feature_id: str) -> FeaturePage:
        """All about one feature; ``NotThere`` where there is none by that id."""
        ...

    def media(self, digest: str) -> Path:
        """The file that holds a picture; ``NotThere`` where there is none by that hash."""
        ...

    def warm(self) -> None:
        """Get ready in the background, once, when the server starts; may do nothing."""
        ...

    def store(self, data: bytes) -> Upload:
        """Keep an uploaded picture; ``BadPicture`` where it is none."""
        ...

    def compare(self, ask: CompareAsk, emit: Emit) -> None:
        """Answer twice, unchanged and steered, telling ``emit`` each token. Runs the model."""
        ...

    def chat(self, ask: ChatAsk, emit: Emit) -> None:
        """Answer a conversation, telling ``emit`` each token. Runs the model."""
        ...

    def why(self, ask: WhyAsk, emit: Emit) -> None:
        """Which features speak for and against a token of an answer. Runs the model."""
        ...
