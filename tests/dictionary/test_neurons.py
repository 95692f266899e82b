"""Neurons and directions behave as dictionaries."""

from __future__ import annotations

import pytest
import torch

from semascope.dictionary import Dictionary
from semascope.dictionary.neurons import Directions, SignedNeurons
from semascope.errors import DictionaryError


def test_neurons_split_by_sign_and_decode_to_the_layer_s_output() -> None:
    """With all neurons kept, decoding is the down projection itself."""
    write = torch.randn(12, 5)
    neurons = SignedNeurons("mlp_neurons.3", 12, write=write)
    assert isinstance(neurons, Dictionary)
    x = torch.randn(30, 12)
    codes = neurons.encode(x)
    assert bool((codes.values >= 0).all())
    torch.testing.assert_close(neurons.decode(codes), x @ write)
    fired = {(n, int(i)) for n, row in enumerate(codes.indices) for i in row}
    assert fired == {(n, 2 * i + int(x[n, i] < 0)) for n in range(30) for i in range(12)}
    rows = neurons.directions(torch.tensor([4, 5]))
    torch.testing.assert_close(rows, torch.stack([write[2], -write[2]]))


def test_the_strongest_neurons_and_neuron_space() -> None:
    """k keeps the furthest from 0; without output weights, directions are axes."""
    neurons = SignedNeurons("mlp_neurons.3", 6, k=2)
    codes = neurons.encode(torch.tensor([[0.1, -3.0, 0.2, 2.0, 0.0, -0.5]]))
    assert set(codes.indices[0].tolist()) == {3, 6}
    assert neurons.decode(codes).tolist() == [[0, -3, 0, 2, 0, 0]]
    assert neurons.directions(torch.tensor([3])).tolist() == [[0, -1, 0, 0, 0, 0]]
    with pytest.raises(DictionaryError, match="reads"):
        neurons.encode(torch.zeros(2, 7))
    with pytest.raises(DictionaryError, match="k = 9"):
        SignedNeurons("x", 6, k=9)


def test_directions_measure_along_themselves() -> None:
    """The positive part along the unit direction, from the origin."""
    plain = Directions("resid_post.2", torch.tensor([[2.0, 0.0], [0.0, -1.0]]))
    assert isinstance(plain, Dictionary)
    codes = plain.encode(torch.tensor([[3.0, -4.0], [-1.0, 2.0]]))
    assert codes.values.tolist() == [[3, 4], [0, 0]]
    assert plain.decode(codes).tolist() == [[3, -4], [0, 0]]
    assert plain.directions(torch.tensor([0])).tolist() == [[1, 0]]
    with pytest.raises(DictionaryError, match="none of them zero"):
        Directions("x", torch.zeros(1, 3))
