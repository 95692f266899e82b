"""Which tokens a dictionary reads, by kind, place and norm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from semascope.corpus.sample import Sample
from semascope.subject.readable import REAL, read_kinds, read_positions, readable, without_sinks
from semascope.subject.testing import tiny
from semascope.subject.types import Kind, TokenMap


def token_map(kinds: list[Kind]) -> TokenMap:
    """A map whose tokens have these kinds."""
    n = len(kinds)
    return TokenMap(
        ids=np.zeros(n, np.int64),
        tokens=("x",) * n,
        kinds=np.array(kinds, np.int8),
        roles=np.zeros(n, np.int8),
        image=np.full(n, -1, np.int16),
        rects=np.full((n, 4), np.nan, np.float32),
        sizes=(),
    )


PROMPT = [Kind.PAD, Kind.TEXT, Kind.SPECIAL, Kind.TEXT, Kind.IMAGE, Kind.NEWLINE]


def test_first_tokens_and_the_template_are_not_read() -> None:
    """Without: features of the first token, hundreds of times too strong, lead every list."""
    assert read_kinds(token_map(PROMPT)).tolist() == [0, 0, 0, Kind.TEXT, Kind.IMAGE, 0]
    assert read_kinds(token_map(PROMPT), "projector").tolist() == [0, 0, 0, 0, Kind.IMAGE, 0]
    every = read_kinds(token_map(PROMPT), kinds=REAL, skip_first=False)
    assert every.tolist() == PROMPT


def test_what_is_generated_is_read() -> None:
    """Without: an edit ends with the prompt."""
    read = read_positions([token_map(PROMPT)], 4, start=4)
    assert read.tolist() == [[True, False, True, True]]
    assert read_positions([token_map(PROMPT)], 1, start=9).tolist() == [[True]]


def test_a_sink_at_one_site_is_left_out_at_all() -> None:
    """Without: a transcoder reads a token whose output is ignored."""
    x, y = torch.ones(1, 6, 3), torch.ones(1, 6, 3)
    x[0, 2] *= 100
    y[0, 4] *= 100
    assert without_sinks([x, y]).tolist() == [[True, True, False, True, False, True]]
    some = torch.tensor([[False, True, True, True, True, True]])
    assert without_sinks([x], some)[0].tolist() == [False, True, False, True, True, True]


def test_the_template_is_included_on_request() -> None:
    """Without: nobody can attribute to the template."""
    subject = tiny("llava")
    batch = subject.encode([Sample("w", text="a b c d e")])
    x = torch.ones(*batch.mask.shape, 3)
    assert torch.equal(readable("resid_post.0", x, batch, template=True)[1], batch.mask)
    read = readable("resid_post.0", x, batch)[1]
    assert read.tolist() == read_positions(batch.maps, x.shape[1]).tolist()


def test_a_map_is_cut_and_padded_whole() -> None:
    """Without: one of the arrays has another length, and heat lies on the wrong tokens."""
    whole = replace(token_map(PROMPT), spans=np.ones(len(PROMPT), np.int16))
    cut = whole.at(np.array([3, 4]))
    assert cut.kinds.tolist() == [Kind.TEXT, Kind.IMAGE] and len(cut.rects) == 2
    padded = cut.padded(4, 9, "left")
    assert padded.kinds.tolist() == [Kind.PAD, Kind.PAD, Kind.TEXT, Kind.IMAGE]
    assert padded.ids.tolist() == [9, 9, 0, 0] and padded.tokens == ("", "", "x", "x")
    assert padded.spans is not None and len(padded.spans) == len(padded.rects) == 4
