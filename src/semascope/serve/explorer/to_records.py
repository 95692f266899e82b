"""From the atlas's and the evidence's records to those that travel as JSON.

Arrays become short lists, NaN becomes absence, text is cut to a window around what matters.
Knows records on both sides; no database, no model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semascope.atlas.records import ExplanationRow, ScoreRow, StoredExemplar
from semascope.atlas.records import FeatureListRow as AtlasRow
from semascope.evidence.types import EvidenceSample, Exemplar
from semascope.evidence.video_frames import told, worth_showing
from semascope.explain.scorers.kinds import describe
from semascope.serve.schema.responses import (
    Bin,
    ExemplarRecord,
    ExplanationRecord,
    FeatureRow,
    PictureRecord,
    ScoreKindRecord,
    ScoreRecord,
    TokenRecord,
)
from semascope.subject.types import Kind, TokenMap, looking_at

WINDOW = 40
"""Text tokens shown around the strongest one."""
SEEN = (Kind.IMAGE, Kind.TILE)


def number(value: float | None) -> float | None:
    """A finite number, or nothing: JSON has no NaN."""
    return None if value is None or not math.isfinite(value) else float(value)


def score(row: ScoreRow) -> ScoreRecord:
    """One figure."""
    said = ", ".join(
        f"{name} {value:g}" if isinstance(value, int | float) else f"{name} {value}"
        for name, value in row.evidence.items()
        if isinstance(value, int | float | str) and not isinstance(value, bool)
    )
    counted = f"{row.n} samples" if row.n else ""
    return ScoreRecord(
        kind=row.kind,
        value=number(row.value) or 0.0,
        baseline=number(row.baseline),
        low=number(row.low),
        high=number(row.high),
        evidence=(counted or said)[:200],
    )


def score_names(kinds: Iterable[str]) -> dict[str, ScoreKindRecord]:
    """Name and meaning of each kind of score."""
    return {
        kind: ScoreKindRecord(name=said.name, meaning=said.meaning, top=said.top)
        for kind, said in ((kind, describe(kind)) for kind in kinds)
    }


def explanation(row: ExplanationRow) -> ExplanationRecord:
    """Words with their author."""
    return ExplanationRecord(
        label=row.label,
        description=row.description,
        category=row.category,
        confidence=number(row.confidence),
        abstained=bool(row.abstained),
        author=row.author,
        prompt_version=row.prompt_version,
    )


def feature(
    row: AtlasRow, exemplars: Sequence[ExemplarRecord] = (), similarity: float | None = None
) -> FeatureRow:
    """A feature of a list."""
    return FeatureRow(
        id=row.id,
        dictionary=row.dictionary,
        index=row.index,
        label=row.label or "",
        description=row.description or "",
        category=row.category or "",
        author=row.author or "",
        confidence=number(row.confidence),
        abstained=bool(row.abstained),
        alive=bool(row.alive),
        modality=row.modality or "none",  # type: ignore[arg-type]  # one of the four words
        density=number(row.density),
        maximum=number(row.max),
        scores=[score(s) for s in row.scores.values() if number(s.value) is not None],
        exemplars=list(exemplars),
        similarity=number(similarity),
        past=row.past,
    )


def exemplar(found: Exemplar, *, tenth: bool = False, words: int = WINDOW) -> ExemplarRecord:
    """A sample in which the feature fired."""
    return _sample(
        found.shown, found.activations, found.peak, found.interval if tenth else None, words
    )


def stored(found: StoredExemplar, *, words: int = WINDOW) -> ExemplarRecord:
    """An exemplar as an atlas keeps it, which need not come from a run's evidence."""
    sample = found.sample
    shown = EvidenceSample(
        row=sample.row,
        id=sample.id,
        tokens=sample.tokens,
        kinds=sample.kinds,
        rects=sample.rects,
        image=sample.image,
        media=sample.media,
        sizes=sample.sizes,
        split="score" if sample.split == "score" else "explain",
        truth=sample.truth,
        spans=sample.spans,
        moments=sample.moments,
    )
    return _sample(shown, found.activations, found.peak, None, words)


