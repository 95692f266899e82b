"""AuxK brings latents back that nothing else would."""

from __future__ import annotations

from itertools import islice

import torch
from torch import Tensor

from semascope.dictionary import ActivationBatch, TensorSource, TrainConfig, quality
from semascope.dictionary.training.trainer import Trainer

WIDTH = 128


def sparse_sums(tokens: int, d: int = 32, seed: int = 0) -> Tensor:
    """(tokens, d): about four of 128 unit directions at a time, as many as there are latents."""
    g = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn((WIDTH, d), generator=g), dim=1)
    on = torch.rand((tokens, WIDTH), generator=g) < 0.03
    return (on * (torch.rand((tokens, WIDTH), generator=g) + 0.5)) @ directions


def trained(x: Tensor, auxk: float) -> tuple[float, float]:
    """Dead share and FVU after a run that begins with half of its encoders asleep.

    A sleeping encoder has a tenth of the others' norm: it is never among the k largest, so the
    reconstruction alone gives it no gradient.
    """
    config = TrainConfig(width=WIDTH, k=4, steps=150, lr=5e-3, auxk=auxk, dead_tokens=768)
    batches = list(islice(TensorSource(x, batch_size=256).batches(0), config.steps))
    trainee = Trainer.begin(config, batches[0])
    trainee.coder.W_enc.data[WIDTH // 2 :] *= 0.1
    for batch in batches:
        trainee.learn(batch)
    coder = trainee.finished()
    assert coder is not None
    found = quality(coder, [ActivationBatch(x, torch.ones(len(x)))])
    return found.dead_fraction, found.fvu


def test_without_auxk_half_die_and_with_it_few_do() -> None:
    """And the revived latents explain what was left over (Gao et al. 2024, appendix A.2)."""
    x = sparse_sums(4096)
    dead, fvu = trained(x, auxk=0.0)
    assert dead > 0.45
    revived, better = trained(x, auxk=1 / 32)
    assert revived < 0.05
    assert better < 0.7 * fvu
