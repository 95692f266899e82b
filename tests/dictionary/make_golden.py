"""Make the golden checkpoints with the peers' own code, and check that the peers read ours.

Run in an environment that has the peers' packages and this project's dependencies:

    PYTHONPATH=src python tests/dictionary/make_golden.py [--check-only] [--only saelens-layer]

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

import numpy as np
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
    "jumprelu_skip_transcoder": "JumpReLUSkipTranscoder",
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
            return lambda x: made.decode(made.encode(x)) + skip(made, x)  # norms undone by decode

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
        "saelens-layer-norm": make("TopKSAE", k=K, normalize_activations="layer_norm"),
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


def scopes_cases() -> dict[str, Callable[[Path], Callable[[Tensor], Tensor]]]:
    """The Scope families' layouts, random weights, by SAELens' loaders; after ``saelens_cases``."""
    saes = importlib.import_module("sae_lens.saes")
    loaders = importlib.import_module("sae_lens.loading.pretrained_sae_loaders")
    draw = torch.Generator().manual_seed(12)

    def weights(out: int = D) -> dict[str, Tensor]:
        named = {"W_enc": (D, WIDTH), "W_dec": (WIDTH, out), "b_enc": (WIDTH,), "b_dec": (out,)}
        found = {n: 0.4 * torch.randn(shape, generator=draw) for n, shape in named.items()}
        return {**found, "threshold": 0.3 + 0.2 * torch.rand(WIDTH, generator=draw)}

    def made(
        loader: str, kind: str, repo: str, folder: str, root: Path, scale: float = 1.0, **more: Any
    ) -> Callable[[Tensor], Tensor]:
        def local(repo_id: str, filename: str, subfolder: str = "", **_: Any) -> str:
            return str(root / Path(subfolder, filename).relative_to(folder))

        loaders.hf_hub_download = local
        loaders.get_safetensors_tensor_shapes = lambda repo, name: {
            key: list(t.shape) for key, t in load_file(local(repo, name)).items()
        }
        cfg, state = getattr(loaders, loader)(repo, folder, device="cpu")[:2]
        cfg = {**loaders.handle_pre_6_0_config(cfg), **more}
        sae = getattr(saes, kind)(
            getattr(saes, f"{kind}Config").from_dict(
                {**cfg, "dtype": "float32", "d_in": D, "d_sae": WIDTH}
            )
        )
        sae.load_state_dict({name: t.float() for name, t in state.items()})
        if scale != 1:
            sae.fold_activation_norm_scaling_factor(scale)
        return lambda x: sae.decode(sae.encode(x)) + skip(sae, x)

    def gemma(root: Path) -> Callable[[Tensor], Tensor]:
        root.mkdir(parents=True)
        np.savez(root / "params.npz", **{name: t.numpy() for name, t in weights().items()})
        where = "layer_12/width_16k/average_l0_71"
        return made(
            "gemma_2_sae_huggingface_loader",
            "JumpReLUSAE",
            "google/gemma-scope-2b-pt-res",
            where,
            root,
        )

    def gemma2(root: Path) -> Callable[[Tensor], Tensor]:
        root.mkdir(parents=True)
        tensors = {name.lower(): t for name, t in weights(OUT).items()}
        tensors["affine_skip_connection"] = 0.3 * torch.randn((D, OUT), generator=draw)
        save_file(tensors, root / "params.safetensors")
        config = {
            "architecture": "jump_relu",
            "width": WIDTH,
            "model_name": "google/gemma-3-1b-pt",
            "affine_connection": True,
            "hf_hook_point_in": "model.layers.7.pre_feedforward_layernorm.output",
            "hf_hook_point_out": "model.layers.7.post_feedforward_layernorm.output",
        }
        (root / "config.json").write_text(json.dumps(config))
        where = "transcoder/layer_7_width_16k_l0_small_affine"
        return made(
            "gemma_3_sae_huggingface_loader", "JumpReLUSkipTranscoder", "google/x", where, root
        )

    def llama(root: Path) -> Callable[[Tensor], Tensor]:
        (root / "checkpoints").mkdir(parents=True)
        w = weights()
        unit = nn.functional.normalize(w["W_dec"], dim=1)
        tensors = {"encoder.weight": w["W_enc"].t(), "decoder.weight": unit.t()}
        tensors |= {"encoder.bias": w["b_enc"], "decoder.bias": w["b_dec"]}
        tensors = {name: t.to(torch.bfloat16).contiguous() for name, t in tensors.items()}
        save_file(tensors, root / "checkpoints" / "final.safetensors")
        norm = 3.0
        hyper = {
            "d_model": D,
            "d_sae": WIDTH,
            "act_fn": "jumprelu",
            "jump_relu_threshold": 0.25,
            "norm_activation": "dataset-wise",
            "hook_point_in": "blocks.15.hook_resid_post",
            "hook_point_out": "blocks.15.hook_resid_post",
            "dataset_average_activation_norm": {"in": norm, "out": norm},
            "sparsity_include_decoder_norm": True,
        }
        (root / "hyperparams.json").write_text(json.dumps(hyper))
        return made(
            "llama_scope_sae_huggingface_loader",
            "JumpReLUSAE",
            "fnlp/x",
            "L15R",
            root,
            D**0.5 / norm,
        )

    def qwen(root: Path) -> Callable[[Tensor], Tensor]:
        root.mkdir(parents=True)
        w = weights()
        state = {"W_enc": w["W_enc"].t(), "W_dec": w["W_dec"].t()}
        state |= {"b_enc": w["b_enc"], "b_dec": w["b_dec"]}
        name = "layer3.sae.pt"
        torch.save({key: t.contiguous() for key, t in state.items()}, root / name)
        loaders.hf_hub_download = lambda **_: str(root / name)
        cfg = saes.TopKSAEConfig(d_in=D, d_sae=WIDTH, k=K, apply_b_dec_to_input=False, device="cpu")
        loaders.get_qwen_scope_config_from_hf = lambda *a, **_: {}
        _, found, _ = loaders.qwen_scope_sae_huggingface_loader("Qwen/x", name)
        sae = saes.TopKSAE(cfg)
        sae.load_state_dict(found)
        return lambda x: sae.decode(sae.encode(x))

    return {
        "scopes-gemma": gemma,
        "scopes-gemma2-skip": gemma2,
        "scopes-llama": llama,
        f"scopes-qwen-L0_{K}": qwen,
    }


CASES = (sparsify_cases, saelens_cases, dictionary_learning_cases, scopes_cases)


def make_all(only: str = "") -> None:
    """Write every golden case of every peer, or those whose names begin so."""
    x = torch.randn((24, D), generator=torch.Generator().manual_seed(5))
    for family in CASES:
        for name, write in family().items():
            if not name.startswith(only):
                continue
            folder = GOLDEN / name
            shutil.rmtree(folder, ignore_errors=True)
            run = write(folder)
            with torch.no_grad():
                x_hat = run(x).detach().float().contiguous()
            save_file({"x": x, "x_hat": x_hat}, folder / "golden.safetensors")
            print("made", name, tuple(x_hat.shape))


def check_all() -> None:
    """Load each golden here, write it again, read it with its own library, compare.

    The Scope families' layouts are not written.
    """
    from semascope.dictionary import load, save

    for folder in sorted(GOLDEN.iterdir()):
        family = folder.name.split("-")[0]
        if family not in READERS:
            continue
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
    parser.add_argument("--only", default="", help="make the cases whose names begin so")
    asked = parser.parse_args()
    if asked.check_only:
        for cases in CASES:
            cases()
    else:
        make_all(asked.only)
    with torch.no_grad():
        check_all()
