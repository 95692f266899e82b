"""The one object that the server knows: an ``Explorer``.

The app factory is given an Explorer and nothing else, so the same page stands on a
workspace, on a fake that draws its own data (``serve.testing``) or on another store.
Every method is plain and blocking: the app calls the looking ones in a thread pool and
the asking ones (``compare``) in the one thread that owns the model.
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
    """All that the page can look at and ask."""

    @property
    def sessions_file(self) -> Path | None:
        """Where conversations are kept; None keeps them only while the server runs."""
        ...

    @property
    def keeps(self) -> bool:
        """Whether notes, lists, grades and conversations are kept; else writing them raises
        ``ServeError``."""
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

    def concept(self, query: ConceptQuery) -> ConceptRecord:
        """The k features nearest in meaning, with interventions on them."""
        ...

    def map(self, dictionary: str) -> MapRecord:
        """Every feature as a point; empty, with a sentence, where no map was drawn."""
        ...

    def listed(self, name: str) -> FeatureList:
        """The features of a named list, in its order; ``NotThere`` where there is none."""
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
        """All about one feature; ``NotThere`` where there is none by that id."""
        ...

    def splitting(self, feature_id: str, query: SplittingQuery) -> SplittingRecord:
        """Where a feature stands in its family of widths; without ``widths`` where it has none."""
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

    def ask(self, question: RequestBody, emit: Emit) -> More:
        """Answer a question of ``QUESTIONS``, handing each event to ``emit``. Runs the model.

        What is returned is work that is left: the worker does it when its turn comes again, so
        that long answers let other people's clicks in between two tokens.
        """
        ...
