"""A training step at width 131,072 on a GPU against the matrix product that it cannot do without.

    python -m benchmarks.gpu_check [--width 131072 --d-in 4096 --k 256 --batch 8192] [--json]

Measures, in one run: the device's own bf16 product of the encoder's shape (the roofline); this
project's whole training step, Adam included; sparsify's, where it is installed. Says which share of
the roofline the step reaches, the ratio to sparsify, and the peak of memory over weights, optimiser
and two tiles of pre-activations. Without a GPU it says so, and nothing is measured.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from semascope.dictionary import ActivationBatch, TrainConfig
from semascope.dictionary.sparse import tile_rows
from semascope.dictionary.trainee import Trainee

BARS = {"roofline_share": 0.55, "ratio_to_sparsify": 2.0}


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
    rows = tile_rows(width, x.device)
    return seconds(lambda: [part @ weight.t() for part in torch.split(low, rows)], rounds)


def own(x: Tensor, width: int, k: int, rounds: int) -> tuple[float, float]:
    """Seconds of this project's step; peak bytes."""
    config = TrainConfig(width=width, k=k, steps=10**6, bf16=True, normalize_input=False)
    shape = config.coder(x.shape[1])
    trainee = Trainee(config, shape, batch_tokens=len(x), device="cuda")
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


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=131_072)
    parser.add_argument("--d-in", type=int, default=4096)
    parser.add_argument("--k", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The figures, or why there are none."""
    if not torch.cuda.is_available():
        return {"skipped": "no CUDA device is visible"}
    width, d_in = options.width, options.d_in
    x = torch.randn((options.batch, d_in), device="cuda")
    product = roofline(x, width, options.rounds)
    step, peak = own(x, width, options.k, options.rounds)
    weights = 4 * 2 * width * d_in
    tiles = 2 * 4 * tile_rows(width, x.device) * width
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "product_ms": 1e3 * product,
        "product_tflops": 2e-12 * options.batch * width * d_in / product,
        "step_ms": 1e3 * step,
        "roofline_share": product / step,
        "peak_gb": peak / 1e9,
        "allowed_gb": (4 * weights + tiles) / 1e9,  # weights, gradient, two moments, two tiles
    }
    torch.cuda.empty_cache()
    if importlib.util.find_spec("sparsify") is not None:
        other = sparsify(x, width, options.k, options.rounds)
        figures |= {"sparsify_ms": 1e3 * other, "ratio_to_sparsify": other / step}
    figures["met"] = {name: figures[name] >= bar for name, bar in BARS.items() if name in figures}
    return figures


def main() -> dict[str, Any]:
    """As ``make bench`` calls it."""
    return measure(parse([]))


if __name__ == "__main__":
    OPTIONS = parse()
    FIGURES = measure(OPTIONS)
    print(
        json.dumps(FIGURES, indent=2)
        if OPTIONS.json
        else "\n".join(f"{name:20} {value}" for name, value in FIGURES.items())
    )
