"""Which positions a ``Where`` means."""

from dataclasses import replace

import numpy as np
import pytest

from semascope.causal import Region, Where
from semascope.causal.steering.token_masks import select
from semascope.errors import CausalError
from semascope.subject.types import Kind


def chosen(where, token_map, total=12):
    return np.flatnonzero(select(where, token_map, total)).tolist()


@pytest.mark.parametrize(
    ("where", "positions"),
    [
        (Where(), list(range(12))),
        (Where(generated=True), [10, 11]),
        (Where(generated=False), list(range(10))),
        (Where(kinds=("image",)), [1, 2, 3, 4]),
        (Where(kinds=("text",)), [5, 6, 7, 8, 10, 11]),
        (Where(roles=("assistant",)), [9, 10, 11]),
        (Where(roles=("assistant",), generated=False), [9]),
        (Where(text="red c"), [6, 7]),
        (Where(text="a"), [5, 7, 9]),
        (Where(positions=(0, -1, 11)), [0, 9, 11]),
        (Where(positions=(3, 7), kinds=("text",)), [7]),
        (Where(region=Region(left=0, top=0, right=20, bottom=20)), [1, 3]),
        (Where(region=Region(left=22, top=12, right=25, bottom=15)), [4]),
        (Where(region=Region(left=0, top=0, right=22, bottom=10)), [1]),
    ],
)
def test_positions(where, positions, token_map):
    assert chosen(where, token_map) == positions


def test_padding_is_never_chosen_and_positions_count_from_the_first_real_token(token_map):
    """A left-padded row must be steered at the same words as the row alone."""
    kinds = token_map.kinds.copy()
    kinds[:2] = Kind.PAD
    padded = replace(token_map, kinds=kinds)
    assert chosen(Where(), padded) == list(range(2, 12))
    assert chosen(Where(positions=(0, -1, 8, 9)), padded) == [2, 9, 10, 11]


@pytest.mark.parametrize(
    ("where", "says"),
    [
        (Where(text="blue"), "'blue' is not in this prompt"),
        (Where(text=""), "text is empty"),
        (Where(positions=(-11,)), "Position -11"),
        (Where(region=Region(left=0, top=0, right=41, bottom=9)), "40 × 20"),
        (Where(region=Region(left=0, top=0, right=4, bottom=9, image=1)), "no picture 1"),
    ],
)
def test_places_that_are_not_there(where, says, token_map):
    with pytest.raises(CausalError, match=says):
        select(where, token_map, 12)


def test_a_picture_whose_geometry_is_unknown_has_no_regions(token_map):
    blind = replace(token_map, geometry="no adapter for this processor")
    with pytest.raises(CausalError, match="no adapter"):
        select(Where(region=Region(left=0, top=0, right=4, bottom=9)), blind, 10)
