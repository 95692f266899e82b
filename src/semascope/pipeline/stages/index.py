"""The fifth stage: evidence, words and figures into the atlas, and sentence vectors for search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semascope.pipeline.accounts.features import of_indexing
from semascope.pipeline.run_context import Run
from semascope.pipeline.stages.base import StageProgress
from semascope.pipeline.stages.explain import best, read_refined
from semascope.pipeline.stages.explain import read as read_explanations
from semascope.pipeline.stages.score import read as read_scores

if TYPE_CHECKING:
    from semascope.explain.types import Explanation, Score

STEPS = 7


def folder(run: Run) -> Path:
    """Where the sentence vectors lie."""
    site, name = run.options.chosen()
    return run.workspace.vectors / site / name


def index_run(run: Run, progress: StageProgress) -> Mapping[str, Any]:
    """Write everything into the atlas; writing it twice changes nothing."""
    from semascope.atlas import write_vectors
    from semascope.evidence.store.publish import publish, publish_map
    from semascope.pipeline.stages.gather import read_out

    progress(0, STEPS, "what features say")
    readout = read_out(run, progress)
    progress(1, STEPS, "features and exemplars")
    number = publish(run.evidence, run.atlas, readout=readout)
    progress(2, STEPS, "words")
    run.atlas.write_explanations(number, in_order(read_explanations(run)), origin="run")
    progress(3, STEPS, "figures")
    run.atlas.write_scores(number, (*read_scores(run), *interests(run)), origin="run")
    progress(4, STEPS, "the run's own figures")
    _describe(run)
    progress(5, STEPS, "sentence vectors")
    vectors = write_vectors(run.atlas, number, folder(run))
    progress(6, STEPS, "the map")
    seed = run.options.train.seed
    drawn = publish_map(run.evidence, run.atlas, number, vectors=vectors, seed=seed)
    progress(STEPS, STEPS)
    return {
        "vectors": len(vectors),
        "embedder": vectors.embedder,
        "map": drawn.method,
        "regions": len(drawn.regions),
        "read": of_indexing(run.evidence, len(vectors)),
    }


def in_order(found: Mapping[str, list[Explanation]]) -> list[Explanation]:
    """All explanations, each feature's own words last: the newest are what the atlas shows."""
    chosen = best(found)
    others = [one for ones in found.values() for one in ones if chosen[one.feature] is not one]
    return [*others, *chosen.values()]


def interests(run: Run) -> Iterator[Score]:
    """Whether a person would care for a feature, as a figure about its words, so that lists can be
    sorted by it; beside it whether it is low-level, and of which group of duplicates."""
    from collections import Counter

    from semascope.explain.refine import base_interest
    from semascope.explain.types import Score

    authors = {f: one.author for f, one in best(read_explanations(run)).items()}
    rows = [row for row in read_refined(run) if row.label]
    sizes = Counter(row.group for row in rows)
    for row in rows:
        value, detail = row.interest, {"low_level": row.low_level, "group": row.group}
        detail["group_size"] = sizes[row.group]
        author = authors[row.feature]
        yield Score(row.feature, "interest", value, base_interest(), value, value, detail, author)


def forget(run: Run) -> None:
    """Take what was derived of a dictionary that is made anew out of the atlas."""
    from semascope.atlas.delete import remove_dictionary

    if run.workspace.atlas.exists():
        remove_dictionary(run.atlas, run.dictionary_id)


def _describe(run: Run) -> None:
    """What the stages measured, beside the dictionary, for whoever opens the atlas alone."""
    from semascope.pipeline.report import figures

    record = run.workspace.record()
    report = figures({name: stage.model_dump() for name, stage in record.stages.items()})
    for name in ("seconds", "dictionaries"):
        report.pop(name, None)
    row = run.atlas.dictionary(run.dictionary_id)
    about = {**row.about, "metrics": {k: v for k, v in report.items() if v is not None}}
    about["trained"] = record.stages["train"].hash  # notes say which training they are about
    run.atlas.add_dictionary(row.key, model=row.model, width=row.width, about=about)
