"""Attribution of a metric to every active feature at every token, in one forward and one backward.

The dictionary is spliced in with its error term, ``x = Σ z_f W_dec[f] + b + ε``, and all but z
is held fixed. As the splice gives x back, the model runs as it is, and by the chain rule

    ∂m/∂z_f = W_dec[f] · g,   g = ∂m/∂x,

so that one backward pass to x serves every feature of every dictionary (attribution
patching: Nanda 2023; with SAE features and error terms: Marks et al. 2024, §3). In phases:

1. *Run* the prompts with a watch at every site; the graph begins at the first of them.
2. *Measure* the metric and take its gradient with respect to every watched x at once.
3. *Encode* each x; for each active (token, feature) ``score = z · (W_dec[f] · g)``, signed.
4. *Account*: ε · g and b · g at each token; with the scores they sum to x · g.

With ``integrated=n``, g is the mean of the gradients at n points of the way along z, from all
features of the site at 0 to z (integrated gradients: Sundararajan et al. 2017; midpoint rule),
one site after another, since on the way of one site the others' x would change.

A gradient taken at several sites is a total one: a feature's score holds what it does through
later features too. It is a first-order estimate; ``ablation`` tells how far it is to be believed.

Knows tensors, hooks and metrics; nothing of words, pages or files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semascope.causal.forcing import Forced, Remove, repeat
from semascope.causal.metrics import Metric, prepare
from semascope.causal.patches import Patches, is_pictured
from semascope.causal.record import Attribution, SiteAttribution
from semascope.causal.units import by_id, dictionary_id, output_site
from semascope.dictionary.types import Codes, Dictionary
from semascope.errors import CausalError
from semascope.subject.types import Batch, Edit, EditContext, Edits

_GATHER = 1 << 22
"""Numbers of W_dec that phase 3 holds at a time (16 MB in float32)."""


def attribute(
    subject: Any,
    batch: Batch,
    dictionaries: Iterable[Dictionary] | Mapping[str, Dictionary],
    metric: Metric,
    *,
    integrated: int = 1,
    edits: Edits | None = None,
    chunk: int = 4,
) -> Attribution:
    """Attribute a metric to all active features of all dictionaries at all tokens.

    Args:
        subject: a ``Subject``.
        batch: prompts, padded on the right; ``encode([sample], answer="")`` for a conversation.
        dictionaries: whose features are asked about, at any sites; at those of the vision side
            a patch's share is told at the image token that it becomes.
        metric: one number per prompt.
        integrated: steps of integrated gradients; 1 takes the plain gradient at x.
        edits: interventions under which the model runs; attribution is of the steered run.
        chunk: for one prompt, how many steps of the integration run as one batch.

    Raises:
        CausalError: no dictionaries, a site that does not hold one vector a token (or a patch for
            each image token), or a metric that does not depend on a site.
    """
    known = list(by_id(dictionaries).values())
    if not known:
        raise CausalError("There is nothing to attribute to: give at least one dictionary.")
    if integrated < 1:
        raise CausalError(f"integrated={integrated}: integrate over at least 1 step.")
    options = Integration(integrated, max(1, chunk), edits or {})
    run = run_for(subject, batch, known, metric, options.edits)
    sites = []
    for dictionary in known:
        codes = encode(dictionary, run)
        gradient = run.gradients[output_site(dictionary)]
        if integrated > 1:
            gradient = integrate(subject, batch, dictionary, metric, codes, run, options)
        sites.append(account(dictionary, codes, run, gradient))
    return Attribution(
        metric=metric.name,
        values=run.values.numpy(),
        sites=tuple(sites),
        maps=run.forced.batch.maps,
        copies=len(metric.continuations),
        steps=integrated,
    )


def run_for(
    subject: Any, batch: Batch, known: Sequence[Dictionary], metric: Metric, edits: Edits
) -> Run:
    """Phases 1 and 2 at every site that the dictionaries read or write."""
    targets = sorted({output_site(d) for d in known})
    sites = sorted({d.site for d in known} | set(targets))
    return watched_run(subject, prepare(batch, metric), sites, targets, metric, edits)


@dataclass(slots=True, eq=False)
class Run:
    """A forward pass with what passed the watched sites."""

    forced: Forced
    values: Tensor
    """(P,) the metric."""
    seen: dict[str, Tensor]
    """(R, T, d) what stood at each site."""
    gradients: dict[str, Tensor]
    """(R, T, d) ∂ Σ values / ∂ x."""
    there: dict[str, Tensor] = field(default_factory=dict)
    """(R, T) bool, for sites of the vision side: image tokens, the only ones that stand there."""

    @property
    def real(self) -> Tensor:
        """(R, T) bool: not padding."""
        return self.forced.batch.mask

    def real_at(self, site: str) -> Tensor:
        """(R, T) bool: tokens that stand at a site."""
        return self.there.get(site, self.real)


@dataclass(slots=True, eq=False)
class Watch:
    """An edit that changes nothing, keeps x in the graph, and remembers it."""

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
    subject: Any,
    forced: Forced,
    sites: Sequence[str],
    targets: Sequence[str],
    metric: Metric,
    edits: Edits,
) -> Run:
    """Run with watches at ``sites``, measure, and go back once to all ``targets``."""
    watches = {site: Watch(edits.get(site)) for site in sites}
    with torch.enable_grad():
        logits: Tensor = subject.logits(forced.batch, edits={**edits, **watches})
        values = metric.measure(logits, forced.ends)  # (P,)
        seen = {site: _passed(site, watch.seen) for site, watch in watches.items()}
        if not values.requires_grad:
            raise CausalError(
                f"The metric {metric.name} does not depend on {', '.join(targets)}: the model "
                "takes what it reads of a picture from before there."
            )
        grads = torch.autograd.grad(values.sum(), [seen[t] for t in targets], allow_unused=True)
    run = Run(forced=forced, values=values.detach().float().cpu(), seen={}, gradients={})
    for site, x in seen.items():
        run.seen[site], there = _per_token(site, x.detach(), forced)
        if there is not None:
            run.there[site] = there
    for site, grad in zip(targets, grads, strict=True):
        if grad is None:
            raise CausalError(f"The metric {metric.name} does not depend on {site}.")
        run.gradients[site] = _per_token(site, grad, forced)[0].float()
    return run


def _passed(site: str, x: Tensor | None) -> Tensor:
    """What a watch saw, if its site ran at all."""
    if x is None:
        raise CausalError(
            f"Nothing passed {site} on these prompts: a site of the vision side needs a picture."
        )
    return x


def _per_token(site: str, x: Tensor, forced: Forced) -> tuple[Tensor, Tensor | None]:
    """(R, T, d) by token, and (R, T) bool which tokens stand there if not all real ones do."""
    shape = tuple(forced.batch.inputs["input_ids"].shape)
    if is_pictured(site):
        layout = Patches.of(site, x, forced.batch.maps)
        return layout.spread(x, shape[1]), layout.mask(shape[1])
    if tuple(x.shape[:2]) != shape:
        raise CausalError(
            f"{site} does not hold one vector for each of the {shape} tokens, so what happens "
            "there cannot be told apart by token; use another site of the language model."
        )
    return x, None


def encode(dictionary: Dictionary, run: Run) -> Codes:
    """Codes of the tokens that stand at its site, in the order of their mask: (N, k)."""
    x = run.seen[dictionary.site][run.real_at(dictionary.site)]  # (N, d_in)
    return dictionary.encode(x.float())


def reconstruct(dictionary: Dictionary, codes: Codes, x: Tensor) -> Tensor:
    """(N, d_out) x̂; a skip transcoder's decoder reads its input too."""
    if getattr(dictionary, "W_skip", None) is not None:
        return dictionary.decode(codes, x).float()  # type: ignore[call-arg]
    return dictionary.decode(codes).float()


