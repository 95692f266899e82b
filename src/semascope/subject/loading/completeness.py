"""Checks that a model can be a subject, and that all of its weights were loaded.

It reads the config and transformers' loading report (``output_loading_info``).
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any

from semascope.errors import SubjectError

log = logging.getLogger(__name__)

SPARE = (".inv_freq", ".masked_bias", ".attn.bias", ".position_ids", ".num_batches_tracked")
"""Suffixes of buffers that old checkpoints hold and newer models compute."""
QUANTISERS = {
    "awq": ("gptqmodel", "awq"),
    "gptq": ("gptqmodel", "auto_gptq"),
    "bitsandbytes": ("bitsandbytes",),
    "bitsandbytes_4bit": ("bitsandbytes",),
    "bitsandbytes_8bit": ("bitsandbytes",),
    "compressed-tensors": ("compressed_tensors",),
    "aqlm": ("aqlm",),
    "quanto": ("optimum",),
    "hqq": ("hqq",),
    "eetq": ("eetq", "kernels"),
    "torchao": ("torchao",),
    "vptq": ("vptq",),
    "spqr": ("spqr_quant",),
    "auto-round": ("auto_round",),
    "quark": ("quark",),
}
"""Packages of which one must be there, by a checkpoint's quant_method."""


def whole(config: Any, where: str) -> None:
    """Raise SubjectError for models of which a causal language model is only half."""
    text = config.get_text_config(decoder=True)
    halves = [getattr(c, "is_encoder_decoder", False) for c in (config, text)]
    if any(half is True for half in halves):
        raise SubjectError(
            f"The model {where!r} ({config.model_type}) is an encoder-decoder, and only decoders "
            "are read here: half of it would be left out. Choose a causal language model, or one "
            "that reads pictures with such a decoder (LLaVA, Qwen-VL, Gemma 3…)."
        )
    made = " ".join(getattr(config, "architectures", None) or ())
    if "ForMaskedLM" in made or ("ForPreTraining" in made and "Causal" not in made):
        known = getattr(config, "is_decoder", None)
        if known is False:
            raise SubjectError(
                f"The model {where!r} ({made}) predicts masked words and sees what follows them: "
                "it is no causal language model, and does not answer. Choose one that is."
            )


def complete(where: str, loaded: dict[str, Any], *, trust: bool) -> None:
    """Raise SubjectError where weights of a model did not come from its checkpoint.

    Those are random numbers now. Weights of the checkpoint that the model has no place for are
    named in a warning; tied weights and those that transformers knows to be spare are neither.
    """
    missing = sorted(loaded.get("missing_keys", ()))
    shapes = sorted(loaded.get("mismatched_keys", ()))
    spare = sorted(k for k in loaded.get("unexpected_keys", ()) if not k.endswith(SPARE))
    if spare:
        log.warning("Weights of %s that this model has no place for: %s.", where, _some(spare))
    failed = [f"{len(missing)} are missing: {_some(missing)}"] if missing else []
    if shapes:
        name, found, wanted = shapes[0][:3]
        failed.append(
            f"{len(shapes)} have another shape than the config's, {name} the first "
            f"({tuple(found)} for {tuple(wanted)})"
        )
    failed += [str(line) for line in loaded.get("error_msgs", ())][:1]
    if not failed:
        return
    also = f" Its checkpoint has others instead: {_some(spare)}." if spare else ""
    sentence = (
        f"Not all weights of {where!r} were loaded, and random numbers stand in their place: "
        f"{'; '.join(failed)}.{also} The checkpoint is of another model or version, or not whole."
    )
    if not trust:
        raise SubjectError(f"{sentence} To go on all the same: --trust.")
    log.warning("%s", sentence)


def _some(names: list[str]) -> str:
    """The first of some names, and how many there are."""
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest


def need_quantiser(where: str, config: Any) -> None:
    """Raise SubjectError where a checkpoint is quantised by a library that is not installed."""
    asked = getattr(config, "quantization_config", None)
    if asked is None:
        return
    method = asked.get("quant_method") if isinstance(asked, dict) else asked.quant_method
    name = str(getattr(method, "value", method)).lower()
    packages = QUANTISERS.get(name, ())
    if packages and not any(find_spec(package) for package in packages):
        raise SubjectError(
            f"The model {where!r} is quantised by {name}, which needs the package "
            f"{' or '.join(packages)}: install it, or use the checkpoint that is not quantised."
        )
