"""The verbs that make a run: train, gather, explain, score, and demo, which does all of them.

Each does what the ones before it left undone. Nothing is known here of how a stage works.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar, Self

from semascope.cli.base import InWorkspace
from semascope.config import (
    ExplainOptions,
    GatherOptions,
    Options,
    RunOptions,
    ScoreOptions,
    StageName,
    TrainOptions,
)
from semascope.workspace import Workspace


class Step(InWorkspace):
    """Base of the verbs that do one stage, and those beneath it that were left undone."""

    PART: ClassVar[str]
    """Which of the run's options the verb's flags are."""
    KIND: ClassVar[type[Options]]
    UNTIL: ClassVar[StageName]
    """The last stage that it does."""

    def run(self) -> int:
        """Do the stages, and print where the result lies."""
        from semascope.pipeline import recorded

        own = self.KIND(**{name: getattr(self, name) for name in self.KIND.model_fields})
        options = recorded(self.space).model_copy(update={self.PART: own})
        advance(self.space, options, self.UNTIL)
        print(self.result(options))
        return 0

    def result(self, options: RunOptions) -> Path:
        """Where it lies."""
        return self.space.atlas

    @classmethod
    def recorded(cls, workspace: Path) -> Self:
        """Flags that are not given are the run's, or the usual ones where there is no run."""
        from semascope.pipeline import recorded

        options = getattr(recorded(Workspace(workspace)), cls.PART)
        return cls(workspace=workspace, **options.model_dump())


class Train(TrainOptions, Step):
    """Train a sparse autoencoder on one site's activations, as the subject reads a corpus.

    Stopped at any moment, it goes on from its last saved step to the same weights.
    """

    PART = "train"
    KIND = TrainOptions
    UNTIL = "train"

    def result(self, options: RunOptions) -> Path:
        """The checkpoint."""
        return self.space.dictionary(options.train.site, options.train.name)


class Gather(GatherOptions, Step):
    """Gather evidence for every feature in one pass: what it fires on, and what not."""

    PART = "gather"
    KIND = GatherOptions
    UNTIL = "gather"

    def result(self, options: RunOptions) -> Path:
        """The evidence."""
        return self.space.evidence()


class Explain(ExplainOptions, Step):
    """Put every alive feature into words.

    The vocabulary namer needs no model; the subject is asked about what it saw; a server is any
    OpenAI-compatible LMM: --explainers vocabulary server --url http://localhost:8000/v1
    --model NAME (its key, where it wants one, in OPENAI_API_KEY).
    """

    PART = "explain"
    KIND = ExplainOptions
    UNTIL = "explain"


class Score(ScoreOptions, Step):
    """Score the words on samples that no explainer saw, then index them for search."""

    PART = "score"
    KIND = ScoreOptions
    UNTIL = "index"


class Demo(RunOptions, InWorkspace):
    """All of it, from the embedded model to the page: what its features are, mean and do.

    Stopped at any moment, the same command goes on where it was; a second run opens in seconds.
    """

    serve: bool = True
    """Open the page at the end; without it, print the workspace's path and stop."""
    port: int = 8000
    """Of the page, on this machine only."""

    def run(self) -> int:
        """Do every stage, then serve."""
        from semascope.cli.look import show

        options = RunOptions(**{name: getattr(self, name) for name in RunOptions.model_fields})
        advance(self.space, options, "index")
        show(self.space, sys.stderr)
        if not self.serve:
            print(self.workspace.resolve())
            return 0
        from semascope.cli.serve import Serve

        return Serve(workspace=self.workspace, port=self.port).run()

    @classmethod
    def recorded(cls, workspace: Path) -> Self:
        """Flags that are not given are the run's, or the usual ones where there is no run."""
        from semascope.pipeline import recorded

        options = recorded(Workspace(workspace))
        parts = {name: getattr(options, name) for name in RunOptions.model_fields}
        return cls(workspace=workspace, **parts)


def advance(workspace: Workspace, options: RunOptions, until: StageName) -> None:
    """Do the stages up to ``until``, telling a person how they go."""
    from semascope import pipeline
    from semascope.cli.progress import Bars

    with Bars() as bars:
        pipeline.run(workspace, options, until=until, reporter=bars)
