"""What a training step looks at in a batch and in a pass: is it finite and of the right width,
how large, what was active.

Knows neither weights nor optimiser.
"""

from __future__ import annotations

import torch
from torch import Tensor

from semascope.dictionary.forward_pass import Pass
from semascope.dictionary.training.batches import ActivationBatch
from semascope.errors import DictionaryError, NotFinite


def check_finite(batch: ActivationBatch, step: int, site: str) -> None:
    """NotFinite, naming batch, site and token, where the batch holds NaN or infinity."""
    total = batch.x.sum() if batch.target is None else batch.x.sum() + batch.target.sum()
    if bool(total.isfinite()):
        return
    bad = ~batch.x.isfinite().all(1)
    if batch.target is not None:
        bad |= ~batch.target.isfinite().all(1)
    rows = bad.nonzero().squeeze(1).tolist()
    if not rows:
        return
    raise NotFinite(
        f"Batch {step} of {site or 'the site'} holds NaN or infinity in {len(rows)} of "
        f"{len(batch.x)} tokens (first: token {rows[0]}), so its step was not taken and the last "
        "good state was kept. A model in float16 overflows easily: load it in bfloat16 or float32."
    )


def check_width(batch: ActivationBatch, d_in: int, step: int, site: str) -> None:
    """DictionaryError, naming step and site, where the batch is not ``d_in`` wide."""
    if batch.x.shape[1] != d_in:
        raise DictionaryError(
            f"The dictionary reads activations of width {d_in}, but the batch at step {step} of "
            f"{site or 'the site'} is {batch.x.shape[1]} wide. Train in another folder, or name "
            "the site that this run began with."
        )


def input_scale(x: Tensor) -> float:
    """What makes the mean norm of (N, D) activations √D (Templeton et al. 2024)."""
    norm = float(torch.linalg.vector_norm(x.float(), dim=1).mean())
    return float(x.shape[1] ** 0.5) / norm if norm > 0 else 1.0


def active_counts(done: Pass, width: int) -> Tensor:
    """(F,) float: on how many of the pass's tokens each latent is active."""
    if done.z is not None:
        return (done.z > 0).sum(0).float()
    assert done.values is not None and done.groups is not None
    return done.groups.sum((done.values > 0).float())
