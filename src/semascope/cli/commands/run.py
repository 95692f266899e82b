"""The verbs that make a run: train, gather, and demo, which does all; ``explaining`` has the rest.

Each does what the ones before it left undone; train and demo alone begin a run where there is
none. Nothing is known here of how a stage works.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar, Self

from semascope.cli.base import InWorkspace
from semascope.config import (
    GatherOptions,
    Options,
    RunOptions,
    StageName,
    TrainOptions,
)
from semascope.numbers import Port
from semascope.workspace import Workspace


class StageVerb(InWorkspace):
    """Base of the verbs that do one stage, and those beneath it that were left undone."""

    PART: ClassVar[str]
    """Which of the run's options the verb's flags are."""
    KIND: ClassVar[type[Options]]
    UNTIL: ClassVar[StageName]
    """The last stage that it does."""
    BEGINS: ClassVar[bool] = False
    """Whether it may begin a run where there is none."""

    def run(self) -> int:
        """Do the stages, and print where the result lies."""
        from semascope.pipeline import recorded
        from semascope.pipeline.torchrun import first

        if not self.BEGINS:
            self.space.begun()
        own = self.KIND(**{name: getattr(self, name) for name in self.KIND.model_fields})
        options = recorded(self.space).model_copy(update={self.PART: own})
        advance(self.space, options, self.UNTIL)
        if first():
            self.tell(recorded(self.space))
        return 0

    def tell(self, options: RunOptions) -> None:
        """Print where the result lies."""
        print(self.result(options))

    def result(self, options: RunOptions) -> Path:
        """Where it lies."""
        return self.space.atlas

    @classmethod
    def recorded(cls, workspace: Path) -> Self:
        """Flags that are not given are the run's, or the usual ones where there is no run."""
        from semascope.pipeline import recorded

        options = getattr(recorded(Workspace(workspace)), cls.PART)
        return cls(workspace=workspace, **options.model_dump())


class Train(TrainOptions, StageVerb):
    """Train sparse dictionaries on sites' activations, as the subject reads a corpus.

    Several sites and widths share one pass over the model, each dictionary in a folder of its own:
    --sites resid_post.8 resid_post.12 --widths 1x 4x 16x makes six, main-1x to main-16x at either
    site. The stages after read the first; semascope gather --dictionary resid_post.12/main-16x
    reads another.

    A transcoder gives one site from another, an MLP's output from its input:
    semascope train --arch transcoder --sites mlp_in.12:mlp_out.12 --tokens 64000 --workspace
    workspace/transcoder (or skip_transcoder, with a linear path beside it). A crosscoder reads and
    gives several sites at once: semascope train --arch crosscoder --sites
    resid_post.6+resid_post.12 --tokens 64000 --workspace workspace/crosscoder.

    Stopped at any moment, it goes on from its last saved step to the same weights. On several
    devices the same command under torchrun: torchrun --nproc-per-node 4 -m semascope train …,
    with --shard feature where a dictionary is too large for one.
    """

    PART = "train"
    KIND = TrainOptions
    UNTIL = "train"
    BEGINS = True

    def tell(self, options: RunOptions) -> None:
        """Print every checkpoint, the one that the next stages read first."""
        for site, name, _ in options.train.dictionaries():
            print(self.space.dictionary(site, name))


class Gather(GatherOptions, StageVerb):
    """Gather evidence for every feature in one pass: what it fires on, and what not."""

    PART = "gather"
    KIND = GatherOptions
    UNTIL = "gather"

    def result(self, options: RunOptions) -> Path:
        """The evidence."""
        return self.space.evidence()


class Demo(RunOptions, InWorkspace):
    """All of it, from the embedded model to the page: what its features are, mean and do.

    Stopped at any moment, the same command goes on where it was; a second run opens in seconds.
    """

    serve: bool = True
    """Open the page at the end; without it, print the workspace's path and stop."""
    port: Port = 8000
    """Of the page, on this machine only."""

    def run(self) -> int:
        """Do every stage, then serve."""
        from semascope.cli.commands.report import show

        options = RunOptions(**{name: getattr(self, name) for name in RunOptions.model_fields})
        advance(self.space, options, "index")
        show(self.space, sys.stderr)
        if not self.serve:
            print(self.workspace.resolve())
            return 0
        from semascope.cli.commands.serve import Serve

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
    from semascope.cli.progress import ProgressBars

    with ProgressBars() as bars:
        pipeline.run(workspace, options, until=until, reporter=bars)


def gathered(workspace: Workspace) -> None:
    """Do the gathering where training alone is done; WorkspaceError where there is no run."""
    from semascope.pipeline import recorded

    stages = workspace.record().stages
    done = {name for name, stage in stages.items() if stage.done}
    if "train" in done and "gather" not in done:
        advance(workspace, recorded(workspace), "gather")
    workspace.require("gather")
