"""Every causal language model of transformers that can be made tiny, through the model check.

    python -m benchmarks.families [--only bloom opt] > docs/figures/families.json

A family is right where no check fails, and told where it ends in a sentence; ``silent`` counts the
rest. Weights are random; each model is made from its config with small numbers.
"""

from __future__ import annotations

import argparse
import json
import warnings
from typing import Any

import torch

from semascope.errors import SemascopeError
from semascope.subject import Subject
from semascope.subject.check import check, failures
from semascope.subject.testing import make_tokenizer

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "n_embd": 32,
    "d_model": 32,
    "embed_dim": 32,
    "word_embed_proj_dim": 32,
    "intermediate_size": 64,
    "ffn_dim": 64,
    "n_inner": 64,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "num_hidden_layers": 3,
    "n_layer": 3,
    "n_layers": 3,
    "num_layers": 3,
    "num_attention_heads": 4,
    "n_head": 4,
    "n_heads": 4,
    "num_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rotary_dim": 8,
    "state_size": 8,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 256,
    "n_positions": 256,
    "max_seq_len": 256,
    "chunk_size": 16,
    "mamba_d_state": 8,
    "lru_width": 32,
}


def main() -> None:
    """Check all, and print the table as JSON."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[])
    wanted = parser.parse_args().only
    rows = []
    for config, model in MODEL_FOR_CAUSAL_LM_MAPPING.items():
        if wanted and config.model_type not in wanted:
            continue
        rows.append({"family": config.model_type, **checked(config, model)})
        print(json.dumps(rows[-1]), flush=True) if wanted else None
    if not wanted:
        kinds = {kind: sum(row["result"] == kind for row in rows) for kind in RESULTS}
        print(json.dumps({"counts": kinds, "families": rows}, indent=1))


RESULTS = ("right", "sentence", "not made", "silent")


def checked(config: Any, model: Any) -> dict[str, str]:
    """What comes out for one family: right, a sentence, or silent; not made where it is too large
    or its config does not take small numbers."""
    try:
        made, tokenizer = tiny(config, model)
    except Exception as error:  # noqa: BLE001 foreign constructors, with odd numbers
        return {"result": "not made", "why": f"{type(error).__name__}: {error}"[:160]}
    try:
        subject = Subject(made, tokenizer, name=config.model_type)
        failed = failures(check(subject))
    except SemascopeError as error:
        return {"result": "sentence", "why": str(error)}
    except Exception as error:  # noqa: BLE001 the very thing that this table counts
        return {"result": "silent", "why": f"{type(error).__name__}: {error}"[:160]}
    if failed:
        return {"result": "sentence", "why": f"{failed[0].name}: {failed[0].sentence}"}
    gone = ", ".join(sorted({site.partition(".")[0] for site in subject.unavailable}))
    notes = [f"without {gone}"] if gone else []
    notes += [] if subject.decodes.cached else ["answers without a cache"]
    notes += [] if subject.decodes.batched else ["answers one by one"]
    return {"result": "right", "why": "; ".join(notes)}


def tiny(config: Any, model: Any) -> tuple[Any, Any]:
    """A model of three small layers with a tokenizer. ValueError where it would be large."""
    tokenizer = make_tokenizer()
    known = config().to_dict()
    names = set(known) | set(getattr(config, "attribute_map", {}))
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "vocab_size": len(tokenizer)}
    options = {k: v for k, v in SMALL.items() if k in names} | ids
    options["bos_token_id"] = tokenizer.bos_token_id
    options["eos_token_id"] = tokenizer.eos_token_id
    options["pad_token_id"] = tokenizer.pad_token_id
    torch.manual_seed(0)
    settings = config(**options)
    with torch.device("meta"):
        size = sum(p.numel() for p in model(settings).parameters())
    if size > 20_000_000:
        raise ValueError(f"{size:,} parameters")
    made = model(settings)
    for parameter in made.parameters():
        if parameter.ndim >= 2 and float(parameter.detach().std()) < 0.1:
            parameter.data.normal_(std=0.15)
    return made.float(), tokenizer


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
