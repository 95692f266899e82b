"""Records that travel as JSON, built from the atlas's and the evidence's.

Arrays become short lists, NaN becomes null, and text is cut to a window around its strongest
token. No database and no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semascope.atlas.records import FeatureListRow as AtlasRow
from semascope.atlas.records import ScoreRow, StoredExemplar
from semascope.evidence.types import EvidenceSample, Exemplar
from semascope.evidence.video_frames import told, worth_showing
from semascope.explain.scorers.kinds import describe
from semascope.serve.schema.responses import (
    Bin,
    ExemplarRecord,
    FeatureRow,
    PictureRecord,
    ScoreKindRecord,
    ScoreRecord,
    TokenRecord,
    finite,
)
from semascope.subject.types import IMAGE_KINDS, Kind, TokenMap, looking_at

WINDOW = 40
"""Text tokens shown around the strongest one."""


def score(row: ScoreRow) -> ScoreRecord:
    """One score; its evidence in words is the number of samples, or what the scorer noted."""
    notes = ", ".join(
        f"{name} {value:g}" if isinstance(value, int | float) else f"{name} {value}"
        for name, value in row.evidence.items()
        if isinstance(value, int | float | str) and not isinstance(value, bool)
    )
    evidence = f"{row.n} samples" if row.n else notes
    return ScoreRecord.of(row, value=finite(row.value) or 0.0, evidence=evidence[:200])


def score_names(kinds: Iterable[str]) -> dict[str, ScoreKindRecord]:
    """Name and meaning of each kind of score."""
    return {kind: ScoreKindRecord.of(describe(kind)) for kind in kinds}


def feature(
    row: AtlasRow, exemplars: Sequence[ExemplarRecord] = (), similarity: float | None = None
) -> FeatureRow:
    """A feature of a list."""
    return FeatureRow.of(
        row,
        abstained=bool(row.abstained),
        modality=row.modality or "none",
        maximum=row.max,
        scores=[score(s) for s in row.scores.values() if finite(s.value) is not None],
        exemplars=list(exemplars),
        similarity=similarity,
    )


def exemplar(source: Exemplar, *, tenth: bool = False, window: int = WINDOW) -> ExemplarRecord:
    """A sample in which the feature fired; ``tenth`` says in which tenth of its maximum."""
    interval = source.interval if tenth else None
    return _sample(source.shown, source.activations, source.peak, interval, window)


def stored(source: StoredExemplar, *, window: int = WINDOW) -> ExemplarRecord:
    """An exemplar as an atlas keeps it, which need not come from a run's evidence."""
    sample = source.sample
    known = {f.name: getattr(sample, f.name) for f in fields(EvidenceSample)}
    known["split"] = "score" if sample.split == "score" else "explain"
    return _sample(EvidenceSample(**known), source.activations, source.peak, None, window)


def silent(sample: EvidenceSample) -> ExemplarRecord:
    """A sample in which the feature did not fire."""
    return _sample(sample, np.zeros(len(sample.tokens), np.float32), 0.0, None, WINDOW)


def uploaded(
    token_map: TokenMap, media: Sequence[str], values: NDArray[np.float32]
) -> ExemplarRecord:
    """A user's sample with one feature's activations, (T,); all of its text."""
    sample = EvidenceSample(
        row=-1,
        id="yours",
        tokens=token_map.tokens,
        kinds=token_map.kinds,
        rects=token_map.rects,
        image=token_map.image,
        media=tuple(media),
        sizes=token_map.sizes,
        split="score",
        spans=token_map.spans,
    )
    peak = float(values.max(initial=0.0))
    record = _sample(sample, values, peak, None, len(sample.tokens))
    return record.model_copy(update={"split": ""})


def _sample(
    sample: EvidenceSample,
    values: NDArray[np.float32],
    peak: float,
    interval: int | None,
    window: int,
) -> ExemplarRecord:
    pictures = worth_showing(sample, values)
    frames = (told(sample, i) for i in pictures)
    return ExemplarRecord(
        sample=sample.id,
        peak=round(float(peak), 4),
        split=sample.split,
        interval=interval,
        pictures=[_picture(sample, values, i) for i in pictures],
        tokens=_window(sample, values, window),
        caption=str(sample.truth.get("caption", "")) or ", ".join(filter(None, frames)),
    )


def _picture(sample: EvidenceSample, values: NDArray[np.float32], which: int) -> PictureRecord:
    """A picture with its cells, those of its tiles too where it was read in tiles."""
    here = np.isin(sample.kinds, IMAGE_KINDS) & looking_at(sample, which)
    here &= np.isfinite(sample.rects).all(axis=1)  # (T,)
    width, height = sample.sizes[which]
    return PictureRecord(
        media=sample.media[which],
        width=width,
        height=height,
        rects=np.round(sample.rects[here], 2).tolist(),
        values=np.round(values[here], 4).tolist(),
    )


def _window(sample: EvidenceSample, values: NDArray[np.float32], window: int) -> list[TokenRecord]:
    """The text around the strongest token; all of it where it is short."""
    places = np.flatnonzero(np.isin(sample.kinds, (Kind.TEXT, Kind.SPECIAL)))  # (W,)
    plain = np.flatnonzero(sample.kinds[places] == Kind.TEXT)
    if not len(plain):
        return []
    middle = int(np.argmax(values[places])) if values[places].any() else int(plain[-1])
    first = max(0, min(middle - window // 2, len(places) - window))
    return [
        TokenRecord(
            text=sample.tokens[t],
            value=round(float(values[t]), 4),
            special=bool(sample.kinds[t] == Kind.SPECIAL),
        )
        for t in places[first : first + window].tolist()
    ]


def histogram(edges: NDArray[np.float64], counts: NDArray[np.int64]) -> list[Bin]:
    """The bins from the first that holds a token to the last that does."""
    used = np.flatnonzero(counts)
    if not len(used):
        return []
    return [
        Bin(low=float(edges[i]), high=float(edges[i + 1]), count=int(counts[i]))
        for i in range(int(used[0]), int(used[-1]) + 1)
    ]


def figures(stats: Mapping[str, Any]) -> dict[str, float]:
    """The statistics that are finite numbers."""
    return {
        name: float(value)
        for name, value in stats.items()
        if isinstance(value, int | float) and finite(value) is not None
    }


def metrics(about: Mapping[str, Any]) -> dict[str, float]:
    """What the run measured about a dictionary."""
    measured = about.get("metrics")
    return figures(measured) if isinstance(measured, Mapping) else {}
