"""One contestant of the dictionary benchmark in a process of its own.

    python _dictionary_step.py NAME FILE THREADS

Reads weights and one batch from FILE (safetensors), builds the contestant's TopK SAE with exactly
these weights, answers on standard output with the error of its reconstruction, and then, for every
line ``steps N`` on standard input, takes N training steps and answers with their time. It imports
nothing of this project but for the contestant ``semascope``, so that it runs in the peers' own
environment. Every contestant takes a whole step in float32: forward, backward, Adam, and its own
library's upkeep of decoder norms and gradient clipping.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

LR = 1e-4
Step = Callable[[], None]
Weights = dict[str, Tensor]


def bare(name: str, **attributes: Any) -> None:
    """Register a package without running its __init__, which would import trainers and servers."""
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"{name} is not installed")
    module = ModuleType(name)
    module.__path__ = list(spec.submodule_search_locations)
    for key, value in attributes.items():
        setattr(module, key, value)
    sys.modules[name] = module


def without_hooks() -> None:
    """Stand-ins for TransformerLens' hook points, which only watch, where SAELens imports them."""
    hooks = ModuleType("transformer_lens.hook_points")
    hooks.HookPoint = nn.Identity  # type: ignore[attr-defined]
    hooks.HookedRootModule = type("Rooted", (nn.Module,), {"setup": lambda self: None})  # type: ignore[attr-defined]
    sys.modules["transformer_lens"] = ModuleType("transformer_lens")
    sys.modules["transformer_lens.hook_points"] = hooks
    sys.modules["transformer_lens.HookedTransformer"] = hooks


def semascope(w: Weights, x: Tensor, k: int) -> tuple[Tensor, Step]:
    """This project's whole training step, checks and bookkeeping included."""
    from semascope.dictionary import ActivationBatch, TrainConfig
    from semascope.dictionary.training.trainer import Trainer

    config = TrainConfig(width=len(w["W_enc"]), k=k, steps=10**6, lr=LR, normalize_input=False)
    trainee = Trainer(config, config.coder(x.shape[1]), batch_tokens=len(x))
    trainee.coder.load_state_dict(w)
    batch = ActivationBatch(x, torch.ones(len(x), dtype=torch.int8))
    return trainee.coder(x).x_hat.detach(), lambda: trainee.learn(batch)


def sparsify(w: Weights, x: Tensor, k: int) -> tuple[Tensor, Step]:
    """EleutherAI's SparseCoder, with the upkeep of its trainer."""
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
    bare("sparsify")
    config = importlib.import_module("sparsify.config").SparseCoderConfig
    made = importlib.import_module("sparsify.sparse_coder").SparseCoder(
        x.shape[1], config(num_latents=len(w["W_enc"]), k=k)
    )
    made.encoder.weight.data.copy_(w["W_enc"])
    made.encoder.bias.data.copy_(w["b_enc"])
    made.W_dec.data.copy_(w["W_dec"])
    made.b_dec.data.copy_(w["b_dec"])
    optimizer = torch.optim.Adam(made.parameters(), LR)

    def step() -> None:
        optimizer.zero_grad()
        made(x).fvu.backward()
        made.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        made.set_decoder_norm_to_unit_norm()

    return made(x).sae_out.detach(), step


def saelens(w: Weights, x: Tensor, k: int) -> tuple[Tensor, Step]:
    """SAELens' TopK training SAE as its trainer steps it."""
    without_hooks()
    bare("sae_lens", __version__="", logger=logging.getLogger("sae_lens"))
    saes = importlib.import_module("sae_lens.saes")
    registry = importlib.import_module("sae_lens.registry")  # the package's __init__ would fill it
    registry.register_sae_class("topk", saes.TopKSAE, saes.TopKSAEConfig)
    registry.register_sae_training_class("topk", saes.TopKTrainingSAE, saes.TopKTrainingSAEConfig)
    step_input = importlib.import_module("sae_lens.saes.sae").TrainStepInput
    cfg = saes.TopKTrainingSAEConfig(d_in=x.shape[1], d_sae=len(w["W_enc"]), k=k, device="cpu")
    made = saes.TopKTrainingSAE(cfg)
    made.W_enc.data.copy_(w["W_enc"].t())
    made.b_enc.data.copy_(w["b_enc"])
    made.W_dec.data.copy_(w["W_dec"])
    made.b_dec.data.copy_(w["b_dec"])
    optimizer = torch.optim.Adam(made.parameters(), LR)

    def forward() -> Any:
        given = {"sae_in": x, "coefficients": {}, "dead_neuron_mask": None, "n_training_steps": 1}
        fields = step_input.__dataclass_fields__
        extra = {name: False for name in fields if name.startswith("is_")}
        return made.training_forward_pass(step_input(**given, **extra))

    def step() -> None:
        optimizer.zero_grad()
        forward().loss.backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        optimizer.step()

    return forward().sae_out.detach(), step