def account(dictionary: Dictionary, codes: Codes, run: Run, gradient: Tensor) -> SiteAttribution:
    """Phases 3 and 4 for one dictionary."""
    real = run.real_at(output_site(dictionary))
    g = gradient[real]  # (N, d_out)
    y = run.seen[output_site(dictionary)][real].float()  # (N, d_out)
    x = run.seen[dictionary.site][real].float()  # (N, d_in)
    silent = Codes(torch.zeros_like(codes.values), codes.indices)
    error = y - reconstruct(dictionary, codes, x).to(y.device)  # (N, d_out)
    base = reconstruct(dictionary, silent, x).to(y.device)  # (N, d_out): what no feature says
    slopes = directional(dictionary, codes.indices.to(g.device), g)  # (N, k)
    values = codes.values.to(g.device).float()
    token, slot = (values != 0).nonzero(as_tuple=True)  # (E,)
    rows, positions = real.nonzero(as_tuple=True)  # (N,)
    return SiteAttribution(
        key=dictionary_id(dictionary),
        row=rows[token].cpu().numpy().astype(np.int32),
        position=positions[token].cpu().numpy().astype(np.int32),
        feature=codes.indices.to(g.device)[token, slot].cpu().numpy(),
        activation=values[token, slot].cpu().numpy(),
        score=(values * slopes)[token, slot].cpu().numpy(),
        error=_spread(error, g, real),
        bias=_spread(base, g, real),
        total=_spread(y, g, real),
    )


