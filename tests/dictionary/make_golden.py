"""Make the golden checkpoints with the peers' own code, and check that the peers read ours.

Run in an environment that has the peers' packages and this project's dependencies:

    PYTHONPATH=src python tests/dictionary/make_golden.py [--check-only]

Each case is a tiny dictionary (d = 16, width 64) with random weights, written by its library's own
saver, beside ``golden.safetensors`` with an input and the library's own reconstruction of it. Then
each golden checkpoint is loaded here, written again in its library's format, read by the library,
and compared. Not collected by pytest; the files that it makes are.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

GOLDEN = Path(__file__).parent / "golden"
D, WIDTH, K, OUT = 16, 64, 5, 12
READ = {
    "standard": "StandardSAE",
    "topk": "TopKSAE",
    "jumprelu": "JumpReLUSAE",
    "gated": "GatedSAE",
    "skip_transcoder": "SkipTranscoder",
}


def bare(name: str, **attributes: Any) -> None:
    """Register a package without running its __init__, which would import trainers and servers."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.submodule_search_locations is not None, f"install {name}"
    module = ModuleType(name)
    module.__path__ = list(spec.submodule_search_locations)
    for key, value in attributes.items():
        setattr(module, key, value)
    sys.modules[name] = module


def shake(module: nn.Module) -> None:
    """Random weights everywhere, biases and thresholds included."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, parameter in [*module.named_parameters(), *module.named_buffers()]:
            if not parameter.is_floating_point():
                continue
            noise = torch.randn(parameter.shape, generator=generator)
            if "threshold" in name:
                parameter.copy_(0.3 + 0.2 * noise.abs())
            elif parameter.ndim == 2:
                parameter.copy_(noise / parameter.shape[-1] ** 0.5)
            else:
                parameter.copy_(0.1 * noise)


def sparsify_cases() -> dict[str, Callable[[Path], Callable[[Tensor], Tensor]]]:
    """SAE, transcoder, skip transcoder."""
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
    bare("sparsify")
    config = importlib.import_module("sparsify.config").SparseCoderConfig
    coder = importlib.import_module("sparsify.sparse_coder").SparseCoder

    def make(**fields: Any) -> Callable[[Path], Callable[[Tensor], Tensor]]:
        def write(path: Path) -> Callable[[Tensor], Tensor]:
            made = coder(D, config(num_latents=WIDTH, k=K, **fields))
            shake(made)
            made.save_to_disk(path)
            return lambda x: made(x, y=x).sae_out if fields.get("transcode") else made(x).sae_out

        return write

    return {
        "sparsify-topk": make(),
        "sparsify-transcoder": make(transcode=True),
        "sparsify-skip": make(transcode=True, skip_connection=True),
    }


class Rooted(nn.Module):
    """What a module with hook points must offer."""

    def setup(self) -> None:
        """Hook points would be named here."""


def saelens_cases() -> dict[str, Callable[[Path], Callable[[Tensor], Tensor]]]:
    """Version 6 inference checkpoints, and one of BatchTopK training."""
    hooks = ModuleType("transformer_lens.hook_points")  # hook points only watch: stand-ins do
    hooks.HookPoint = nn.Identity  # type: ignore[attr-defined]
    hooks.HookedRootModule = Rooted  # type: ignore[attr-defined]
    bare("transformer_lens")
    sys.modules["transformer_lens.hook_points"] = hooks
    sys.modules["transformer_lens.HookedTransformer"] = hooks
    bare("sae_lens", __version__="6.54.12", logger=__import__("logging").getLogger("sae_lens"))
    saes = importlib.import_module("sae_lens.saes")
    register = importlib.import_module("sae_lens.registry").register_sae_class
    for name, kind in READ.items():  # what the package's __init__ would have done
        register(name, getattr(saes, kind), getattr(saes, f"{kind}Config"))

    def make(kind: str, **fields: Any) -> Callable[[Path], Callable[[Tensor], Tensor]]:
        def write(path: Path) -> Callable[[Tensor], Tensor]:
            cfg = getattr(saes, f"{kind}Config")(d_in=D, d_sae=WIDTH, device="cpu", **fields)
            made = getattr(saes, kind)(cfg)
            shake(made)
            if kind == "BatchTopKTrainingSAE":
                made.topk_threshold.fill_(0.4)
                made.save_model(path)
                reader = load_inference(made)
                return lambda x: reader(x)
            made.save_model(path)
            return lambda x: made.decode(made.encode(x)) + skip(made, x)

        return write

    def load_inference(made: Any) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            made.save_inference_model(folder)
            return saes.SAE.load_from_disk(folder, device="cpu")

    return {
        "saelens-standard": make("StandardSAE"),
        "saelens-topk": make("TopKSAE", k=K),
        "saelens-topk-rescaled": make("TopKSAE", k=K, rescale_acts_by_decoder_norm=True),
        "saelens-jumprelu": make("JumpReLUSAE"),
        "saelens-gated": make("GatedSAE"),
        "saelens-batchtopk-training": make("BatchTopKTrainingSAE", k=K),
        "saelens-skip-transcoder": make("SkipTranscoder", d_out=OUT, apply_b_dec_to_input=False),
    }


def skip(made: Any, x: Tensor) -> Tensor | float:
    """The skip path, which SAELens adds outside decode."""
    return x @ made.W_skip.t() if hasattr(made, "W_skip") else 0.0


def dictionary_learning_cases() -> dict[str, Callable[[Path], Callable[[Tensor], Tensor]]]:
    """Every class of dictionary."""
    bare("dictionary_learning")
    bare("dictionary_learning.trainers")
    plain = importlib.import_module("dictionary_learning.dictionary")
    names = {"AutoEncoderTopK": "top_k", "BatchTopKSAE": "batch_top_k"}
    names["MatryoshkaBatchTopKSAE"] = "matryoshka_batch_top_k"
    classes: dict[str, Any] = {
        name: getattr(importlib.import_module(f"dictionary_learning.trainers.{file}"), name)
        for name, file in names.items()
    }
    for name in ("AutoEncoder", "AutoEncoderNew", "GatedAutoEncoder", "JumpReluAutoEncoder"):
        classes[name] = getattr(plain, name)
    extra = {"AutoEncoderTopK": {"k": K}, "BatchTopKSAE": {"k": K}}
    extra["MatryoshkaBatchTopKSAE"] = {"k": K, "group_sizes": [16, 48]}  # type: ignore[dict-item]

    def make(name: str) -> Callable[[Path], Callable[[Tensor], Tensor]]:
        def write(path: Path) -> Callable[[Tensor], Tensor]:
            made = classes[name](D, WIDTH, **extra.get(name, {}))
            shake(made)
            path.mkdir(parents=True, exist_ok=True)
            torch.save(made.state_dict(), path / "ae.pt")
            trainer = {"dict_class": name, "activation_dim": D, "dict_size": WIDTH, "k": K}
            (path / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {}}))
            return lambda x: made.decode(made.encode(x))

        return write

    return {f"dictionary_learning-{name}": make(name) for name in classes}


CASES = (sparsify_cases, saelens_cases, dictionary_learning_cases)


def make_all() -> None:
    """Write every golden case of every peer that is installed."""
    x = torch.randn((24, D), generator=torch.Generator().manual_seed(5))
    for family in CASES:
        for name, write in family().items():
            folder = GOLDEN / name
            shutil.rmtree(folder, ignore_errors=True)
            run = write(folder)
            with torch.no_grad():
                x_hat = run(x).detach().float().contiguous()
            save_file({"x": x, "x_hat": x_hat}, folder / "golden.safetensors")
            print("made", name, tuple(x_hat.shape))


def check_all() -> None:
    """Load each golden here, write it again, read it with its own library, compare."""
    from semascope.dictionary import load, save

    for folder in sorted(GOLDEN.iterdir()):
        family = folder.name.split("-")[0]
        data = load_file(folder / "golden.safetensors")
        coder = load(folder, allow_pickle=True)
        with tempfile.TemporaryDirectory() as name:
            save(coder, name, to=family)
            x_hat = READERS[family](Path(name), folder.name)(data["x"])
        print(f"{folder.name:45s} {float((x_hat - data['x_hat']).abs().max()):.2e}")


def read_sparsify(path: Path, case: str) -> Callable[[Tensor], Tensor]:
    """By sparsify's own loader."""
    cfg = json.loads((path / "cfg.json").read_text())
    cfg.pop("semascope")  # its loader passes over unknown keys or not, by simple_parsing's version
    (path / "cfg.json").write_text(json.dumps(cfg))
    made = sys.modules["sparsify.sparse_coder"].SparseCoder.load_from_disk(path, device="cpu")
    return lambda x: made(x, y=x).sae_out if made.cfg.transcode else made(x).sae_out


def read_saelens(path: Path, case: str) -> Callable[[Tensor], Tensor]:
    """By SAELens' own loader."""
    made = sys.modules["sae_lens.saes"].SAE.load_from_disk(path, device="cpu")  # type: ignore[attr-defined]
    return lambda x: made.decode(made.encode(x)) + skip(made, x)


def read_dictionary_learning(path: Path, case: str) -> Callable[[Tensor], Tensor]:
    """By the class that the configuration names."""
    name = json.loads((path / "config.json").read_text())["trainer"]["dict_class"]
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("dictionary_learning") and hasattr(
            module, name
        ):
            made = getattr(module, name).from_pretrained(path / "ae.pt")
            return lambda x: made.decode(made.encode(x))
    raise LookupError(name)


READERS: dict[str, Callable[[Path, str], Callable[[Tensor], Tensor]]] = {
    "sparsify": read_sparsify,
    "saelens": read_saelens,
    "dictionary_learning": read_dictionary_learning,
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--check-only", action="store_true")
    if parser.parse_args().check_only:
        for cases in CASES:
            cases()
    else:
        make_all()
    with torch.no_grad():
        check_all()
