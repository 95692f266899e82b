"""The fifth stage: evidence, words and figures into the atlas, and sentence vectors for search."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semascope.pipeline.context import Run
from semascope.pipeline.explaining import best
from semascope.pipeline.explaining import read as read_explanations
from semascope.pipeline.scoring import read as read_scores
from semascope.pipeline.stage import Progress
from semascope.workspace import Workspace

if TYPE_CHECKING:
    from semascope.explain.types import Explanation

STEPS = 5


def folder(run: Run) -> Path:
    """Where the sentence vectors lie."""
    site, name = run.options.chosen()
    return run.workspace.vectors / site / name


def index_run(run: Run, progress: Progress) -> Mapping[str, Any]:
    """Write everything into the atlas; writing it twice changes nothing."""
    from semascope.atlas import write_vectors
    from semascope.evidence.publish import publish

    progress(0, STEPS, "features and exemplars")
    number = publish(run.evidence, run.atlas)
    progress(1, STEPS, "words")
    run.atlas.write_explanations(number, in_order(read_explanations(run)))
    progress(2, STEPS, "figures")
    run.atlas.write_scores(number, read_scores(run))
    progress(3, STEPS, "the run's own figures")
    _describe(run)
    progress(4, STEPS, "sentence vectors")
    vectors = write_vectors(run.atlas, number, folder(run))
    progress(STEPS, STEPS)
    return {"vectors": len(vectors), "embedder": vectors.embedder}


def in_order(found: Mapping[str, list[Explanation]]) -> list[Explanation]:
    """All explanations, each feature's own words last: the newest are what the atlas shows."""
    chosen = best(found)
    others = [one for ones in found.values() for one in ones if chosen[one.feature] is not one]
    return [*others, *chosen.values()]


def forget(run: Run) -> None:
    """Take a dictionary that is made anew out of the atlas, with all that stands on it."""
    from semascope.atlas.forget import remove_dictionary

    if run.workspace.atlas.exists():
        remove_dictionary(run.atlas, run.dictionary_id)


def nearest(workspace: Workspace, query: str, limit: int) -> list[dict[str, Any]]:
    """Features by meaning, nearest first."""
    record = workspace.require("index")
    from semascope.atlas import Atlas, VectorIndex, search_features

    key = f"{record.site}/{record.dictionary}"
    vectors = VectorIndex(workspace.vectors / record.site / record.dictionary)
    with Atlas.open(workspace.atlas) as atlas:
        found = search_features(atlas, vectors, query, limit, dictionary=key)
    return [
        {
            "id": match.feature.id,
            "similarity": round(match.similarity, 4),
            "label": match.feature.label,
            "description": match.feature.description,
        }
        for match in found
    ]


def _describe(run: Run) -> None:
    """What the stages measured, beside the dictionary, for whoever opens the atlas alone."""
    from semascope.evaluate.report import figures

    record = run.workspace.record()
    report = figures({name: stage.model_dump() for name, stage in record.stages.items()})
    report.pop("seconds")
    row = run.atlas.dictionary(run.dictionary_id)
    about = {**row.about, "metrics": {k: v for k, v in report.items() if v is not None}}
    run.atlas.add_dictionary(row.key, model=row.model, width=row.width, about=about)