def directional(dictionary: Dictionary, indices: Tensor, g: Tensor) -> Tensor:
    """(N, k) W_dec[indices] · g, never dense in the width.

    Args:
        indices: (N, k) features.
        g: (N, d_out) one gradient a token.
    """
    if 4 * indices.shape[1] >= dictionary.width:
        # Most features are active (neurons): one product over all beats gathering rows.
        every = dictionary.directions(torch.arange(dictionary.width, device=indices.device))
        return (g @ every.to(g.device, g.dtype).T).gather(1, indices)
    step = max(1, _GATHER // max(1, indices.shape[1] * g.shape[1]))
    parts = [
        torch.einsum(
            "nkd,nd->nk",
            dictionary.directions(indices[i : i + step].flatten())
            .to(g.device, g.dtype)
            .view(-1, indices.shape[1], g.shape[1]),
            g[i : i + step],
        )
        for i in range(0, len(g), step)
    ]
    return torch.cat(parts) if parts else g.new_zeros(indices.shape)


def _spread(part: Tensor, g: Tensor, real: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(R, T) part · g at real tokens, 0 at padding."""
    spread = g.new_zeros(real.shape)
    spread[real] = (part * g).sum(-1)
    return spread.cpu().numpy().astype(np.float32)


def integrate(
    subject: Any,
    batch: Batch,
    dictionary: Dictionary,
    metric: Metric,
    codes: Codes,
    run: Run,
    options: Integration,
) -> Tensor:
    """(R, T, d_out) mean gradient along z, all features of this site scaled together."""
    site = output_site(dictionary)
    prompts, copies = len(batch.maps), len(metric.continuations)
    spoken = torch.zeros_like(run.gradients[site])  # (R, T, d)
    spoken[run.real_at(site)] = features_part(dictionary, codes, run).to(spoken)
    spoken = spoken.view(prompts, 1, copies, *spoken.shape[1:])
    total = torch.zeros_like(spoken[:, 0])  # (P, copies, T, d)
    # Several prompts fill a batch by themselves; one prompt is run at several steps at once.
    group = min(options.chunk, options.steps) if prompts == 1 else 1
    midpoints = (torch.arange(options.steps) + 0.5) / options.steps
    for alphas in torch.split(midpoints, group):
        less = (1 - alphas).view(1, -1, 1, 1, 1).to(spoken.device)
        scaled = Remove((less * spoken).flatten(0, 2), options.edits.get(site))
        forced = prepare(repeat(batch, len(alphas)), metric)
        part = watched_run(subject, forced, [site], [site], metric, {**options.edits, site: scaled})
        own = part.gradients[site].view(prompts, len(alphas), copies, *total.shape[2:])
        total = total + own.sum(1)
    return total.flatten(0, 1) / options.steps


def features_part(dictionary: Dictionary, codes: Codes, run: Run) -> Tensor:
    """(N, d_out) Σ z W_dec: the reconstruction less what it is without any feature."""
    x = run.seen[dictionary.site][run.real_at(dictionary.site)].float()
    silent = Codes(torch.zeros_like(codes.values), codes.indices)
    return reconstruct(dictionary, codes, x) - reconstruct(dictionary, silent, x)


@dataclass(frozen=True, slots=True)
class Integration:
    """How gradients are integrated."""

    steps: int
    chunk: int
    edits: Edits
