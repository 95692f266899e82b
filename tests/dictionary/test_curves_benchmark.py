"""The comparison at equal L0: between our points, and what our nearest point decides beyond."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import pytest
from benchmarks import dictionary_curves as bench


def row(library: str, l0: float, fvu: float) -> dict[str, Any]:
    """A point of a curve."""
    return {"library": library, "architecture": "relu", "l0": l0, "fvu": fvu}


OURS = [row("semascope", 40, 0.1), row("semascope", 10, 0.4)]


@pytest.mark.parametrize(
    ("l0", "fvu", "at", "own", "ratio"),
    [
        (20, 0.4, 20, 0.2, 0.5),  # half-way in log L0: the geometric mean
        (40.1, 0.2, 40, 0.1, 0.5),  # as good as equal
        (800, 0.2, 40, 0.1, 0.5),  # twenty times as many latents, and still worse
        (800, 0.05, 40, 0.1, None),  # who knows
        (5, 0.2, 10, 0.4, 2.0),  # fewer latents, and better all the same
        (5, 0.8, 10, 0.4, None),
    ],
)
def test_a_peer_s_point_is_judged_only_where_ours_can_tell(
    l0: float, fvu: float, at: float, own: float, ratio: float | None
) -> None:
    """A comparison that favours us by leaving L0 out would be no comparison."""
    (found,) = bench.at_equal_l0([*OURS, row("peer", l0, fvu)])
    assert found["our L0"] == pytest.approx(at)
    assert found["our FVU"] == pytest.approx(own)
    assert found["ratio"] == (None if ratio is None else pytest.approx(ratio))


def test_what_has_no_curve_of_ours_is_not_compared() -> None:
    """One point is no curve, and we are not our own peer."""
    assert not bench.at_equal_l0([OURS[0], row("peer", 20, 0.4)])
    assert not bench.at_equal_l0(OURS)


def test_penalties_lead_those_that_do_not_count() -> None:
    """JumpReLU's jobs carry both, as libraries lead it by one or the other."""
    options: Namespace = bench.parse("--architectures batchtopk jumprelu gated".split())
    made = bench.jobs(options, 8)
    assert [job["penalty"] for job in made] == [1.0] * 3 + [0.3, 1.0, 3.0] * 2
    assert [job["k"] for job in made] == [16, 32, 64] * 3
