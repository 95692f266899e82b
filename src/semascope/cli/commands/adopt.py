"""The verb ``adopt``: one's own dictionary into a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro

from semascope.cli.base import InWorkspace
from semascope.cli.commands.convert import CheckpointFlags, described
from semascope.numbers import Count


class Adopt(CheckpointFlags, InWorkspace):
    """Bring a dictionary that was trained elsewhere into a workspace, for all later verbs.

    Any format that convert reads: sparsify, SAELens, dictionary_learning, openai, llamascopium,
    Gemma Scope, Gemma Scope 2, Llama Scope, Qwen Scope. A workspace that is not there yet is made
    for it: name the model with --subject and what it shall read with --corpus. In one that is
    there the dictionary stands beside the others.

    It is checked against the width of its site, and measured on held-out samples: an FVU (fraction
    of variance unexplained) above 1 is said, and most often means another site, another model, or
    activations of another scale than in training. Then go on as after train:

      semascope adopt ~/my-sae --workspace workspace/mine --subject sprite-llava --site resid_post.8
      semascope gather --workspace workspace/mine
      semascope explain --workspace workspace/mine
    """

    folder: tyro.conf.Positional[Path]
    """The checkpoint: a folder or a file; its format is found by looking."""
    name: str = ""
    """What to call it. None: main, and beside others adopted."""
    subject: str = ""
    """The model that it is of, in a new workspace: the embedded one (sprite-llava), a folder, or a
    name at a model hub."""
    corpus: str = ""
    """What the model reads, in a new workspace; see semascope train --help. None: built-in scenes
    and texts, or with --text-only texts."""
    text_only: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """With a subject that sees: read a corpus that has no pictures."""
    samples: Count = 64
    """Held-out samples to measure it on."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1…"""

    def run(self) -> int:
        """Adopt, and say what was found, how well it fits and what comes next."""
        from semascope.dictionary import load
        from semascope.pipeline.adopt import adopt

        coder = load(self.folder, **self.hints())
        print(f"found    {described(coder)}, in {self.folder}")
        done = adopt(
            self.space,
            coder,
            self._given(),
            name=self.name,
            source=str(self.folder.resolve()),
            samples=self.samples,
        )
        figures = done.figures
        print(f"adopted  {done.id}, in {self.workspace}")
        print(
            f"measured FVU {figures['fvu']:.4g}, {figures['l0']:.1f} features active a token, on "
            f"{figures['measured_on']} held-out tokens"
        )
        if done.doubts():
            print(f"doubtful {done.doubts()}")
        choose = f" --dictionary {done.id}" if done.beside else ""
        print(f"next     semascope gather{choose} --workspace {self.workspace}")
        return 0

    def _given(self) -> dict[str, Any]:
        """The options of a new workspace that were said."""
        corpus = self.corpus or ("text" if self.text_only else "")
        said = {"subject": self.subject, "corpus": corpus, "device": self.device}
        return {name: value for name, value in said.items() if value} | {
            "text_only": self.text_only
        }
