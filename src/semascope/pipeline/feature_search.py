"""Search: by words over the atlas, by a picture or by examples through the subject.

Every way of searching gives the same records, best first, and takes the same filters. By words,
page, command line and Python rank with ``atlas.nearest_features``; by example, with
``responding_rows``. Functions that load the model say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semascope.errors import AtlasError, EvidenceError
from semascope.pipeline.run_context import Run, recorded
from semascope.workspace import Workspace

if TYPE_CHECKING:
    from semascope.atlas import Atlas, FeatureListRow, VectorIndex
    from semascope.corpus.sample import Sample
    from semascope.dictionary.types import Dictionary
    from semascope.evidence.analysis.by_example import RespondingRow

WIDELY = 5
"""With words and samples both: so many times the limit fire, and the nearest of them are shown."""


def require_features(workspace: Workspace) -> None:
    """Raise WorkspaceError unless there are features to look at: a run's, or imported ones."""
    from semascope.atlas import Atlas

    record = workspace.record()
    if "index" in record.stages and record.stages["index"].done:
        return
    if workspace.atlas.is_file():
        with Atlas.open(workspace.atlas, readonly=True) as atlas:
            if any("imported" in row.about for row in atlas.dictionaries()):
                return
    workspace.require("index")


def by_words(
    workspace: Workspace, text: str, limit: int = 10, where: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Features of every dictionary of the atlas by meaning, nearest first. Loads no model.

    ``where`` filters as ``Atlas.features`` does. WorkspaceError where nothing is indexed yet.
    """
    from semascope.atlas import Atlas, nearest_features

    require_features(workspace)
    with Atlas.open(workspace.atlas, readonly=True) as atlas:
        matches = nearest_features(atlas, _vectors(workspace, atlas), text, limit, where=where)
    return [_record(m.feature, similarity=round(m.similarity, 4)) for m in matches]


def by_samples(
    workspace: Workspace,
    like: Sequence[Sample],
    unlike: Sequence[Sample] = (),
    *,
    text: str = "",
    limit: int = 10,
    where: Mapping[str, Any] | None = None,
    images_only: bool = False,
) -> list[dict[str, Any]]:
    """Features that fire on ``like`` and not on ``unlike``, those that tell them apart most first.

    With ``text``, the features that fire come in order of what their words mean instead.
    The run's model is loaded. EvidenceError where ``like`` is empty; WorkspaceError where nothing
    is indexed yet.
    """
    from semascope.atlas import Atlas, nearest_features

    workspace.require("index")
    run = _run(workspace)
    if not like:
        raise EvidenceError("Give at least one sample that the features should fire on (--like).")
    with Atlas.open(workspace.atlas, readonly=True) as atlas:
        rows = responding_rows(
            run,
            atlas,
            like,
            unlike,
            _dictionaries(run, atlas, where or {}),
            limit=limit * WIDELY if text else limit,
            where=where,
            images_only=images_only,
        )
        if not text:
            return [_fired(row) for row in rows]
        fired = {row.feature.key: row for row in rows}
        vectors = _vectors(workspace, atlas)
        matches = nearest_features(atlas, vectors, text, limit, among=fired)
    return [_fired(fired[m.feature.key]) | {"similarity": round(m.similarity, 4)} for m in matches]


def responding_rows(
    run: Run,
    atlas: Atlas,
    like: Sequence[Sample],
    unlike: Sequence[Sample],
    dictionaries: Sequence[Dictionary],
    *,
    limit: int,
    where: Mapping[str, Any] | None = None,
    images_only: bool = False,
) -> list[RespondingRow]:
    """Features of an open run by example, best first: the ranking of page and command line."""
    from semascope.evidence import EvidenceOptions
    from semascope.evidence.analysis.by_example import responding

    return responding(
        run.same_subject,
        dictionaries,
        atlas,
        like,
        unlike,
        k=limit,
        where=where,
        images_only=images_only,
        options=EvidenceOptions(max_tokens=run.options.train.max_tokens),
    )


def picture(path: Path) -> Sample:
    """A picture file as a sample; EvidenceError where it is none."""
    from semascope.evidence.analysis import by_example

    return by_example.picture(path)


def prompts(path: Path) -> list[Sample]:
    """A file of prompts, one a line, as samples; EvidenceError where it is none."""
    from semascope.evidence.analysis import by_example

    return by_example.prompts(path)


def _run(workspace: Workspace) -> Run:
    return Run(workspace, recorded(workspace))


def _dictionaries(run: Run, atlas: Atlas, where: Mapping[str, Any]) -> list[Dictionary]:
    """The run's dictionaries that are in the atlas, of one layer where the filter says so."""
    from semascope.dictionary import load

    layer = where.get("layer")
    found: list[Dictionary] = []
    for key in dict.fromkeys(row.key for row in atlas.dictionaries()):
        site, _, name = key.rpartition("/")
        folder = run.workspace.dictionary(site, name)
        if folder.is_dir() and (layer is None or site.endswith(f".{layer}")):
            found.append(load(folder))
    if not found:
        there = ", ".join(row.key for row in atlas.dictionaries())
        raise AtlasError(f"No dictionary of layer {layer} here; there are: {there}.")
    return found


def _vectors(workspace: Workspace, atlas: Atlas) -> dict[str, VectorIndex]:
    """Description vectors by dictionary, of those that have some."""
    from semascope.atlas import VectorIndex

    out = {}
    for key in dict.fromkeys(row.key for row in atlas.dictionaries()):
        if (workspace.vectors / key / "about.json").is_file():
            out[key] = VectorIndex(workspace.vectors / key)
    return out


def _fired(one: RespondingRow) -> dict[str, Any]:
    return _record(
        one.feature,
        contrast=round(one.response.contrast, 4),
        like=round(one.response.like, 4),
        unlike=round(one.response.unlike, 4),
    )


def _record(row: FeatureListRow, **found: float) -> dict[str, Any]:
    return {
        "id": row.id,
        **found,
        "label": row.label,
        "description": row.description,
        "category": row.category,
        "modality": row.modality,
        "density": row.density,
        "scores": {kind: score.value for kind, score in row.scores.items()},
    }
