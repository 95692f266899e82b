"""Opening a run by its workspace, or a model with a dictionary and no workspace at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from semascope.errors import SiteNotFound, WorkspaceError

if TYPE_CHECKING:
    from semascope.api.run import OpenRun
    from semascope.dictionary import SparseCoder
    from semascope.dictionary.types import Dictionary


def load_dictionary(path: str | Path, *, allow_pickle: bool = False) -> SparseCoder:
    """A dictionary from a folder or file of any known format.

    Args:
        path: SAELens, sparsify, dictionary_learning, OpenAI, Llama Scope and others, found by
            looking at the files.
        allow_pickle: read torch's ``.pt`` files too (tensors and plain values only).

    Raises:
        FormatError: nothing is there, or nothing that can be read exactly.
    """
    from semascope.dictionary import load

    return load(path, allow_pickle=allow_pickle)


def open_run(
    workspace: str | Path | None = None,
    *,
    subject: Any = None,
    dictionary: str | Path | Dictionary | None = None,
    site: str = "",
    device: str = "auto",
    trust: bool = False,
) -> OpenRun:
    """Open a run that ``semascope`` made, or a model with a dictionary of your own.

    ``semascope.open("workspace/demo")`` opens a workspace: the model, every dictionary with
    evidence, the words, the exemplars. Nothing is loaded until it is needed.

    ``semascope.open(subject="org/some-llava", dictionary="folder")`` needs no workspace. Answers,
    attribution and steering work; there are no words, exemplars or maxima, so doses are absolute
    activations.

    Args:
        workspace: folder of a run.
        subject: name or path of a model, or a ``Subject``.
        dictionary: path of a dictionary in any known format, or a ``Dictionary``.
        site: where the dictionary reads, for example ``resid_post.12``; the dictionary's own,
            where left out.
        device: auto, cpu, cuda…
        trust: go on although the model fails a check, or lacks weights.

    Raises:
        SubjectError: the model fails a check (see ``semascope model check``).
        WorkspaceError: no such run; or neither a workspace nor a subject is named.
        SiteNotFound: the subject has no such site, or one of another width.
    """
    from semascope.api.run import OpenRun
    from semascope.workspace import Workspace

    if workspace is not None:
        if subject is not None or dictionary is not None:
            raise WorkspaceError("Name a workspace, or a subject with a dictionary, not both.")
        space = Workspace(workspace)
        if not space.exists():
            raise WorkspaceError(
                f"There is no run in {space.root}. Make one: "
                f"semascope demo --no-serve --workspace {space.root}"
            )
        return OpenRun.of_workspace(space, device)
    if subject is None:
        raise WorkspaceError(
            "Say what to open: semascope.open('workspace/demo'), or "
            "semascope.open(subject='org/model', dictionary='folder')."
        )
    return OpenRun.of_parts(_subject(subject, device, trust), _placed(dictionary, site))


def _subject(subject: Any, device: str, trust: bool) -> Any:
    """The model, loaded and checked; one that is loaded already is taken as it is."""
    if not isinstance(subject, str | Path):
        return subject
    from semascope.pipeline.model_check import vetted
    from semascope.pipeline.run_context import load_subject, subject_stamp
    from semascope.workspace import RunRecord

    loaded = load_subject(str(subject), device=device, trust=trust)
    vetted(RunRecord(), loaded, subject_stamp(str(subject)), trust=trust)
    return loaded


def _placed(dictionary: Any, site: str) -> Any:
    """The dictionary, loaded and at its site."""
    if isinstance(dictionary, str | Path):
        dictionary = load_dictionary(dictionary)
    if dictionary is not None and site:
        dictionary.site = site
    if dictionary is not None and not dictionary.site:
        raise SiteNotFound(
            "The dictionary does not say where it reads. Name the site: "
            "semascope.open(…, site='resid_post.12')."
        )
    return dictionary
