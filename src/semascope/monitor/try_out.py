"""Features on the user's own samples: one feature live, or two dictionaries side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from semascope.causal.attribution.feature_share import FeatureShare
from semascope.causal.attribution.result import SiteAttribution
from semascope.causal.steering.edits import chosen_codes
from semascope.causal.steering.interventions import FeatureId
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.causal.steering.units import output_site
from semascope.corpus.sample import Sample
from semascope.dictionary.types import Dictionary
from semascope.errors import CausalError, EvidenceError
from semascope.evidence.analysis.logit_lens import promoted
from semascope.monitor.conversation import Conversation, TokenTarget, token_target
from semascope.subject.readable import readable
from semascope.subject.types import TokenMap

_TOGETHER = 0.3
"""Least overlap of active tokens (IoU) for two features to be a pair."""
_PAIRED = 12
"""Strongest features of each dictionary that are compared for pairs."""


def feature_activations(
    steerable: SteerableModel, sample: Sample, feature: FeatureId
) -> tuple[NDArray[np.float32], TokenMap]:
    """(T,) activations of one feature on a sample, and the sample's token map.

    0 at tokens that no dictionary reads, as in the evidence: template tokens, the first token and
    attention sinks. Their activations are not comparable with the feature's maximum.

    Raises:
        CausalError: the feature's dictionary is not loaded.
    """
    key, index = feature
    if key not in steerable.dictionaries:
        raise CausalError(f"{key} is not loaded; there are {', '.join(steerable.dictionaries)}.")
    dictionary = steerable.dictionaries[key]
    batch = steerable.subject.encode([sample], max_tokens=None)
    with torch.no_grad():
        ran = steerable.subject.run(batch, [dictionary.site])[dictionary.site]
        x, read = readable(dictionary.site, ran, batch)  # (1, T, d), (1, T)
        lookup = torch.full((dictionary.width,), -1, dtype=torch.int64)
        lookup[index] = 0
        values = x.new_zeros(x.shape[1], dtype=torch.float32)  # (T,)
        values[read[0]] = chosen_codes(dictionary, x[read].float(), lookup, 1)[:, 0]
    return values.cpu().numpy().astype(np.float32), batch.maps[0]


def promoted_tokens(
    steerable: SteerableModel, feature: FeatureId, k: int = 10
) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """(token, logits) that one unit of a feature raises most, and lowers most, by the logit lens.

    Both empty where the dictionary is not loaded or does not write into the residual stream.
    """
    key, index = feature
    if key not in steerable.dictionaries:
        return [], []
    subject = steerable.subject
    try:
        lens = promoted(
            steerable.dictionaries[key], subject.unembedding(), np.array([index], np.int64), k
        )
    except EvidenceError:
        return [], []
    up = zip(lens.up[0].tolist(), lens.up_value[0].tolist(), strict=True)
    down = zip(lens.down[0].tolist(), lens.down_value[0].tolist(), strict=True)
    text = subject.encoder.text
    return [(text(i), v) for i, v in up], [(text(i), v) for i, v in down]


@dataclass(frozen=True, slots=True)
class DictionaryView:
    """A prompt through one dictionary; L0 and FVU are over the tokens that it reads."""

    key: str
    l0: float
    """Mean number of active features per token."""
    fvu: float | None
    """Fraction of variance unexplained on this prompt; None for a transcoder."""
    unexplained: float
    """Share of the attribution in the SAE error."""
    shares: tuple[FeatureShare, ...]
    """Strongest first."""
    target: TokenTarget
    """The attributed token."""
    value: float
    """Its log-probability, nats."""


@dataclass(frozen=True, slots=True)
class DictionaryComparisonView:
    """Two dictionaries on one prompt."""

    sides: tuple[DictionaryView, ...]
    pairs: tuple[tuple[FeatureId, FeatureId, float], ...]
    """Features of the two that fire at the same tokens, with their intersection over union."""

    @property
    def value(self) -> float:
        """Log-probability of the token, nats."""
        return self.sides[0].value


def view_one(
    conversation: Conversation, limit: int = 12, position: int | None = None
) -> DictionaryView:
    """One token through the only dictionary of the model; see ``conversation.token_target``."""
    (side,), _ = _sides(conversation, limit, position)
    return side


def view_both(
    conversation: Conversation, limit: int = 12, position: int | None = None
) -> DictionaryComparisonView:
    """Attribute one token to each of the model's two dictionaries.

    Args:
        conversation: of a model with two dictionaries.
        limit: features of each dictionary.
        position: the token to attribute; see ``conversation.token_target``.

    Raises:
        CausalError: there are not two dictionaries.
    """
    if len(conversation.steerable.dictionaries) != 2:
        raise CausalError("Name two different dictionaries to compare.")
    sides, sites = _sides(conversation, limit, position)
    one, other = (
        {s.id: set(site.position[site.feature == s.index].tolist()) for s in side.shares[:_PAIRED]}
        for side, site in zip(sides, sites, strict=True)
    )
    pairs = [(a, b, len(p & q) / len(p | q)) for a, p in one.items() for b, q in other.items()]
    matching = sorted((p for p in pairs if p[2] >= _TOGETHER), key=lambda p: -p[2])
    return DictionaryComparisonView(tuple(sides), tuple(matching[: 2 * min(limit, _PAIRED)]))


def _sides(
    conversation: Conversation, limit: int, position: int | None
) -> tuple[list[DictionaryView], list[SiteAttribution]]:
    """One token through each dictionary of the model, in their order."""
    steerable, target = conversation.steerable, token_target(conversation, position)
    attribution = steerable.attribute(conversation.batch, target, edits=conversation.edits)
    by_key = {site.key: site for site in attribution.sites}
    shares = attribution.features()
    sides = [
        _side(
            conversation,
            dictionary,
            by_key[key],
            tuple([s for s in shares if s.key == key][:limit]),
            (target, float(attribution.values[0])),
        )
        for key, dictionary in steerable.dictionaries.items()
    ]
    return sides, [by_key[key] for key in steerable.dictionaries]


def _side(
    conversation: Conversation,
    dictionary: Dictionary,
    site: SiteAttribution,
    shares: tuple[FeatureShare, ...],
    about: tuple[TokenTarget, float],
) -> DictionaryView:
    batch = conversation.whole.batch
    with torch.no_grad():
        ran = conversation.steerable.subject.run(
            batch, [dictionary.site], edits=conversation.edits
        )[dictionary.site]
        x, read = readable(dictionary.site, ran, batch)
        rows = x[read].float()  # (N, d)
        codes = dictionary.encode(rows)
        fvu = None
        if output_site(dictionary) == dictionary.site and len(rows) > 1:
            error = (rows - dictionary.decode(codes, rows).float()).pow(2).sum()
            fvu = float(error / (rows - rows.mean(0)).pow(2).sum().clamp_min(1e-12))
    l0 = float((codes.values != 0).sum(1).float().mean()) if len(rows) else 0.0
    return DictionaryView(site.key, l0, fvu, site.error_share(), shares, *about)
