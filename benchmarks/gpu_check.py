"""A dictionary's training step on a GPU: the same answers as on the CPU, and how fast.

    make gpu-check            the same: python -m benchmarks.gpu_check
    make gpu-check ARGS='--width 32768 --d-in 1024 --k 64 --batch 8192'

First the answers: activations of random-weight subjects of several families, a dictionary's
reconstructions and the quality of a short training, each on both devices; they may differ by
rounding alone. Then the speed, in one run: the device's own bf16 product of the encoder's shape
(the roofline), this project's whole training step, Adam included, and sparsify's, where it is
installed. The table is printed, and kept in docs/figures with device and date.

Without a GPU it says so and ends with 0. It ends with 1 where answers differ or a bar is missed.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

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
from semascope.dictionary.kernels.topk import tile_rows
from semascope.dictionary.training.trainer import Trainer
from semascope.subject.testing import tiny

BARS = {"roofline_share": 0.55, "ratio_to_sparsify": 2.0}
NONE = "No CUDA device is to be seen here, so nothing was checked."
FAMILIES = ("llama", "llava", "qwen2_vl")
CLOSE = 1e-3
"""Largest relative difference that rounding explains in float32."""
SAME_QUALITY = 0.02
"""Largest difference in FVU between two trainings on the same data."""


def seconds(step: Callable[[], object], rounds: int) -> float:
    """The least time of a step, the device waited for."""
    step()
    least = float("inf")
    for _ in range(rounds):
        torch.cuda.synchronize()
        began = time.perf_counter()
        step()
        torch.cuda.synchronize()
        least = min(least, time.perf_counter() - began)
    return least


def roofline(x: Tensor, width: int, rounds: int) -> float:
    """Seconds of the encoder's product alone, in bf16, in tiles as training makes them."""
    weight = torch.randn((width, x.shape[1]), device=x.device, dtype=torch.bfloat16)
    low = x.bfloat16()
    rows = tile_rows(width, x.device, len(x))
    return seconds(lambda: [part @ weight.t() for part in torch.split(low, rows)], rounds)


def own(x: Tensor, width: int, k: int, rounds: int) -> tuple[float, float]:
    """Seconds of this project's step; peak bytes."""
    config = TrainConfig(width=width, k=k, steps=10**6, bf16=True, normalize_input=False)
    shape = config.coder(x.shape[1])
    trainee = Trainer(config, shape, batch_tokens=len(x), device="cuda")
    batch = ActivationBatch(x, torch.ones(len(x), dtype=torch.int8, device=x.device))
    torch.cuda.reset_peak_memory_stats()
    took = seconds(lambda: trainee.learn(batch), rounds)
    return took, float(torch.cuda.max_memory_allocated())


def sparsify(x: Tensor, width: int, k: int, rounds: int) -> float:
    """Seconds of sparsify's step under its own bf16 autocast."""
    from sparsify import SparseCoder, SparseCoderConfig  # type: ignore[import-not-found]

    made = SparseCoder(x.shape[1], SparseCoderConfig(num_latents=width, k=k), device="cuda")
    optimizer = torch.optim.Adam(made.parameters(), 1e-4)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            loss = made(x).fvu
        loss.backward()
        made.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        made.set_decoder_norm_to_unit_norm()

    return seconds(step, rounds)


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


def answers() -> dict[str, tuple[float, float]]:
    """How far CPU and GPU are apart in each check, and how far they may be."""
    torch.backends.cuda.matmul.allow_tf32 = False
    checks: dict[str, tuple[Callable[[], float], float]] = {
        **{f"activations of {name}": (partial(activations, name), CLOSE) for name in FAMILIES},
        "reconstructions of a dictionary": (codes, CLOSE),
        "FVU after training": (training, SAME_QUALITY),
    }
    return {name: (check(), most) for name, (check, most) in checks.items()}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=131_072)
    parser.add_argument("--d-in", type=int, default=4096)
    parser.add_argument("--k", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The figures of speed and memory, or why there are none."""
    if not torch.cuda.is_available():
        return {"skipped": NONE}
    width, d_in = options.width, options.d_in
    x = torch.randn((options.batch, d_in), device="cuda")
    product = roofline(x, width, options.rounds)
    step, peak = own(x, width, options.k, options.rounds)
    matrices = 4 * 2 * width * d_in
    tiles = 2 * 4 * tile_rows(width, x.device, len(x)) * width
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "shape": f"width {width}, d {d_in}, k {options.k}, batch {options.batch}, bf16",
        "product_ms": 1e3 * product,
        "product_tflops": 2e-12 * options.batch * width * d_in / product,
        "step_ms": 1e3 * step,
        "roofline_share": product / step,
        "peak_gb": peak / 1e9,
        "allowed_gb": (4 * matrices + tiles) / 1e9,  # weights, gradient, two moments, two tiles
    }
    torch.cuda.empty_cache()
    if importlib.util.find_spec("sparsify") is not None:
        other = sparsify(x, width, options.k, options.rounds)
        figures |= {"sparsify_ms": 1e3 * other, "ratio_to_sparsify": other / step}
    figures["missed"] = missed(figures)
    return figures


def missed(figures: dict[str, Any]) -> str:
    """The bars that were not reached, in words."""
    found = [name for name, bar in BARS.items() if name in figures and figures[name] < bar]
    found += ["memory"] if figures["peak_gb"] > figures["allowed_gb"] else []
    return ", ".join(found) or "none"


def table(figures: dict[str, Any]) -> str:
    """For a person."""
    lines = []
    for name, value in figures.items():
        bar = f"   (bar {BARS[name]})" if name in BARS else ""
        shown = f"{value:.3f}" if isinstance(value, float) else str(value)
        lines.append(f"{name:20} {shown}{bar}")
    return "\n".join(lines)


def main() -> dict[str, Any]:
    """As ``make bench`` calls it."""
    return measure(parse([]))


def check(arguments: Sequence[str] | None = None) -> int:
    """As ``make gpu-check`` calls it: answers, then speed, then the record."""
    options = parse(arguments)
    if not torch.cuda.is_available():
        print(f"[gpu-check] {NONE}")
        return 0
    print(f"[gpu-check] {torch.cuda.get_device_name()}, torch {torch.__version__}")
    apart_by = answers()
    for name, (found, most) in apart_by.items():
        verdict = "" if found <= most else ", TOO FAR"
        print(f"[gpu-check] {name}: {found:.1e} apart{verdict}", flush=True)
    figures = measure(options)
    print(table(figures))
    from benchmarks.__main__ import kept

    for path in kept("gpu_check", __doc__ or "", dict(figures)):
        print(f"[gpu-check] {path}")
    wrong = any(found > most for found, most in apart_by.values())
    return int(wrong or figures["missed"] != "none")


if __name__ == "__main__":
    sys.exit(check())
