"""What the whole training loop costs over the model's forward pass to the site and the step.

    python -m benchmarks.dictionary --loop [--model sprite-llava --site resid_post.12]

Three times are taken in turn, several rounds, the least of each kept: the model's passes to the
site over samples that are already encoded; optimiser steps on a batch that is already there; and
``train`` as it runs, with reading, encoding, shuffling, checks, metrics and states on disk.
The bar: the loop costs at most 1.10 of the sum of the other two, for the tokens that it read.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks._activations import add_arguments, chunks_of
from semascope.dictionary import ActivationBatch, ShuffleBuffer, TrainConfig, train
from semascope.dictionary.training.trainer import Trainer

BAR = 1.10


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser, tokens=32_768)
    parser.add_argument("--width", type=int, default=8, help="times d")
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def taken(work: Callable[[], int]) -> tuple[float, float]:
    """Wall and CPU seconds for each of the things that ``work`` says it did."""
    wall, cpu = time.perf_counter(), time.process_time()
    count = work()
    return (time.perf_counter() - wall) / count, (time.process_time() - cpu) / count


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The three costs and the ratio, by wall and by CPU time."""
    torch.set_num_threads(options.threads)
    chunks = chunks_of(options)
    site, d = options.site, chunks.width
    steps = max(2, options.tokens // options.batch)
    config = TrainConfig(
        width=options.width * d,
        k=options.k,
        steps=steps,
        checkpoint_every=32,
        b_dec_tokens=options.batch,
    )
    encoded = [batch for number in range(4) for batch in chunks._batches(number)]
    ready = ActivationBatch(torch.randn(options.batch, d), torch.ones(options.batch))
    trainee = Trainer.begin(config.model_copy(update={"steps": 10**6}), ready, site=site)
    trainee.learn(ready)  # the optimiser's state comes into being
    with torch.inference_mode():
        chunks.subject.run(encoded[0], [site])  # a first pass pays for what later ones find
    read: list[int] = []
    chunks.on_read = read.append

    def forward() -> int:
        with torch.inference_mode():
            for batch in encoded:
                chunks.subject.run(batch, [site])
        return sum(int((kind != 0).sum()) for kind in kinds)

    def step() -> int:
        for _ in range(8):
            trainee.learn(ready)
        return 8

    def loop() -> int:
        read.clear()
        source = ShuffleBuffer(chunks, batch_size=options.batch, block_tokens=16 * options.batch)
        with tempfile.TemporaryDirectory() as folder:
            train(source, config, folder, site=site)
        return 1

    from semascope.pipeline.activations import read_kinds

    kinds = [read_kinds(map_) for batch in encoded for map_ in batch.maps]
    best = {name: (float("inf"), float("inf")) for name in ("forward", "step", "loop")}
    for _ in range(options.rounds):
        for name, work in (("forward", forward), ("step", step), ("loop", loop)):
            now = taken(work)
            best[name] = (min(best[name][0], now[0]), min(best[name][1], now[1]))
    tokens = sum(read)
    figures: dict[str, Any] = {"model": chunks.subject.name, "site": site, "width": config.width}
    figures |= {"steps": steps, "tokens_read": tokens}
    for i, clock in enumerate(("wall", "cpu")):
        parts = best["forward"][i] * tokens, best["step"][i] * steps
        figures |= {
            f"{clock}_seconds_forward": parts[0],
            f"{clock}_seconds_steps": parts[1],
            f"{clock}_seconds_loop": best["loop"][i],
            f"{clock}_ratio": best["loop"][i] / sum(parts),
        }
    return {**figures, "bar": BAR}


def main(arguments: Sequence[str] = ()) -> dict[str, Any]:
    """As ``make bench`` calls it."""
    return measure(parse(arguments))


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:]), indent=2))
