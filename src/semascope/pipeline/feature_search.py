"""Search: by words over the atlas, by a picture or by examples through the subject.

Every way of searching gives the same records, best first, and takes the same filters. The page
and the command line both call this; what loads the model says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semascope.errors import AtlasError, EvidenceError
from semascope.pipeline.run_context import Run
from semascope.workspace import Workspace

if TYPE_CHECKING:
    from semascope.atlas import Atlas, FeatureListRow, Match, VectorIndex
    from semascope.corpus.sample import Sample
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
    from semascope.atlas import Atlas

    require_features(workspace)
    with Atlas.open(workspace.atlas, readonly=True) as atlas:
        found = _nearest(workspace, atlas, text, limit, where)
    return [_record(m.feature, similarity=round(m.similarity, 4)) for m in found]


def by_samples(
    workspace: Workspace,
    like: Sequence[Sample],
    unlike: Sequence[Sample] = (),
    *,
    text: str = "",
    limit: int = 10,
    where: Mapping[str, Any] | None = None,
    images_only: bool = False,
    subject: Any = None,
) -> list[dict[str, Any]]:
    """Features that fire on ``like`` and not on ``unlike``, those that tell them apart most first.

    With ``text``, the features that fire come in order of what their words mean instead.
    ``subject`` is the loaded model; without one, the run's is loaded. EvidenceError where
    ``like`` is empty; WorkspaceError where nothing is indexed yet.
    """
    from semascope.atlas import Atlas
    from semascope.evidence.analysis.by_example import responding

    workspace.require("index")
    run = _run(workspace)
    if not like:
        raise EvidenceError("Give at least one sample that the features should fire on (--like).")
    with Atlas.open(workspace.atlas, readonly=True) as atlas:
        found = responding(
            run.subject if subject is None else subject,
            _dictionaries(run, atlas, where or {}),
            atlas,
            like,
            unlike,
            k=limit * WIDELY if text else limit,
            where=where,
            images_only=images_only,
            options=_options(run),
        )
        if not text:
            return [_fired(one) for one in found]
        return _by_meaning(workspace, atlas, text, found, limit)


def picture(path: Path) -> Sample:
    """A picture file as a sample; EvidenceError where it is none."""
    from semascope.evidence.analysis import by_example

    return by_example.picture(path)


def prompts(path: Path) -> list[Sample]:
    """A file of prompts, one a line, as samples; EvidenceError where it is none."""
    from semascope.evidence.analysis import by_example

    return by_example.prompts(path)


def _run(workspace: Workspace) -> Run:
    from semascope.pipeline import recorded

    return Run(workspace, recorded(workspace))


def _options(run: Run) -> Any:
    from semascope.evidence import EvidenceOptions

    return EvidenceOptions(max_tokens=run.options.train.max_tokens)


def _dictionaries(run: Run, atlas: Atlas, where: Mapping[str, Any]) -> list[Any]:
    """The run's dictionaries that are in the atlas, of one layer where the filter says so."""
    from semascope.dictionary import load

    layer = where.get("layer")
    found = []
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


def _nearest(
    workspace: Workspace, atlas: Atlas, text: str, limit: int, where: Mapping[str, Any] | None
) -> list[Match]:
    from semascope.atlas import search_features

    found: list[Match] = []
    for key, vectors in _vectors(workspace, atlas).items():
        found += search_features(atlas, vectors, text, limit, dictionary=key, where=where)
    return sorted(found, key=lambda match: -match.similarity)[:limit]


def _by_meaning(
    workspace: Workspace, atlas: Atlas, text: str, found: Sequence[RespondingRow], limit: int
) -> list[dict[str, Any]]:
    """Of the features that fire, those whose words are nearest."""
    from semascope.atlas import search_features

    fired = {one.feature.id: one for one in found}
    matches: list[Match] = []
    for key, vectors in _vectors(workspace, atlas).items():
        ids = [one.feature.index for one in found if one.feature.dictionary == key]
        if ids:
            matches += search_features(
                atlas, vectors, text, limit, dictionary=key, where={"ids": ids}
            )
    matches.sort(key=lambda match: -match.similarity)
    return [
        _fired(fired[m.feature.id]) | {"similarity": round(m.similarity, 4)}
        for m in matches[:limit]
    ]


def _fired(one: RespondingRow) -> dict[str, Any]:
    return _record(
        one.feature,
        contrast=round(one.contrast, 4),
        like=round(one.like, 4),
        unlike=round(one.unlike, 4),
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
