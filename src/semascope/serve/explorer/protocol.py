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
    ChatAsk,
    CompareAsk,
    ConceptQuery,
    ExamplesAsk,
    ListQuery,
    MeasureAsk,
    ReadAsk,
    SearchQuery,
    SplittingQuery,
    SteerAsk,
    TryAsk,
    VersusAsk,
    WhyAsk,
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

    def compare(self, ask: CompareAsk, emit: Emit) -> None:
        """Answer twice, unchanged and steered, telling ``emit`` each token. Runs the model."""
        ...

    def chat(self, ask: ChatAsk, emit: Emit) -> More:
        """Answer a conversation, telling ``emit`` each token. Runs the model, a token a step."""
        ...

    def read(self, ask: ReadAsk, emit: Emit) -> None:
        """The prompt as the model reads it, token by token. Runs the model."""
        ...

    def why(self, ask: WhyAsk, emit: Emit) -> More:
        """Which features and concepts stand behind a token. Runs the model; what may wait, the
        effects, is returned."""
        ...

    def steer(self, ask: SteerAsk, emit: Emit) -> More:
        """Answer unchanged, steered, and with a control. Runs the model, a token a step."""
        ...

    def attempt(self, ask: TryAsk, emit: Emit) -> None:
        """One feature on a text or picture. Runs the model."""
        ...

    def examples(self, ask: ExamplesAsk, emit: Emit) -> None:
        """Features that some examples have and others have not. Runs the model."""
        ...

    def versus(self, ask: VersusAsk, emit: Emit) -> More:
        """Two dictionaries on one prompt. Runs the model, a token a step."""
        ...

    def measure(self, ask: MeasureAsk, emit: Emit) -> None:
        """What a feature does to a concept of the register, measured and kept. Runs the model."""
        ...
