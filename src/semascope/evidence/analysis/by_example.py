"""Features that fire on these samples and not on those.

One sample, a set, or a set against another (the searches of Templeton et al. 2024): each sample
is run through the subject, and features are ranked by how much more of the one set they fire on.
A picture with a question is one sample, so this is also the search by image. ``fires_on`` asks
one dictionary; ``responding`` asks all those of an atlas at once, with its filters. Knows subject
and dictionary by their protocols, and the atlas; stores nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semascope.atlas import Atlas, FeatureListRow
from semascope.corpus.sample import Sample
from semascope.dictionary.types import Dictionary
from semascope.errors import EvidenceError
from semascope.evidence.gathering.options import EvidenceOptions, keyed
from semascope.evidence.gathering.reader import EvidenceReader
from semascope.evidence.gathering.tally import Hits
from semascope.subject.protocols import ActivationSource
from semascope.subject.types import Kind

Float = NDArray[np.floating[Any]]
PICTURE_QUESTION = "What is in this picture?"
"""What a picture without words is read with."""


@dataclass(frozen=True, slots=True)
class RespondingFeature:
    """A feature that tells the two sets apart."""

    index: int
    contrast: float
    """Mean over ``like`` minus mean over ``unlike`` of the peak, as a share of its maximum."""
    like: float
    """Share of the ``like`` samples on which it fires."""
    unlike: float
    """Share of the ``unlike`` samples; 0 where there are none."""
    like_mean: float = 0.0
    """Mean peak over ``like``, as a share of its maximum."""
    unlike_mean: float = 0.0


@dataclass(frozen=True, slots=True)
class RespondingRow:
    """A feature of an atlas that tells the two sets apart."""

    feature: FeatureListRow
    response: RespondingFeature


def fires_on(
    subject: ActivationSource,
    dictionary: Dictionary,
    like: Sequence[Sample],
    unlike: Sequence[Sample] = (),
    *,
    k: int = 20,
    maximum: Float | None = None,
    max_density: float = 1.0,
    density: Float | None = None,
    images_only: bool = False,
    options: EvidenceOptions | None = None,
) -> list[RespondingFeature]:
    """The k features of largest contrast, largest first; all fire on some ``like`` sample.

    ``maximum`` (width,), from the evidence, puts peaks on one scale; without it, each feature's
    largest peak here stands in. ``max_density`` with ``density`` (width,) leaves out features
    that fire on almost everything. ``images_only`` looks at the tokens of pictures alone.
    Raises EvidenceError where ``like`` is empty.
    """
    options = options or EvidenceOptions()
    peaks = _peaks(subject, [dictionary], like, unlike, images_only, options)
    allowed = None if density is None else np.asarray(density) <= max_density
    return _ranked(next(iter(peaks.values())), len(like), k, maximum, allowed)


def responding(
    subject: ActivationSource,
    dictionaries: Sequence[Dictionary],
    atlas: Atlas,
    like: Sequence[Sample],
    unlike: Sequence[Sample] = (),
    *,
    k: int = 20,
    where: Mapping[str, Any] | None = None,
    images_only: bool = False,
    options: EvidenceOptions | None = None,
) -> list[RespondingRow]:
    """The k features of largest contrast among all ``dictionaries``, with what the atlas knows.

    ``where`` filters as ``Atlas.features`` does; the maxima that put features on one scale are
    the atlas's. The samples are read once for all dictionaries. EvidenceError where ``like`` is
    empty, AtlasError where a dictionary is not in the atlas.
    """
    peaks = _peaks(subject, dictionaries, like, unlike, images_only, options or EvidenceOptions())
    found = []
    for key, mine in peaks.items():
        allowed = np.zeros(mine.shape[1], bool)
        maximum = np.zeros(mine.shape[1], np.float32)
        for index, largest in atlas.columns(key, ("index", "max"), where):
            allowed[index], maximum[index] = True, largest
        found += [(one, key) for one in _ranked(mine, len(like), k, maximum, allowed)]
    found.sort(key=lambda one: -one[0].contrast)
    best = found[:k]
    rows: dict[tuple[str, int], FeatureListRow] = {}
    for key in peaks:
        wanted = [one.index for one, its in best if its == key]
        page = atlas.features(key, where={"ids": wanted}, limit=len(wanted))
        rows |= {(key, row.index): row for row in page.rows}
    return [RespondingRow(rows[key, one.index], one) for one, key in best]


def prompts(path: Path) -> list[Sample]:
    """Samples from a file of prompts, one a line; a line that names a picture is that picture.

    Pictures are looked for beside the file. EvidenceError where there is no such file, or
    nothing in it.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EvidenceError(
            f"{path} cannot be read as a file of prompts, one a line ({error})."
        ) from error
    found = [
        _line(line.strip(), path.parent, number)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not found:
        raise EvidenceError(f"{path} holds no prompt: write one a line.")
    return found


def picture(path: Path, question: str = PICTURE_QUESTION) -> Sample:
    """A sample of one picture and a question about it; EvidenceError where it is no picture."""
    from semascope.corpus.media.pictures import decode
    from semascope.corpus.sample import Turn
    from semascope.corpus.tabular.base import BadRow

    try:
        image = decode(path)
    except BadRow as error:
        raise EvidenceError(f"{path} is not a picture that can be read: {error}.") from error
    return Sample(str(path), turns=(Turn("user", question, 1),), images=(image,))


def _line(line: str, folder: Path, number: int) -> Sample:
    from semascope.corpus.tabular.json_files import SUFFIXES

    if Path(line).suffix.lower() in SUFFIXES and (folder / line).is_file():
        return picture(folder / line)
    return Sample(f"line {number}", text=line)


def _ranked(
    peaks: NDArray[np.float32],
    n: int,
    k: int,
    maximum: Float | None,
    allowed: NDArray[np.bool_] | None,
) -> list[RespondingFeature]:
    """The best of one dictionary; the first ``n`` rows of ``peaks`` are those to fire on."""
    largest = peaks.max(axis=0) if maximum is None else np.asarray(maximum, np.float32)
    scaled = peaks / np.where(largest > 0, largest, 1)
    yes, no = scaled[:n], scaled[n:]
    none = np.zeros(peaks.shape[1], np.float32)
    like_mean, unlike_mean = yes.mean(axis=0), no.mean(axis=0) if len(no) else none
    contrast = like_mean - unlike_mean
    fired, other = (yes > 0).mean(axis=0), (no > 0).mean(axis=0) if len(no) else none
    good = fired > 0
    if allowed is not None:
        good &= allowed
    order = np.lexsort((np.arange(len(contrast)), -contrast))
    chosen = order[good[order]][:k]
    return [
        RespondingFeature(
            int(i), *(float(x[i]) for x in (contrast, fired, other, like_mean, unlike_mean))
        )
        for i in chosen
    ]


def _peaks(
    subject: ActivationSource,
    dictionaries: Sequence[Dictionary],
    like: Sequence[Sample],
    unlike: Sequence[Sample],
    images_only: bool,
    options: EvidenceOptions,
) -> dict[str, NDArray[np.float32]]:
    """By dictionary: (n, width) largest activation of each feature in each sample."""
    if not like:
        raise EvidenceError("Give at least one sample that the features should fire on.")
    by_key = keyed(dictionaries)
    rows = list(enumerate([*like, *unlike]))
    out = {key: np.zeros((len(rows), d.width), np.float32) for key, d in by_key.items()}
    reader = EvidenceReader(subject, by_key, options)
    for first in range(0, len(rows), options.batch_size):
        for read in reader(rows[first : first + options.batch_size]):
            for key, hits in read.hits.items():
                chosen = _on_pictures(hits) if images_only else slice(None)
                place = read.rows.row[hits.sample[chosen]], hits.feature[chosen]
                np.maximum.at(out[key], place, hits.value[chosen])
    return out


def _on_pictures(hits: Hits) -> NDArray[np.bool_]:
    return np.isin(hits.kind, (Kind.IMAGE, Kind.TILE))
