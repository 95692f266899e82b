"""Activations for the benchmarks: from a file, or from a site of a model as it reads a corpus."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

SINK = 10.0
"""Tokens so many times as long as the median are left out: one would speak for thousands."""
HELD = 0.1
"""Share of the tokens kept for measuring."""


def add_arguments(parser: argparse.ArgumentParser, tokens: int) -> None:
    """Where activations come from, as flags."""
    parser.add_argument("--activations", type=Path, help="a .npy or .safetensors file of (N, d)")
    parser.add_argument("--model", default="sprite-llava")
    parser.add_argument("--site", default="resid_post.12")
    parser.add_argument("--corpus", default="scenes?n=20000+text")
    parser.add_argument("--text-only", action="store_true", help="leave the image tokens out")
    parser.add_argument("--tokens", type=int, default=tokens)


def read(options: argparse.Namespace) -> tuple[Tensor, Tensor, str]:
    """(N, d) to train on and (M, d) held out, of mean norm √d; and where they are from."""
    if options.activations is not None:
        x, origin = from_file(options.activations)[: options.tokens], options.activations.name
    else:
        x = from_model(options)
        origin = f"{options.model} {options.site}"
        origin += ", text tokens only" if options.text_only else ""
    x = x.float()
    x = x * (x.shape[1] ** 0.5 / x.norm(dim=1).mean())
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    held = max(1, int(HELD * len(x)))
    return x[held:].contiguous(), x[:held].contiguous(), origin


def from_file(path: Path) -> Tensor:
    """The one (N, d) array of a file."""
    if path.suffix == ".npy":
        return torch.from_numpy(np.load(path))
    from safetensors.torch import load_file

    arrays = [t for t in load_file(path).values() if t.ndim == 2]
    if len(arrays) != 1:
        raise SystemExit(f"{path} holds {len(arrays)} arrays of (N, d), not one.")
    return arrays[0]


def chunks_of(options: argparse.Namespace) -> Any:
    """The activations that training would read of a model, by number."""
    from semascope.corpus.open import open_corpus
    from semascope.pipeline.activations import SiteChunks
    from semascope.pipeline.run_context import load_subject

    subject = load_subject(options.model)
    corpus = open_corpus(options.corpus, seed=0)
    return SiteChunks(subject, corpus, options.site, rows=48, max_tokens=144)


def from_model(options: argparse.Namespace) -> Tensor:
    """(tokens, d) as the model reads the corpus, its stretches evenly spread."""
    from semascope.dictionary.training.token_sampling import outliers
    from semascope.subject.types import Kind

    chunks = chunks_of(options)
    parts: list[Tensor] = []
    order = np.random.default_rng(0).permutation(len(chunks))  # built-in parts follow one another
    for number in order:
        chunk = chunks(int(number))
        keep = chunk.kind == int(Kind.TEXT) if options.text_only else chunk.kind != 0
        keep &= ~outliers(chunk.x, SINK)
        parts.append(chunk.x[keep])
        if sum(map(len, parts)) >= options.tokens:
            break
    x = torch.cat(parts)[: options.tokens]
    if not len(x):
        raise SystemExit(f"{options.corpus} gives no such tokens.")
    return x
