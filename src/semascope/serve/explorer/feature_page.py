"""All about one feature, from the atlas and, where there is evidence, from its exemplars."""

from __future__ import annotations

from collections.abc import Callable

from semascope.atlas import Atlas
from semascope.atlas.records import FeatureDetail, FeatureListRow, split_id
from semascope.errors import AtlasError, NotThere
from semascope.evidence import Evidence
from semascope.serve.explorer import to_records
from semascope.serve.explorer.model import ModelSession
from semascope.serve.schema.responses import (
    ExemplarRecord,
    ExplanationRecord,
    FeaturePage,
    Nearness,
    Neighbour,
    NoteRecord,
    PromotedToken,
)

NEAREST = 6
"""Neighbours shown by direction, and by firing together."""
NEARNESS: tuple[tuple[str, Nearness], ...] = (("cosine", "direction"), ("cofire", "firing"))
"""Names in the evidence and on the page."""


def feature_page(
    feature_id: str,
    atlas: Atlas,
    evidence_with: Callable[[str, int], Evidence | None],
    exemplars: Callable[[FeatureListRow], list[ExemplarRecord]],
    session: ModelSession,
) -> FeaturePage:
    """One feature's page. Exemplars come from its evidence or, if it was imported, from the atlas.

    Args:
        feature_id: ``site/dictionary/index``.
        atlas: explanations, scores and statistics.
        evidence_with: (dictionary, index) to the evidence that holds the feature, or None.
        exemplars: a few of a feature's exemplars, as lists show them.
        session: reads promoted tokens off the model, if it is loaded.

    Raises:
        NotThere: there is no such feature.
    """
    key, index = split_id(feature_id)
    try:
        evidence = evidence_with(key, index)
        detail = atlas.feature(key, index, exemplars=evidence is None)
    except AtlasError as error:
        raise NotThere(str(error)) from error
    promoted, lowered = _promoted(detail, session)
    page = FeaturePage(
        feature=to_records.feature(detail.row, exemplars(detail.row)),
        explanations=[ExplanationRecord.of(e) for e in detail.explanations],
        stats=to_records.figures(detail.stats),
        notes=[NoteRecord.of(note) for note in detail.notes],
        lists=list(detail.lists),
        promoted=promoted,
        lowered=lowered,
    )
    if evidence is None:
        top = [to_records.stored(e) for e in detail.of("top")]
        return page.model_copy(update={"top": top})
    gathered = evidence.feature(index)
    return page.model_copy(
        update={
            "top": [to_records.exemplar(e) for e in gathered.top],
            "intervals": [to_records.exemplar(e, tenth=True) for e in gathered.intervals],
            "silent": [to_records.silent(s) for s in gathered.silent],
            "histogram": to_records.histogram(*evidence.histogram(index)),
            "stats": to_records.figures(gathered.stats),
            "neighbours": _neighbours(atlas, evidence, key, index),
        }
    )


def _neighbours(atlas: Atlas, evidence: Evidence, key: str, index: int) -> list[Neighbour]:
    near = [
        (n, how)
        for by, how in NEARNESS
        for n in evidence.near(index, by)[:NEAREST]
        if n.strength > 0
    ]
    wanted = list({n.index for n, _ in near})
    rows = atlas.features(key, where={"ids": wanted}, limit=len(wanted)).rows
    labels = {row.index: row.label for row in rows}
    return [
        Neighbour(id=f"{key}/{n.index}", label=labels.get(n.index, ""), value=n.strength, how=how)
        for n, how in near
    ]


def _promoted(detail: FeatureDetail, session: ModelSession) -> list[list[PromotedToken]]:
    """Output tokens by the logit lens: as the atlas has them, or read off a loaded model."""
    up, down = detail.near.get("promoted"), detail.near.get("suppressed")
    if not up and not down and session.loaded:
        from semascope.monitor.try_out import promoted_tokens

        up, down = promoted_tokens(session.steerable, detail.row.key)
    return [
        [PromotedToken(text=str(t), value=float(v)) for t, v in side or ()] for side in (up, down)
    ]
