"""Integrated gradients: attribution along a path that takes features to 0.

The gradient at x is the effect of a small change of z; ablation takes z to 0. The mean gradient
over a path from z to 0, times z, is exactly the effect of the whole path (Sundararajan et al.
2017; midpoint rule). The usual path takes all features to 0 together and ends far from anything
the model has seen, which says little about ablating one feature. So the features of a site are
split into groups, and each group goes to 0 alone while the others stay: the smaller the groups,
the nearer a score is to the feature's own ablation, and the scores of a group still sum to the
effect of ablating the group.

Sites are integrated one after another, since on the path of one site the others' x would change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semascope.causal.attribution.forced_tokens import Remove, repeat
from semascope.causal.attribution.metrics import Metric, prepare
from semascope.causal.attribution.result import SiteAttribution
from semascope.causal.attribution.scores import account, features_part
from semascope.causal.attribution.watched_run import WatchedRun, watched_run
from semascope.causal.steering.units import output_site
from semascope.dictionary.types import Codes, Dictionary
from semascope.subject.model import Subject
from semascope.subject.types import Batch, Edits


@dataclass(frozen=True, slots=True, eq=False)
class IntegrationPath:
    """Paths that take the features of a run to 0."""

    subject: Subject
    batch: Batch
    metric: Metric
    run: WatchedRun
    steps: int
    groups: int
    chunk: int
    """For one prompt, points of the path in one batch."""
    edits: Edits

    def account(self, dictionary: Dictionary, codes: Codes) -> SiteAttribution:
        """Scores of one dictionary: each group's by its own mean gradient, the error's and the
        bias's by the mean over the groups."""
        real = self.run.real_at(output_site(dictionary))
        parts: list[SiteAttribution] = []
        mean = torch.zeros_like(self.run.gradients[output_site(dictionary)])  # (R, T, d)
        features_sum = mean.new_zeros(mean.shape[:2])  # (R, T)
        for group in range(self.groups):
            values = torch.where(codes.indices % self.groups == group, codes.values, 0.0)
            z = Codes(values, codes.indices)
            if not bool((values != 0).any()):
                gradient = self.run.gradients[output_site(dictionary)]
            else:
                gradient = self._gradient(dictionary, z)
                part = features_part(dictionary, z, self.run)  # (N, d)
                features_sum[real] += (part.to(mean) * gradient[real]).sum(-1)
                parts.append(account(dictionary, codes, self.run, gradient, z))
            mean += gradient / self.groups
        rest = account(dictionary, codes, self.run, mean)
        return _joined(parts, rest, features_sum.cpu().numpy())

    def _gradient(self, dictionary: Dictionary, z: Codes) -> Tensor:
        """(R, T, d_out) mean gradient while the features of ``z`` go to 0."""
        site, run = output_site(dictionary), self.run
        prompts, copies = len(self.batch.maps), len(self.metric.continuations)
        written = torch.zeros_like(run.gradients[site])  # (R, T, d)
        written[run.real_at(site)] = features_part(dictionary, z, run).to(written)
        written = written.view(prompts, 1, copies, *written.shape[1:])
        total = torch.zeros_like(written[:, 0])  # (P, copies, T, d)
        one = prepare(self.batch, self.metric)
        # Several prompts fill a batch by themselves; one prompt is run at several steps at once.
        abreast = min(max(1, self.chunk), self.steps) if prompts == 1 else 1
        midpoints = (torch.arange(self.steps) + 0.5) / self.steps
        for alphas in torch.split(midpoints, abreast):
            less = (1 - alphas).view(1, -1, 1, 1, 1).to(written.device)
            scaled = Remove((less * written).flatten(0, 2), self.edits.get(site))
            edits: Edits = {**self.edits, site: scaled}
            forced = prepare(repeat(self.batch, len(alphas)), self.metric)
            part = watched_run(self.subject, forced, [site], [site], self.metric, edits, one)
            steps = part.gradients[site].view(prompts, len(alphas), copies, *total.shape[2:])
            total = total + steps.sum(1)
        return total.flatten(0, 1) / self.steps


def _gains(
    parts: list[SiteAttribution], order: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any] | None:
    """The entries' gains in order, where the dictionary has any."""
    gains = [p.gain for p in parts if p.gain is not None]
    return np.concatenate(gains)[order] if gains else None


def _joined(
    parts: list[SiteAttribution], rest: SiteAttribution, features_sum: np.ndarray[Any, Any]
) -> SiteAttribution:
    """The entries of all groups, in the order of their tokens; the shares of ``rest``."""
    if not parts:
        return rest
    row = np.concatenate([p.row for p in parts])
    position = np.concatenate([p.position for p in parts])
    order = np.lexsort((position, row))
    return replace(
        rest,
        row=row[order],
        position=position[order],
        feature=np.concatenate([p.feature for p in parts])[order],
        activation=np.concatenate([p.activation for p in parts])[order],
        score=np.concatenate([p.score for p in parts])[order],
        gain=_gains(parts, order),
        total=(features_sum + rest.error + rest.bias).astype(np.float32),
    )