def dictionary_learning(w: Weights, x: Tensor, k: int) -> tuple[Tensor, Step]:
    """dictionary_learning's TopKTrainer.update."""
    bare("dictionary_learning")
    bare("dictionary_learning.trainers")
    trainer_class = importlib.import_module("dictionary_learning.trainers.top_k").TopKTrainer
    trainer = trainer_class(
        steps=10**6,
        activation_dim=x.shape[1],
        dict_size=len(w["W_enc"]),
        k=k,
        layer=0,
        lm_name="",
        lr=LR,
        device="cpu",
    )
    made = trainer.ae
    made.encoder.weight.data.copy_(w["W_enc"])
    made.encoder.bias.data.copy_(w["b_enc"])
    made.decoder.weight.data.copy_(w["W_dec"].t())
    made.b_dec.data.copy_(w["b_dec"])
    with torch.no_grad():
        x_hat = made.decode(made.encode(x))
    count = iter(range(1, 10**6))
    return x_hat, lambda: trainer.update(next(count), x)


def dense(w: Weights, x: Tensor, k: int) -> tuple[Tensor, Step]:
    """Plain torch: a dense code, autograd, unit rows."""
    p = {name: nn.Parameter(t.clone()) for name, t in w.items()}
    optimizer = torch.optim.Adam(list(p.values()), LR)
    variance = (x - x.mean(0)).square().sum()

    def forward() -> Tensor:
        pre = torch.relu((x - p["b_dec"]) @ p["W_enc"].t() + p["b_enc"])
        best = pre.topk(k, sorted=False)
        z = torch.zeros_like(pre).scatter(1, best.indices, best.values)
        return z @ p["W_dec"] + p["b_dec"]

    def step() -> None:
        optimizer.zero_grad()
        ((forward() - x).square().sum() / variance).backward()
        optimizer.step()
        with torch.no_grad():
            p["W_dec"] /= p["W_dec"].norm(dim=1, keepdim=True)

    return forward().detach(), step


def product(w: Weights, x: Tensor, k: int) -> tuple[Tensor, Step]:
    """No contestant but the floor: the encoder's product alone, which every exact step contains."""
    pre = torch.empty(len(x), len(w["W_enc"]))
    x_hat = w["b_dec"].expand_as(x).clone()
    for rows in torch.arange(len(x)).split(256):
        best = ((x[rows] - w["b_dec"]) @ w["W_enc"].t()).topk(k)
        x_hat[rows] += torch.einsum("nk,nkd->nd", best.values.relu(), w["W_dec"][best.indices])

    def step() -> None:
        torch.mm(x, w["W_enc"].t(), out=pre)

    return x_hat, step


CONTESTANTS = {
    "semascope": semascope,
    "sparsify": sparsify,
    "saelens": saelens,
    "dictionary_learning": dictionary_learning,
    "dense": dense,
    "product": product,
}


def say(**value: Any) -> None:
    """One line of JSON, marked, since libraries print as they like."""
    print("@" + json.dumps(value), flush=True)


def main() -> None:
    """Build, report the reconstruction's error, then step on demand."""
    name, file, threads = sys.argv[1:4]
    torch.set_num_threads(int(threads))
    data = load_file(file)
    x, k, truth = data.pop("x"), int(data.pop("k")), data.pop("x_hat")
    try:
        x_hat, step = CONTESTANTS[name](data, x, k)
    except (ImportError, AttributeError, TypeError) as error:
        traceback.print_exc()
        say(error=f"{type(error).__name__}: {error}")
        return
    say(difference=float((x_hat - truth).abs().max()))
    step()  # optimiser state, allocator and thread pools come into being
    for line in sys.stdin:
        steps = int(line.split()[1])
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(steps):
            step()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        say(wall=wall / steps, cpu=cpu / steps, peak_mb=peak)


if __name__ == "__main__":
    main()
