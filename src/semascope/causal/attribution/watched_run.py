"""A forward pass that records the activations at some sites, and one backward pass to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from semascope.causal.attribution.forced_tokens import ForcedTokens, parting
from semascope.causal.attribution.metrics import Metric, measured, prepare
from semascope.causal.steering.units import output_site
from semascope.dictionary.types import Codes, Dictionary
from semascope.errors import CausalError
from semascope.subject.model import Subject
from semascope.subject.patches import VisionPatches, is_pictured
from semascope.subject.prefix import Begin
from semascope.subject.readable import without_sinks
from semascope.subject.types import Batch, Edit, EditContext, Edits


def run_for(
    subject: Subject, batch: Batch, known: Sequence[Dictionary], metric: Metric, edits: Edits
) -> WatchedRun:
    """Phases 1 and 2 at every site that the dictionaries read or write."""
    sites, targets = sites_of(known)
    return watched_run(subject, prepare(batch, metric), sites, targets, metric, edits)


def sites_of(known: Iterable[Dictionary]) -> tuple[list[str], list[str]]:
    """All sites that dictionaries read or write, and those that they write."""
    dictionaries = list(known)
    targets = {output_site(d) for d in dictionaries}
    return sorted({d.site for d in dictionaries} | targets), sorted(targets)


@dataclass(slots=True, eq=False)
class WatchedRun:
    """A forward pass with the activations and gradients at the watched sites."""

    forced: ForcedTokens
    values: Tensor
    """(P,) the metric of each prompt."""
    seen: dict[str, Tensor]
    """(R, T, d) activations at each site."""
    gradients: dict[str, Tensor]
    """(R, T, d) ∂ Σ values / ∂ x."""
    counted: dict[str, Tensor] = field(default_factory=dict)
    """(R, T) bool by site, if not every real token counts: only image tokens at sites of the vision
    side, and no attention sinks anywhere (``subject.sinks``)."""

    @property
    def real(self) -> Tensor:
        """(R, T) bool: not padding."""
        return self.forced.batch.mask

    def real_at(self, site: str) -> Tensor:
        """(R, T) bool: tokens that count at a site."""
        return self.counted.get(site, self.real)


@dataclass(slots=True, eq=False)
class Watch:
    """An edit that changes nothing, keeps x in the graph and records it."""

    before: Edit | None = None
    """Another edit at this site, which runs first."""
    seen: Tensor | None = field(default=None, init=False)

    def __call__(self, x: Tensor, context: EditContext) -> Tensor:
        if self.before is not None:
            x = self.before(x, context)
        if torch.is_grad_enabled() and not x.requires_grad:
            # Nothing before the first site needs a gradient, so the graph begins here.
            x = x.detach().requires_grad_(True)
        self.seen = x
        return x


def watched_run(
    subject: Subject,
    forced: ForcedTokens,
    sites: Sequence[str],
    targets: Sequence[str],
    metric: Metric,
    edits: Edits,
    one: ForcedTokens | None = None,
    begin: Begin | None = None,
) -> WatchedRun:
    """Run with watches at ``sites``, measure, and take the gradients at all ``targets`` at once.

    ``one`` is the prompt of which ``forced`` holds copies that differ only by the edits. With
    ``begin`` the pass resumes mid-stack (``Subject.logits``).

    Raises:
        CausalError: the metric does not depend on a target, or nothing passed a site.
    """
    watches = {site: Watch(edits.get(site)) for site in sites}
    changes: Edits = {**edits, **watches}
    parts = "" if one is None else parting(subject, one, changes)
    fork = (parts, len(forced.ends)) if parts else None
    with torch.enable_grad():
        # Phase 1: run, recording x at every site
        prompts = one if one is not None and parts else forced
        values = measured(subject, prompts, metric, changes, fork, begin)  # (P,)
        seen = {site: _passed(site, watch.seen) for site, watch in watches.items()}
        if not values.requires_grad:
            raise CausalError(
                f"The metric {metric.name} does not depend on {', '.join(targets)}: the model "
                "reads the picture from an earlier site."
            )
        # Phase 2: the gradients of the metric at all targets, in one backward pass
        grads = torch.autograd.grad(values.sum(), [seen[t] for t in targets], allow_unused=True)
    return by_token(forced, values, seen, dict(zip(targets, grads, strict=True)), metric)


def by_token(
    forced: ForcedTokens,
    values: Tensor,
    seen: Mapping[str, Tensor],
    grads: Mapping[str, Tensor | None],
    metric: Metric,
) -> WatchedRun:
    """Activations and gradients by token, without attention sinks."""
    run = WatchedRun(forced=forced, values=values.detach().float().cpu(), seen={}, gradients={})
    for site, x in seen.items():
        run.seen[site], counted = _per_token(site, x.detach(), forced)
        if counted is not None:
            run.counted[site] = counted
    _leave_out_sinks(run)
    for site, grad in grads.items():
        if grad is None:
            raise CausalError(f"The metric {metric.name} does not depend on {site}.")
        run.gradients[site] = _per_token(site, grad, forced)[0].float()
    return run


def _leave_out_sinks(run: WatchedRun) -> None:
    """Leave out at every site what is a sink at one: a transcoder reads one and writes another."""
    for pictured in (True, False):
        sites = [site for site in run.seen if is_pictured(site) == pictured]
        if sites:
            tokens = without_sinks([run.seen[site] for site in sites], run.real_at(sites[0]))
            run.counted |= {site: tokens.to(run.real_at(site).device) for site in sites}


def _passed(site: str, x: Tensor | None) -> Tensor:
    """The recorded activations. CausalError if the site did not run."""
    if x is None:
        raise CausalError(
            f"Nothing passed {site} on these prompts: a site of the vision side needs a picture."
        )
    return x


def _per_token(site: str, x: Tensor, forced: ForcedTokens) -> tuple[Tensor, Tensor | None]:
    """(R, T, d) by token, and (R, T) bool the tokens that count, or None for all real ones."""
    shape = tuple(forced.batch.inputs["input_ids"].shape)
    if is_pictured(site):
        layout = VisionPatches.of(site, x, forced.batch.maps)
        return layout.spread(x, shape[1]), layout.mask(shape[1])
    if tuple(x.shape[:2]) != shape:
        raise CausalError(
            f"{site} does not hold one vector for each of the {shape} tokens, so what happens "
            "there cannot be attributed by token; use another site of the language model."
        )
    return x, None


def encode(dictionary: Dictionary, run: WatchedRun) -> Codes:
    """(N, k) codes of the tokens that count at the dictionary's site, in order."""
    x = run.seen[dictionary.site][run.real_at(dictionary.site)]  # (N, d_in)
    return dictionary.encode(x.float())
