"""Recorded figures: a change of a random stream or a formula would change every report."""

import numpy as np
import pytest

from semascope import statistics

RNG = np.random.default_rng(7)
A = RNG.random(23)
B = A * 0.5 + RNG.random(23)
TRUTH = RNG.random(23) < 0.4
WEIGHTS = RNG.random(int(TRUTH.sum()))
SAMPLE = np.repeat(np.arange(8), 3)[:23]
RATINGS = np.round(A * 5)


def numbers(figure: statistics.Figure) -> tuple[float, ...]:
    return (figure.value, *figure.interval)


def test_bootstrap_figures_stay_the_same_to_the_digit() -> None:
    positive, negative = RATINGS[TRUTH], RATINGS[~TRUTH]
    found = {
        "mean": numbers(statistics.mean(A.tolist(), seed=3)),
        "mean_interval": numbers(statistics.mean_interval(A, 3)),
        "auroc": numbers(statistics.auroc_interval(positive, negative, None, 0)),
        "weighted": numbers(statistics.auroc_interval(positive, negative, WEIGHTS, 3)),
        "precision": numbers(statistics.average_precision_interval(RATINGS, TRUTH, 3)),
        "pearson": numbers(statistics.pearson_interval(A, B)),
        "by sample": numbers(statistics.pearson_interval(A, B, SAMPLE, 3)),
    }
    recorded = {
        "mean": (0.5441404974908085, 0.42578153827572734, 0.6553903211976033),
        "mean_interval": (0.5441404974908085, 0.42465743602312717, 0.6428863929856213),
        "auroc": (0.4769230769230769, 0.2153846153846154, 0.7307692307692307),
        "weighted": (0.5555770673264749, 0.2906287370712724, 0.8225302820864904),
        "precision": (0.44611092232575605, 0.34422599139990445, 0.7232762406675449),
        "pearson": (0.24041537621144696, -0.07198568948597035, 0.5671788833111706),
        "by sample": (0.24041537621144696, -0.009034953145528834, 0.40011949349257936),
    }
    assert found.keys() == recorded.keys()
    for name, figure in recorded.items():
        assert found[name] == pytest.approx(figure, abs=1e-12), name


def test_a_statistic_without_a_value_in_most_resamples_has_no_interval() -> None:
    low, high = statistics.bootstrap(lambda rows: float(A[rows].mean()), len(A), seed=3)
    assert low < A.mean() < high
    recorded = statistics.mean(A.tolist(), seed=3)
    assert (low, high) == pytest.approx(recorded.interval, abs=0.03)
    nothing = statistics.bootstrap(lambda rows: np.nan if rows[0] > 3 else 1.0, len(A))
    assert np.isnan(nothing).all()


def test_there_is_a_correlation_only_of_what_varies() -> None:
    """Without: nothing measured is reported as 0, or as NaN."""
    rising = np.arange(5.0)
    assert statistics.correlation(rising, -rising) == pytest.approx(-1.0)
    assert statistics.correlation(A, B) == pytest.approx(statistics.pearson(A, B))
    assert statistics.correlation(rising, np.ones(5)) is None
    assert statistics.correlation(rising[:2], rising[:2]) is None
    with pytest.raises(ValueError, match="finite"):
        statistics.correlation(rising, np.full(5, np.nan))
    with pytest.raises(ValueError, match="finite"):
        statistics.correlation(rising, rising[:4])


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775327998628892),
        (10, 10, 0.7224672001371107, 1.0),
        (3, 10, 0.10779126740630099, 0.6032218525388546),
        (37, 200, 0.13730192800616042, 0.2445706276115175),
    ],
)
def test_a_share_has_wilsons_interval(successes: int, n: int, low: float, high: float) -> None:
    figure = statistics.share(successes, n)
    assert numbers(figure) == pytest.approx((successes / n, low, high), abs=1e-12)
    assert figure.n == n
    assert statistics.share(0, 0).as_json() == {"value": None, "low": None, "high": None, "n": 0}
