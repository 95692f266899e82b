"""The Explorer over a planted family of three widths, of which the atlas holds two."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from tests.evidence.planted_family import NARROW, WIDE, coders, planted_rows, widest, workspace

from semascope.evidence.analysis.families import family
from semascope.evidence.store.publish import publish
from semascope.serve import open_explorer
from semascope.serve.explorer.workspace import WorkspaceExplorer
from semascope.workspace import Workspace


def explored(root: Path, *held: str) -> WorkspaceExplorer:
    """The Explorer, with these dictionaries in its atlas."""
    explorer = open_explorer(root)
    for member in family(Workspace(root).evidence()):
        if member.key in held:
            publish(member, explorer.atlas)
    return explorer


def three_widths(root: Path) -> WorkspaceExplorer:
    """One feature has words, the others what their firing tells."""
    found = explored(workspace(root, (*coders(), widest()), planted_rows()), NARROW, WIDE)
    words = SimpleNamespace(
        feature=0, label="a flying mouse", description="Shows a bat.", category="object",
        confidence=0.9, abstained=False, author="hand", prompt_version="1", inputs="", cost={},
    )  # fmt: skip
    found.atlas.write_explanations(NARROW, [words])
    return found
