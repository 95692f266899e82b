"""Attribution of a metric to every active feature at every token, in one forward and one backward.

The dictionary is spliced in with its error term, ``x = Σ z_f W_dec[f] + b + ε``, and all but z
is held fixed. As the splice gives x back, the model runs as it is, and by the chain rule

    ∂m/∂z_f = W_dec[f] · g,   g = ∂m/∂x,

so that one backward pass to x serves every feature of every dictionary (attribution
patching: Nanda 2023; with SAE features and error terms: Marks et al. 2024, §3). In phases:

1. *Run* the prompts and record x at every site; the graph begins at the first of them.
2. *Measure* the metric and take its gradient with respect to every recorded x at once.
3. *Encode* each x; for each active (token, feature) ``score = z · (W_dec[f] · g)``, signed.
4. *Account*: ε · g and b · g at each token; with the scores they sum to x · g.

With ``integrated=n``, g is the mean of the gradients at n points of a path along z
(``integrated_gradients``).

Attention sinks are left out (``subject.sinks``): no dictionary was trained on them.

A gradient at several sites is a total derivative: a feature's score includes its effect through
later features. It is a first-order estimate; ``ablation`` measures how good it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from semascope.causal.attribution.integrated_gradients import IntegrationPath
from semascope.causal.attribution.metrics import Metric
from semascope.causal.attribution.result import Attribution
from semascope.causal.attribution.scores import account
from semascope.causal.attribution.watched_run import WatchedRun, encode, run_for
from semascope.causal.steering.units import by_id, output_site
from semascope.dictionary.types import Dictionary
from semascope.errors import CausalError
from semascope.subject.model import Subject
from semascope.subject.types import Batch, Edits


def attribute(
    subject: Subject,
    batch: Batch,
    dictionaries: Iterable[Dictionary] | Mapping[str, Dictionary],
    metric: Metric,
    *,
    integrated: int = 1,
    groups: int = 8,
    edits: Edits | None = None,
    chunk: int = 4,
    run: WatchedRun | None = None,
) -> Attribution:
    """Attribute a metric to all active features of all dictionaries at all tokens.

    Args:
        subject: a ``Subject``.
        batch: prompts, padded on the right; ``encode([sample], answer="")`` for a conversation.
        dictionaries: whose features to attribute to, at any sites; at those of the vision side,
            a patch's score stands at the image token that it becomes.
        metric: one number per prompt.
        integrated: steps of integrated gradients; 1 takes the plain gradient at x.
        groups: number of paths to integrate along; each takes its share of a site's features to
            0 and leaves the others. 1 takes all of them to 0 together.
        edits: interventions under which the model runs; attribution is of the steered run.
        chunk: for one prompt, steps of the integration in one batch.
        run: result of phases 1 and 2, if it is known already (``pass_cache``).

    Raises:
        CausalError: no dictionaries, a site that does not hold one vector a token (or a patch for
            each image token), or a metric that does not depend on a site.
    """
    known = list(by_id(dictionaries).values())
    if not known:
        raise CausalError("There is nothing to attribute to: give at least one dictionary.")
    if integrated < 1:
        raise CausalError(f"integrated={integrated}: integrate over at least 1 step.")
    # Phases 1 and 2: run, measure, and take the gradients (`watched_run`)
    run = run or run_for(subject, batch, known, metric, edits or {})
    sites = []
    for dictionary in known:
        # Phase 3: encode
        codes = encode(dictionary, run)
        # Phases 3 and 4: score the features, account for error and bias (`scores.account`)
        if integrated == 1:
            sites.append(account(dictionary, codes, run, run.gradients[output_site(dictionary)]))
            continue
        path = IntegrationPath(
            subject, batch, metric, run, integrated, max(1, groups), chunk, edits or {}
        )
        sites.append(path.account(dictionary, codes))
    return Attribution(
        metric=metric.name,
        values=run.values.numpy(),
        sites=tuple(sites),
        maps=run.forced.batch.maps,
        copies=len(metric.continuations),
        steps=integrated,
    )
