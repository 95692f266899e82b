"""What attribution costs: all features at once, beside one plain pass and one feature at a time.

``python -m benchmarks.causal --json``. On the embedded model where it is there, else on a tiny one
of random weights (the record says which); the dictionary is drawn at random in the size asked for,
since weights do not matter to speed. Knows no corpus but drawn scenes.

The one-feature-at-a-time method is that of Zhang et al. 2024 (arXiv 2411.14982): for each feature
of the dictionary, active or not, two forward passes and a backward one. It is timed on a few
features and multiplied by the width: the record says on how many, and keeps both numbers. Beside
the seconds stands what the scores sum to: features, error and bias against x·g, at every token.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from semascope.causal.attribution.attribute import attribute
from semascope.causal.attribution.metrics import LogProb, prepare
from semascope.causal.attribution.result import Attribution
from semascope.causal.attribution.watched_run import watched_run
from semascope.causal.steering.controls import blank_sample
from semascope.causal.steering.edits import edits_for
from semascope.causal.steering.interventions import Intervention
from semascope.dictionary import CoderConfig, SparseCoder
from semascope.errors import SemascopeError
from semascope.subject.types import Batch


def main(
    subject: str = "sprite-llava", width: int = 4608, repeats: int = 5, features: int = 5
) -> dict[str, Any]:
    """Measure; the record of ``make bench``."""
    model = _subject(subject)
    sites = [s for s in model.sites() if s.startswith("resid_post.")]
    site = sites[len(sites) // 2]
    coder = SparseCoder(CoderConfig(d_in=model.d_model, width=width, k=32), site=site)
    batch = model.encode([blank_sample()], answer="", max_tokens=None)
    metric = LogProb(int(model.logits(batch)[0, -1].argmax()))
    plain = _seconds(
        lambda: watched_run(model, prepare(batch, metric), [site], [site], metric, {}), repeats
    )
    ours = _seconds(lambda: attribute(model, batch, [coder], metric), repeats)
    ten = _seconds(lambda: attribute(model, batch, [coder], metric, integrated=10), 1)
    each = [
        _seconds(partial(one_feature, model, batch, coder, metric, index), 1)
        for index in range(features)
    ]
    one = statistics.median(each)
    edit = edits_for([Intervention(features=((f"{site}/main", 3),), unit="absolute")], [coder])
    return {
        "subject": model.name,
        "site": site,
        "width": width,
        "tokens": len(batch.maps[0]),
        "seconds_forward_backward": plain,
        "seconds_attribute_all": ours,
        "cost_ratio": ours / plain,
        "seconds_attribute_integrated_10": ten,
        "seconds_one_feature_by_the_reference_method": one,
        "reference_method_measured_on_features": features,
        "seconds_all_features_by_the_reference_method": one * width,
        "seconds_all_features_by_the_reference_method_are": (
            f"extrapolated: the median of {features} features times {width}"
        ),
        "ratio_to_reference_method": one * width / ours,
        "seconds_forward": _seconds(lambda: _forward(model, batch, {}), repeats),
        "seconds_forward_steered": _seconds(lambda: _forward(model, batch, edit), repeats),
        **_sums(attribute(model, batch, [coder], metric), "gradient"),
        **_sums(attribute(model, batch, [coder], metric, integrated=10), "integrated_10"),
    }


def _sums(found: Attribution, name: str) -> dict[str, float]:
    """What features, error and bias sum to, beside x·g; the gap is relative to Σ|x·g|."""
    own = found.sites[0]
    return {
        f"sum_features_{name}": float(own.score.sum()),
        f"sum_error_{name}": float(own.error.sum()),
        f"sum_bias_{name}": float(own.bias.sum()),
        f"sum_x_dot_g_{name}": float(own.total.sum()),
        f"identity_gap_{name}": own.gap(),
    }


def one_feature(
    model: Any, batch: Batch, coder: SparseCoder, metric: LogProb, index: int = 0
) -> float:
    """The reference's work for one feature: clean forward, ablated forward, backward."""
    forced = prepare(batch, metric)

    def spliced(off: int | None) -> Callable[..., torch.Tensor]:
        def edit(x: torch.Tensor, _: Any) -> torch.Tensor:
            codes = coder.encode(x.flatten(0, 1))
            if off is not None:
                codes = codes._replace(values=codes.values * (codes.indices != off))
            kept.append(coder.decode(codes).view_as(x).requires_grad_(True))
            return kept[-1]

        return edit

    kept: list[torch.Tensor] = []
    model.logits(forced.batch, edits={coder.site: spliced(None)})
    logits = model.logits(forced.batch, edits={coder.site: spliced(index)})
    (grad,) = torch.autograd.grad(metric.measure(logits, forced.ends).sum(), [kept[1]])
    return float(((kept[0] - kept[1]).detach() * grad).sum())


def _forward(model: Any, batch: Batch, edits: Any) -> None:
    with torch.no_grad():
        model.logits(batch, edits=edits)


def _subject(name: str) -> Any:
    """The subject by name, or a tiny one where it is not installed."""
    from semascope.subject import Subject
    from semascope.subject.testing import tiny

    try:
        return tiny(name.removeprefix("tiny:")) if name.startswith("tiny:") else Subject.load(name)
    except SemascopeError:
        return tiny("llava")


def _seconds(work: Callable[[], object], repeats: int) -> float:
    """Median seconds of a call, after one that is not counted."""
    work()
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subject", default="sprite-llava", help="a name, or tiny:llava")
    parser.add_argument("--width", type=int, default=4608, help="features of the dictionary")
    parser.add_argument("--repeats", type=int, default=5, help="runs to take the median of")
    parser.add_argument("--features", type=int, default=5, help="timed one at a time")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    record = main(options.subject, options.width, options.repeats, options.features)
    if options.json:
        print(json.dumps(record))
    else:
        for key, value in record.items():
            print(f"{key:48} {value:.4g}" if isinstance(value, float) else f"{key:48} {value}")
