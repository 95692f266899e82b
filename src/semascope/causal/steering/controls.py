"""Controls of steering: random features matched in density and norm, a blank picture, usual places.

Matched random features under the same intervention show what any steering of that size does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from semascope.causal.steering.interventions import FeatureId, Intervention, Region, Where
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.causal.steering.units import Statistics, statistic
from semascope.corpus.sample import Sample, Turn
from semascope.dictionary.types import Dictionary
from semascope.errors import CausalError
from semascope.subject.model import Subject
from semascope.subject.types import Kind, TokenMap

Object = tuple[FeatureId | tuple[FeatureId, ...], str]
"""A feature, or several of one concept with the best first, and the concept."""


QUESTION = "What is in the picture?"


def usual_wheres(subject: Subject, sample: Sample) -> tuple[Where, ...]:
    """All image tokens, a block of 3 × 3 of them, the last prompt token, the answer, everything."""
    token_map = subject.encode([sample], answer="", max_tokens=None).maps[0]
    block = middle_block(token_map)
    return (
        Where(kinds=("image",)),
        *([Where(region=block)] if block is not None else []),
        Where(positions=(-1,)),
        Where(generated=True),
        Where(),
    )


def middle_block(token_map: TokenMap, side: int = 3) -> Region | None:
    """The region of ``side`` × ``side`` image tokens around the picture's middle.

    None if the places of image tokens are unknown.
    """
    if token_map.geometry != "known" or not token_map.sizes:
        return None
    first_picture = (token_map.kinds == Kind.IMAGE) & (token_map.image == 0)
    rects = token_map.rects[first_picture]
    rects = rects[np.isfinite(rects).all(1)]
    if not len(rects):
        return None
    width, height = token_map.sizes[0]
    centres = np.stack([rects[:, 0] + rects[:, 2], rects[:, 1] + rects[:, 3]], 1) / 2
    middle = rects[np.abs(centres - [width / 2, height / 2]).sum(1).argmin()]
    x, y = (middle[0] + middle[2]) / 2, (middle[1] + middle[3]) / 2
    w, h = (middle[2] - middle[0]) * side / 2, (middle[3] - middle[1]) * side / 2
    return Region(
        left=max(0.0, float(x - w)),
        top=max(0.0, float(y - h)),
        right=min(float(width), float(x + w)),
        bottom=min(float(height), float(y + h)),
    )


def blank_sample(blank: Image.Image | None = None, question: str = QUESTION) -> Sample:
    """An empty picture with a question."""
    picture = blank or Image.new("RGB", (128, 128), (214, 214, 214))
    return Sample(id="blank", turns=(Turn("user", question, images=1),), images=(picture,))


def members(features: FeatureId | tuple[FeatureId, ...]) -> tuple[FeatureId, ...]:
    """The features of one concept, as a tuple."""
    if isinstance(features[0], str):
        return (features,)  # a pair (dictionary, index)
    return features


def random_features(
    steerable: SteerableModel, features: Sequence[FeatureId], seed: int
) -> tuple[FeatureId, ...]:
    """As many random features, each matched in density and direction norm.

    Raises:
        CausalError: there are no statistics, or a feature has no match.
    """
    if steerable.statistics is None:
        raise CausalError("Random controls need statistics of the dictionary: gather evidence.")
    matches = _matches(steerable, features, seed, skip_unmatched=False)
    return tuple(matches[feature] for feature in features)


def as_controls(
    steerable: SteerableModel, interventions: Sequence[Intervention], seed: int
) -> list[Intervention]:
    """The same interventions on matched random features. CausalError where one has no match."""
    features = _features_of(interventions)
    matches = dict(zip(features, random_features(steerable, features, seed), strict=True))
    return [as_control(one, [matches[f] for f in one.features]) for one in interventions]


def controls(
    steerable: SteerableModel, interventions: Sequence[Intervention], seed: int = 0
) -> tuple[list[Intervention], list[str]]:
    """As ``as_controls``, but without the features that have no match: notes say how many.

    A feature that several interventions name gets one control, so that they stack alike. Features
    that never fired match nothing; borrowed directions have no statistics and are left out.
    """
    features = _features_of(interventions)
    loaded = [feature for feature in features if feature[0] in steerable.dictionaries]
    matches = _matches(steerable, loaded, seed, skip_unmatched=True, avoid=features)
    swapped = [
        as_control(one, others)
        for one in interventions
        if (others := [matches[f] for f in one.features if f in matches])
    ]
    unmatched = len(loaded) - len(matches)
    notes = [
        f"{unmatched} of {len(features)} features have no match in density and norm; the control "
        "leaves them out."
    ]
    return swapped, notes if unmatched else []


def _features_of(interventions: Sequence[Intervention]) -> list[FeatureId]:
    """Every feature that interventions name, once."""
    return list(dict.fromkeys(feature for one in interventions for feature in one.features))


def _matches(
    steerable: SteerableModel,
    features: Sequence[FeatureId],
    seed: int,
    *,
    skip_unmatched: bool,
    avoid: Sequence[FeatureId] = (),
) -> dict[FeatureId, FeatureId]:
    """A matched random feature for each; none is drawn twice, none is one of these."""
    norms: dict[str, NDArray[np.float64]] = {}
    matches: dict[FeatureId, FeatureId] = {}
    for key, index in features:
        dictionary = steerable.dictionary(key)
        if key not in norms:
            norms[key] = direction_norms(dictionary)
        taken = [i for k, i in (*features, *avoid, *matches.values()) if k == key]
        try:
            (other,) = matched_controls(
                dictionary, key, index, steerable.statistics or {},
                count=1, seed=seed, avoid=taken, norms=norms[key],
            )  # fmt: skip
        except CausalError:
            if skip_unmatched:
                continue
            raise
        matches[key, index] = (key, other)
    return matches


def matched_controls(
    dictionary: Dictionary,
    key: str,
    index: int,
    statistics: Statistics,
    *,
    count: int = 5,
    seed: int = 0,
    avoid: Sequence[int] = (),
    norms: NDArray[np.float64] | None = None,
) -> list[int]:
    """Random features of like density and direction norm.

    Drawn among the nearest 5 % (at least 20) by |log density ratio| + |log norm ratio|.
    ``norms`` is ``direction_norms(dictionary)``, to compute it once for many features.

    Raises:
        CausalError: the feature never fired, or too few others ever did.
    """
    density = np.asarray(statistic(statistics, key, "density"), dtype=np.float64)
    norms = direction_norms(dictionary) if norms is None else norms
    alive = np.flatnonzero((density > 0) & (norms > 0))
    alive = alive[~np.isin(alive, [index, *avoid])]
    if len(alive) < count:
        raise CausalError(f"{key} has {len(alive)} other living features; {count} were asked for.")
    if density[index] <= 0:
        raise CausalError(f"FeatureId {key}/{index} never fired, so nothing matches its density.")
    distance = np.abs(np.log(density[alive] / density[index]))
    distance += np.abs(np.log(norms[alive] / norms[index]))
    pool = alive[np.argsort(distance, kind="stable")[: max(20, count, len(alive) // 20)]]
    drawn = np.random.default_rng([seed, index]).choice(pool, count, replace=False)
    return [int(i) for i in drawn]


def direction_norms(dictionary: Dictionary) -> NDArray[np.float64]:
    """(width,) norm of every direction, a slice at a time."""
    parts = [
        dictionary.directions(torch.arange(i, min(i + 4096, dictionary.width))).float().norm(dim=1)
        for i in range(0, dictionary.width, 4096)
    ]
    return torch.cat(parts).cpu().numpy().astype(np.float64)


def as_control(intervention: Intervention, features: Sequence[tuple[str, int]]) -> Intervention:
    """The same intervention on other features."""
    name = f"control of {intervention.label}"
    return intervention.model_copy(update={"features": tuple(features), "name": name})
