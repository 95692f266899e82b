"""``make gpu-check``: on a machine with a GPU, the same answers as on its CPU.

Random-weight subjects of several families and a small dictionary, each on both; activations may
differ by rounding alone. Exit code 1 where they differ by more, or where there is no GPU.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial

import torch

from semascope.corpus.sample import Sample
from semascope.corpus.scenes import SceneCorpus
from semascope.dictionary import (
    ActivationBatch,
    CoderConfig,
    SparseCoder,
    TensorSource,
    TrainConfig,
    quality,
    train,
)
from semascope.subject.testing import tiny

FAMILIES = ("llama", "llava", "qwen2_vl")
CLOSE = 1e-3
"""Largest relative difference that rounding explains in float32."""
SAME_QUALITY = 0.02
"""Largest difference in FVU between two trainings on the same data."""


def main() -> int:
    """Run every check, say how far apart the two are."""
    if not torch.cuda.is_available():
        print("[gpu-check] no GPU is to be seen here: nothing was checked", file=sys.stderr)
        return 1
    print(f"[gpu-check] {torch.cuda.get_device_name()}, torch {torch.__version__}")
    torch.backends.cuda.matmul.allow_tf32 = False
    checks: dict[str, tuple[Callable[[], float], float]] = {
        **{f"activations of {name}": (partial(activations, name), CLOSE) for name in FAMILIES},
        "reconstructions of a dictionary": (codes, CLOSE),
        "FVU after training": (training, SAME_QUALITY),
    }
    failed = 0
    for name, (check, most) in checks.items():
        found = check()
        failed += found > most
        print(f"[gpu-check] {name}: {found:.1e} apart{'' if found <= most else ', TOO FAR'}")
    return int(failed > 0)


def activations(family: str) -> float:
    """The residual stream after every layer, of pictures where the family sees."""
    subject = tiny(family)
    samples = [Sample(id="text", text="A river runs to the sea.")]
    if subject.has_vision:
        samples = [sample for _, sample in SceneCorpus(4).read()]
    sites = subject.resolve("resid_post.*")
    on_cpu = subject.run(subject.encode(samples), sites)
    subject.to("cuda")
    on_gpu = subject.run(subject.encode(samples), sites)
    return max(apart(on_cpu[site], on_gpu[site]) for site in sites)


def codes() -> float:
    """Reconstructions of one dictionary."""
    coder = SparseCoder(CoderConfig(d_in=64, width=512, k=16))
    x = torch.randn(256, 64, generator=torch.Generator().manual_seed(0))  # (N, d)
    on_cpu = coder.decode(coder.encode(x))
    coder.to("cuda")
    return apart(on_cpu, coder.decode(coder.encode(x.cuda())))


def training() -> float:
    """Difference in FVU after a short training on each: rounding steers the two elsewhere, so
    the weights differ and the quality must not."""
    mixing = torch.randn(32, 64, generator=torch.Generator().manual_seed(1))
    sources = torch.rand(8192, 32, generator=torch.Generator().manual_seed(2))
    x = (sources * (sources > 0.9)) @ mixing  # (N, d), three or so directions a token
    config = TrainConfig(width=128, k=4, steps=200, lr=3e-3)
    fvu = []
    for device in ("cpu", "cuda"):
        with tempfile.TemporaryDirectory() as folder:
            coder = train(TensorSource(x, batch_size=512), config, folder, device=device).coder
        batch = ActivationBatch(x, torch.ones(len(x), dtype=torch.int8))
        fvu.append(quality(coder.to("cpu"), [batch]).fvu)
    return abs(fvu[0] - fvu[1])


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference, as a share of the largest value."""
    difference = (one.cpu().float() - other.cpu().float()).abs().max()
    return float(difference / one.abs().max().clamp_min(1e-12).cpu())


if __name__ == "__main__":
    sys.exit(main())
