"""Finding features by what their descriptions mean.

Knows the atlas and vectors; knows no model and no evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semascope.atlas.atlas import Atlas
from semascope.atlas.embed import Embedder, embedder
from semascope.atlas.records import FeatureListRow
from semascope.atlas.vectors import VectorIndex


class Match(NamedTuple):
    """A feature that was found."""

    feature: FeatureListRow
    similarity: float
    """Cosine of the query's vector and the description's."""


def write_vectors(
    atlas: Atlas, dictionary: str | int, folder: Path | str, embed: Embedder | None = None
) -> VectorIndex:
    """Embed the words of every feature that has some; replaces what the folder held."""
    embed = embed or embedder()
    words = atlas.words(dictionary)
    texts = [f"{label}. {text}" if label else text for _, label, text in words]
    rows = embed(texts) if texts else np.zeros((0, embed.dim), np.float32)
    index = np.array([i for i, _, _ in words], np.int64)
    return VectorIndex.write(folder, index, rows, embedder=embed.name)


def search_features(
    atlas: Atlas,
    vectors: VectorIndex,
    text: str,
    k: int = 20,
    *,
    dictionary: str | int | None = None,
    where: Mapping[str, Any] | None = None,
    embed: Embedder | None = None,
) -> list[Match]:
    """The k features whose words are nearest in meaning to ``text``, nearest first.

    ``vectors`` belong to ``dictionary`` (the only one of the atlas, where none is named);
    ``where`` filters as ``Atlas.features`` does.
    """
    embed = embed or embedder(vectors.embedder)
    chosen: str | int = atlas.dictionaries()[0].id if dictionary is None else dictionary
    mask = None
    if where:
        allowed = atlas.columns(chosen, ("index",), where)
        mask = np.isin(vectors.index, [index for (index,) in allowed])
    found = vectors.search(embed([text])[0], k, mask)
    rows = atlas.features(chosen, where={"ids": found.index.tolist()}, limit=len(found.index))
    by_index = {row.index: row for row in rows.rows}
    return [
        Match(by_index[int(i)], float(c))
        for i, c in zip(found.index, found.cosine, strict=True)
        if int(i) in by_index
    ]


def nearest_features(
    atlas: Atlas,
    vectors: Mapping[str, VectorIndex],
    text: str,
    k: int = 20,
    *,
    where: Mapping[str, Any] | None = None,
    among: Collection[tuple[str, int]] | None = None,
    embed: Callable[[str], Embedder] = embedder,
) -> list[Match]:
    """The k features of several dictionaries nearest in meaning to ``text``, nearest first.

    The page, the command line and Python all search by words with this.

    Args:
        atlas: where the features are.
        vectors: sentence vectors by dictionary (``site/name``); others are not searched.
        text: what to look for.
        k: how many features.
        where: filters of ``Atlas.features``.
        among: search only these features, (dictionary, number).
        embed: gives the embedder of a name; pass a cache where many searches follow.
    """
    matches: list[Match] = []
    for key, index in vectors.items():
        filters = dict(where or {})
        if among is not None:
            filters["ids"] = [number for name, number in among if name == key]
            if not filters["ids"]:
                continue
        matches += search_features(
            atlas, index, text, k, dictionary=key, where=filters, embed=embed(index.embedder)
        )
    return sorted(matches, key=lambda match: -match.similarity)[:k]
