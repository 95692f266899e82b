"""One library of the FVU–L0 benchmark in a process of its own.

    python _dictionary_curve.py LIBRARY FILE JOBS THREADS

Reads activations ``x`` and ``held`` from FILE (safetensors) and a list of jobs from JOBS (JSON),
trains each on the same batches in the same order by the library's own training step and defaults,
and answers each with a line of its FVU and L0 on ``held``. It imports nothing of this project but
for the library ``semascope``, so that it runs in the peers' own environment. FVU is
Σ‖x̂ − x‖² / Σ‖x − mean‖² in float64, the same lines for all.
"""

from __future__ import annotations

import functools
import importlib
import json
import logging
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from _dictionary_step import bare, say, without_hooks

PREFIXES = (6, 12, 25, 50, 100)
"""Of Matryoshka, as shares of the width in percent."""
Answer = tuple[Tensor, Tensor]
"""(N, d) reconstruction, () active latents of the batch."""


class Learner(NamedTuple):
    """A dictionary in training, as the benchmark sees it."""

    step: Callable[[int, Tensor], object]
    answer: Callable[[Tensor], Answer]


def batches(x: Tensor, job: dict[str, Any]) -> Iterator[Tensor]:
    """The batches of every library, in the same order."""
    size, epoch = job["batch"], 0
    while True:
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch))
        for i in range(0, len(x) - size + 1, size):
            yield x[order[i : i + size]]
        epoch += 1


def semascope(job: dict[str, Any], x: Tensor) -> Learner:
    """This project's trainer with its defaults; it learns all at once, so a step does nothing."""
    from semascope.dictionary import ActivationBatch, TrainConfig, train

    class Stream:
        def batches(self, start: int) -> Iterator[ActivationBatch]:
            for part in batches(x, job):
                yield ActivationBatch(part, torch.ones(len(part), dtype=torch.int8))

    architecture = job["architecture"].removeprefix("matryoshka-")
    penalised = architecture in ("relu", "gated")
    spread = float((x - x.mean(0)).square().sum()) / len(x)
    own = 5 * (x.shape[1] / 4096) ** 0.5 / spread  # λ of a run that names none
    config = TrainConfig(
        width=job["width"],
        k=job["k"],
        architecture=architecture,
        prefixes=PREFIXES if architecture != job["architecture"] else (),
        sparsity=job["penalty"] * own if penalised else 0.0,
        steps=job["steps"],
        checkpoint_every=job["steps"],
        b_dec_tokens=job["batch"],
    )
    with tempfile.TemporaryDirectory() as folder:
        coder = train(Stream(), config, folder).coder

    def answer(held: Tensor) -> Answer:
        codes = coder.encode(held)
        return coder.decode(codes, held), (codes.values != 0).sum()

    return Learner(lambda i, part: None, answer)


