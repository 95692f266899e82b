"""Splicing costs nothing when the dictionary is perfect, and is measured right when it is not."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from semascope.dictionary import Directions
from semascope.dictionary.training.tracking import Track
from semascope.errors import DictionaryError
from semascope.evaluate.ce_recovered import spliced
from semascope.subject.types import Batch, EditContext, Edits, Kind, TokenMap


def token_map(ids: list[int], kinds: list[Kind]) -> TokenMap:
    """Only what splicing reads."""
    n = len(ids)
    return TokenMap(
        ids=np.array(ids),
        tokens=("x",) * n,
        kinds=np.array(kinds, dtype=np.int8),
        roles=np.zeros(n, dtype=np.int8),
        image=np.full(n, -1, dtype=np.int16),
        rects=np.full((n, 4), np.nan, dtype=np.float32),
        sizes=(),
    )


class Linear:
    """A model whose activations are its embeddings and whose logits are linear in them."""

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(0)
        self.embed = torch.rand((7, 3), generator=g)
        self.head = 4 * torch.randn((3, 7), generator=g)

    def logits(self, batch: Batch, *, edits: Edits) -> Tensor:
        """(B, T, 7)."""
        hidden = self.embed[batch.inputs["input_ids"]]
        for edit in edits.values():
            hidden = edit(hidden, EditContext(0, batch.maps))
        return hidden @ self.head


def batch() -> Batch:
    """Two rows; the second is padded on the left, and the first holds an image token."""
    text, image, pad = Kind.TEXT, Kind.IMAGE, Kind.PAD
    maps = (
        token_map([1, 2, 3, 4], [text, image, text, text]),
        token_map([0, 0, 5, 6], [pad, pad, text, text]),
    )
    ids = torch.as_tensor(np.stack([m.ids for m in maps]))
    return Batch({"input_ids": ids}, maps)


def test_a_perfect_dictionary_recovers_everything() -> None:
    """Three axes span the space: the reconstruction is the activation itself."""
    perfect = Directions("resid_post.1", torch.eye(3))
    result = spliced(Linear(), [batch()], perfect)
    assert result[0].predictions == 3  # to text: image -> 3, 3 -> 4, 5 -> 6
    assert {kind: r.predictions for kind, r in result.items()} == {0: 3, 1: 2, 3: 1}
    assert result[0].recovered == pytest.approx(1, abs=1e-5)
    assert result[0].kl == pytest.approx(0, abs=1e-6)


def test_figures_equal_their_definitions() -> None:
    """One axis alone, worked out by hand from the logits."""
    model, one = Linear(), Directions("resid_post.1", torch.eye(3)[:1])
    result = spliced(model, [batch()], one)[0]
    pairs = [(2, 3), (3, 4), (5, 6)]
    clean = torch.stack([model.embed[a] @ model.head for a, _ in pairs]).log_softmax(1)
    axis = torch.tensor([1.0, 0, 0])
    kept = torch.stack([(model.embed[a] * axis) @ model.head for a, _ in pairs]).log_softmax(1)
    right = torch.tensor([b for _, b in pairs])[:, None]
    assert result.ce_clean == pytest.approx(-clean.gather(1, right).mean().item(), rel=1e-5)
    assert result.ce_spliced == pytest.approx(-kept.gather(1, right).mean().item(), rel=1e-5)
    assert result.ce_zero == pytest.approx(float(np.log(7)), rel=1e-5)
    assert result.kl == pytest.approx((clean.exp() * (clean - kept)).sum(1).mean().item(), rel=1e-4)
    with pytest.raises(DictionaryError, match="names no site"):
        spliced(model, [batch()], Directions("", torch.eye(3)))


def test_a_tracker_gets_each_line_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures change every few steps; the callback comes at every one."""
    calls: list[tuple[dict[str, float], int]] = []
    fake = ModuleType("trackio")
    fake.init = lambda **settings: None  # type: ignore[attr-defined]
    fake.log = lambda values, step: calls.append((values, step))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackio", fake)
    track = Track("p")
    for done in range(1, 5):
        track(done, 4, {"step": 2 * (done // 2), "fvu": 0.5})
    assert [step for _, step in calls] == [0, 2, 4]
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(DictionaryError, match="wandb is not installed"):
        Track("p", backend="wandb")