def silent(shown: EvidenceSample) -> ExemplarRecord:
    """A sample in which it did not."""
    return _sample(shown, np.zeros(len(shown.tokens), np.float32), 0.0, None, WINDOW)


def own(seen: TokenMap, media: Sequence[str]) -> EvidenceSample:
    """A sample of one's own, as evidence would keep it."""
    return EvidenceSample(
        row=-1,
        id="yours",
        tokens=seen.tokens,
        kinds=seen.kinds,
        rects=seen.rects,
        image=seen.image,
        media=tuple(media),
        sizes=seen.sizes,
        split="score",
        spans=seen.spans,
    )


def live(shown: EvidenceSample, values: NDArray[np.float32]) -> ExemplarRecord:
    """A sample of one's own with one feature's activations; all of its text."""
    told = _sample(shown, values, float(values.max(initial=0.0)), None, len(shown.tokens))
    return told.model_copy(update={"split": ""})


def _sample(
    shown: EvidenceSample, values: NDArray[np.float32], peak: float, tenth: int | None, words: int
) -> ExemplarRecord:
    pictures = worth_showing(shown, values)
    frames = (told(shown, i) for i in pictures)
    return ExemplarRecord(
        sample=shown.id,
        peak=round(float(peak), 4),
        split=shown.split,
        interval=tenth,
        pictures=[_picture(shown, values, i) for i in pictures],
        tokens=_window(shown, values, words),
        caption=str(shown.truth.get("caption", "")) or ", ".join(filter(None, frames)),
    )


def _picture(shown: EvidenceSample, values: NDArray[np.float32], which: int) -> PictureRecord:
    """A picture with its cells: those of the tiles too, where it was read in tiles."""
    here = np.isin(shown.kinds, SEEN) & looking_at(shown, which)
    here &= np.isfinite(shown.rects).all(axis=1)  # (T,)
    width, height = shown.sizes[which]
    return PictureRecord(
        media=shown.media[which],
        width=width,
        height=height,
        rects=np.round(shown.rects[here], 2).tolist(),
        values=np.round(values[here], 4).tolist(),
    )


def _window(shown: EvidenceSample, values: NDArray[np.float32], words: int) -> list[TokenRecord]:
    """The text around the strongest token; all of it where it is short."""
    places = np.flatnonzero(np.isin(shown.kinds, (Kind.TEXT, Kind.SPECIAL)))  # (W,)
    plain = np.flatnonzero(shown.kinds[places] == Kind.TEXT)
    if not len(plain):
        return []
    middle = int(np.argmax(values[places])) if values[places].any() else int(plain[-1])
    first = max(0, min(middle - words // 2, len(places) - words))
    return [
        TokenRecord(
            text=shown.tokens[t],
            value=round(float(values[t]), 4),
            special=bool(shown.kinds[t] == Kind.SPECIAL),
        )
        for t in places[first : first + words].tolist()
    ]


def histogram(edges: NDArray[np.float64], counts: NDArray[np.int64]) -> list[Bin]:
    """The bins from the first that holds a token to the last."""
    used = np.flatnonzero(counts)
    if not len(used):
        return []
    return [
        Bin(low=float(edges[i]), high=float(edges[i + 1]), count=int(counts[i]))
        for i in range(int(used[0]), int(used[-1]) + 1)
    ]


def figures(stats: Mapping[str, Any]) -> dict[str, float]:
    """Those figures that are finite numbers."""
    return {
        name: float(value)
        for name, value in stats.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def metrics(about: Mapping[str, Any]) -> dict[str, float]:
    """What the run measured about a dictionary."""
    found = about.get("metrics")
    return figures(found) if isinstance(found, Mapping) else {}
