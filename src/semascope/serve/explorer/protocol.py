"""What the server needs: an ``Explorer``.

The app factory takes an Explorer and nothing else, so the same page works on a workspace, on
made-up data (``serve.testing``) or on another store. Every method is blocking: the app calls
``ask`` in the one thread that owns the model, and the others in a thread pool.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from semascope.serve.explorer.guides import Guides
from semascope.serve.explorer.notebook import Notebook
from semascope.serve.explorer.splitting import SplittingRecord
from semascope.serve.queue.jobs import More
from semascope.serve.schema.events import Emit
from semascope.serve.schema.requests import (
    ConceptQuery,
    ListQuery,
    RequestBody,
    SearchQuery,
    SplittingQuery,
)
from semascope.serve.schema.responses import (
    ConceptRecord,
    FeatureList,
    FeaturePage,
    MapRecord,
    SubjectInfo,
    Upload,
)


class Explorer(Protocol):
    """Everything that the page can look at and ask."""

    @property
    def sessions_file(self) -> Path | None:
        """Where conversations are kept; None keeps them in memory."""
        ...

    @property
    def keeps(self) -> bool:
        """Whether notes, lists, grades and conversations can be kept; writing them raises
        ServeError otherwise."""
        ...

    def info(self) -> SubjectInfo:
        """The model, its dictionaries, and what can be done with them."""
        ...

    def features(self, query: ListQuery) -> FeatureList:
        """One window of the sorted, filtered list."""
        ...

    def search(self, query: SearchQuery) -> FeatureList:
        """Features by meaning, nearest first. AtlasError where there are no vectors."""
        ...

    def concept(self, query: ConceptQuery) -> ConceptRecord:
        """The k features nearest in meaning, with interventions on them."""
        ...

    def map(self, dictionary: str) -> MapRecord:
        """Every feature as a point; empty, with a note, where no map was drawn."""
        ...

    def listed(self, name: str) -> FeatureList:
        """The features of a named list, in its order. Raises NotThere."""
        ...

    @property
    def notebook(self) -> Notebook:
        """Notes, lists and ratings."""
        ...

    @property
    def guides(self) -> Guides:
        """The register and the tours."""
        ...

    def feature(self, feature_id: str) -> FeaturePage:
        """All about one feature. Raises NotThere."""
        ...

    def splitting(self, feature_id: str, query: SplittingQuery) -> SplittingRecord:
        """A feature's parents and children in other widths; no ``widths`` if there is one only."""
        ...

    def media(self, digest: str) -> Path:
        """The file of a picture. Raises NotThere."""
        ...

    def warm(self) -> None:
        """Prepare in the background when the server starts."""
        ...

    def store(self, data: bytes) -> Upload:
        """Keep an uploaded picture. Raises BadPicture."""
        ...

    def ask(self, question: RequestBody, emit: Emit) -> More:
        """Answer a question of ``QUESTIONS``, handing each event to ``emit``. Runs the model.

        What is returned is work that is left: the worker does it when its turn comes again, so
        that long answers let other people's clicks in between two tokens.
        """
        ...