def sparsify(job: dict[str, Any], x: Tensor) -> Learner:
    """EleutherAI's SparseCoder, stepped as its trainer does with Adam; AuxK as it has it, off."""
    if job["architecture"] != "topk":
        raise NotImplementedError("sparsify trains TopK only")
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
    bare("sparsify")
    config = importlib.import_module("sparsify.config").SparseCoderConfig
    made = importlib.import_module("sparsify.sparse_coder").SparseCoder(
        x.shape[1], config(num_latents=job["width"], k=job["k"])
    )
    made.b_dec.data.copy_(x[: job["batch"]].mean(0))  # its trainer's start
    rate = 2e-4 / (job["width"] / 2**14) ** 0.5
    optimizer = torch.optim.Adam(made.parameters(), rate)

    def step(i: int, part: Tensor) -> None:
        for group in optimizer.param_groups:  # its linear schedule with warm-up
            warm = max(1, job["steps"] // 20)
            fall = (job["steps"] - i) / max(1, job["steps"] - warm)
            group["lr"] = rate * min((i + 1) / warm, fall)
        optimizer.zero_grad()
        made(part).fvu.backward()
        made.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        made.set_decoder_norm_to_unit_norm()

    def answer(held: Tensor) -> Answer:
        done = made(held)
        return done.sae_out, (done.latent_acts != 0).sum()

    return Learner(step, answer)


STEMS = {
    "topk": "TopK",
    "batchtopk": "BatchTopK",
    "jumprelu": "JumpReLU",
    "gated": "Gated",
    "relu": "Standard",
    "matryoshka-batchtopk": "MatryoshkaBatchTopK",
}
"""SAELens' classes by our architectures."""


@functools.cache
def saelens_parts() -> tuple[Any, Any]:
    """SAELens' classes and what a step is given, registered as the package's __init__ would."""
    without_hooks()
    bare("sae_lens", __version__="", logger=logging.getLogger("sae_lens"))
    saes = importlib.import_module("sae_lens.saes")
    registry = importlib.import_module("sae_lens.registry")
    for stem in STEMS.values():
        trained = getattr(saes, f"{stem}TrainingSAEConfig")
        name = trained.architecture()
        registry.register_sae_training_class(name, getattr(saes, f"{stem}TrainingSAE"), trained)
        if hasattr(saes, f"{stem}SAEConfig"):
            registry.register_sae_class(
                name, getattr(saes, f"{stem}SAE"), getattr(saes, f"{stem}SAEConfig")
            )
    return saes, importlib.import_module("sae_lens.saes.sae").TrainStepInput


def saelens(job: dict[str, Any], x: Tensor) -> Learner:
    """SAELens' training SAEs, stepped as its trainer does: clip 1, Adam 3e-4, dead-latent mask."""
    stem = STEMS.get(job["architecture"])
    if stem is None:
        raise NotImplementedError(f"SAELens has no {job['architecture']}")
    saes, step_input = saelens_parts()
    kind, settings = getattr(saes, f"{stem}TrainingSAE"), getattr(saes, f"{stem}TrainingSAEConfig")
    more: dict[str, Any] = {"k": job["k"]} if "TopK" in stem else {}
    if "Matryoshka" in stem:
        more["matryoshka_widths"] = [job["width"] * p // 100 for p in PREFIXES]
    made = kind(settings(d_in=x.shape[1], d_sae=job["width"], device="cpu", **more))
    optimizer = torch.optim.Adam(made.parameters(), 3e-4)
    silent = torch.zeros(job["width"])
    fields = step_input.__dataclass_fields__
    flags = {name: False for name in fields if name.startswith("is_")}

    def step(i: int, part: Tensor) -> None:
        ramp = min(1.0, (i + 1) / max(1, job["steps"] // 20)) * job["penalty"]
        coefficients = {
            name: getattr(value, "value", value) * ramp
            for name, value in made.get_coefficients().items()
        }
        made.train()
        done = made.training_forward_pass(
            step_input(
                sae_in=part,
                coefficients=coefficients,
                dead_neuron_mask=silent > min(1000, job["steps"] // 10),
                n_training_steps=i,
                **flags,
            )
        )
        fired = done.feature_acts
        fired = (fired.to_dense() if fired.is_sparse else fired).bool().any(0)
        silent.add_(1).masked_fill_(fired, 0)
        done.loss.backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def answer(held: Tensor) -> Answer:
        made.eval()
        codes = made.encode(held)
        codes = codes.to_dense() if codes.is_sparse else codes
        return made.decode(codes), (codes != 0).sum()

    return Learner(step, answer)


def dictionary_learning(job: dict[str, Any], x: Tensor) -> Learner:
    """dictionary_learning's trainers through their own ``update``; warm-ups a twentieth."""
    bare("dictionary_learning")
    bare("dictionary_learning.trainers")
    module, stem, penalty = {
        "topk": ("top_k", "TopKTrainer", None),
        "batchtopk": ("batch_top_k", "BatchTopKTrainer", None),
        "matryoshka-batchtopk": ("matryoshka_batch_top_k", "MatryoshkaBatchTopKTrainer", None),
        "jumprelu": ("jumprelu", "JumpReluTrainer", None),
        "gated": ("gdm", "GatedSAETrainer", "l1_penalty"),
        "relu": ("standard", "StandardTrainerAprilUpdate", "l1_penalty"),
    }.get(job["architecture"], (None, None, None))
    if module is None or stem is None:
        raise NotImplementedError(f"dictionary_learning has no {job['architecture']}")
    kind = getattr(importlib.import_module(f"dictionary_learning.trainers.{module}"), stem)
    steps = job["steps"]
    more: dict[str, Any] = {"warmup_steps": max(1, steps // 20), "decay_start": steps * 4 // 5}
    if "TopK" in stem:
        more |= {"k": job["k"], "threshold_start_step": steps // 10} | (
            {"group_fractions": [0.06, 0.06, 0.13, 0.25, 0.5]} if "Matryoshka" in stem else {}
        )
    else:
        more["sparsity_warmup_steps"] = max(1, steps // 20)
    if penalty:
        more[penalty] = 0.1 * job["penalty"]
    if stem == "JumpReluTrainer":
        more["target_l0"] = float(job["k"])
    trainer = kind(
        steps=steps,
        activation_dim=x.shape[1],
        dict_size=job["width"],
        layer=0,
        lm_name="",
        device="cpu",
        seed=0,
        **more,
    )

    def answer(held: Tensor) -> Answer:
        codes = trainer.ae.encode(held)
        return trainer.ae.decode(codes), (codes != 0).sum()

    return Learner(trainer.update, answer)


LIBRARIES = {
    "semascope": semascope,
    "sparsify": sparsify,
    "saelens": saelens,
    "dictionary_learning": dictionary_learning,
}


def measured(learner: Learner, held: Tensor, size: int) -> dict[str, float]:
    """FVU and L0 on held-out activations."""
    sse = active = 0.0
    with torch.no_grad():
        for part in torch.split(held, size):
            x_hat, on = learner.answer(part)
            sse += float((x_hat.double() - part.double()).square().sum())
            active += float(on)
    whole = held.double()
    spread = float((whole - whole.mean(0)).square().sum())
    return {"fvu": sse / spread, "l0": active / len(held)}


def main() -> None:
    """Every job in turn; what cannot be is said, and the next one begins."""
    library, file, jobs, threads = sys.argv[1:5]
    torch.set_num_threads(int(threads))
    data = load_file(file)
    for job in json.loads(Path(jobs).read_text(encoding="utf-8")):
        torch.manual_seed(0)
        began = time.perf_counter()
        try:
            learner = LIBRARIES[library](job, data["x"])
            for i, part in enumerate(batches(data["x"], job)):
                if i == job["steps"] or library == "semascope":
                    break
                learner.step(i, part)
            say(**job, **measured(learner, data["held"], job["batch"]),
                seconds=time.perf_counter() - began)  # fmt: skip
        except NotImplementedError as error:
            say(**job, skipped=str(error))
        except (
            ImportError,
            AttributeError,
            LookupError,
            TypeError,
            RuntimeError,
            ValueError,
        ) as error:
            traceback.print_exc()
            say(**job, skipped=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
