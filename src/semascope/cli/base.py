"""What every verb is: a frozen model of its flags, and ``run``.

Knows no verb in particular.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import tyro

from semascope.config import DEFAULT_WORKSPACE, Options
from semascope.errors import WorkspaceError
from semascope.workspace import Workspace

if TYPE_CHECKING:
    from semascope.atlas import Atlas


class Verb(Options):
    """Base of all verbs."""

    def run(self) -> int:
        """Do it; return the exit code."""
        raise NotImplementedError

    @classmethod
    def recorded(cls, workspace: Path) -> Self | None:
        """Defaults from what the workspace recorded; None where the verb's own apply."""
        return None


class InWorkspace(Verb):
    """Base of the verbs that work in a workspace."""

    workspace: Annotated[Path, tyro.conf.arg(aliases=["-w"])] = Path(DEFAULT_WORKSPACE)
    """The folder that holds the run."""

    @property
    def space(self) -> Workspace:
        """The workspace."""
        return Workspace(self.workspace)


def own_dictionary(space: Workspace, atlas: Atlas) -> str:
    """``site/name`` of the run's dictionary, or of the only one; WorkspaceError where neither."""
    record, keys = space.record(), [row.key for row in atlas.dictionaries()]
    own = f"{record.site}/{record.dictionary}"
    if own in keys:
        return own
    if len(keys) == 1:
        return keys[0]
    raise WorkspaceError(
        f"Say which --dictionary is meant; there are: {', '.join(keys) or 'none'}."
    )


def workspace_of(args: Sequence[str]) -> Path:
    """The workspace that the arguments name, before they are parsed."""
    for number, word in enumerate(args):
        if word in ("-w", "--workspace") and number + 1 < len(args):
            return Path(args[number + 1])
        if word.startswith("--workspace="):
            return Path(word.partition("=")[2])
    return Path(DEFAULT_WORKSPACE)
