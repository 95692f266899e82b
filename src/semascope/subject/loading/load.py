"""Loads a model and its processor: the embedded subject, from a folder, or from the hub."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch

from semascope.errors import ModelNotFound, SubjectError
from semascope.subject.loading.checkpoint import config_of, locate, near
from semascope.subject.loading.completeness import complete, need_quantiser, whole
from semascope.subject.video.processors import still

EMBEDDED = "sprite-llava"
CODE = "SEMASCOPE_TRUST_REMOTE_CODE"
"""Environment variable: 1 runs Python code that a checkpoint contains."""
DEVICES = ("cpu", "cuda", "mps", "xpu")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
QUANTISED = ("int8", "int4")

log = logging.getLogger(__name__)


def load(
    ref: str, *, device: str, dtype: str, offline: bool, trust: bool = False, code: bool = False
) -> tuple[Any, Any, str]:
    """(model, processor or tokenizer, name).

    ``trust`` continues although weights are missing; ``code`` runs the model's own Python code.

    Raises:
        ModelNotFound: no such model, or its files cannot be read.
        SubjectError: the model cannot be a subject, or a setting is not possible here.
    """
    target = _device(device)
    kind = _dtype(dtype, target)
    if ref == EMBEDDED:
        from semascope.subject.embedded.load import load_embedded

        small = "cuda" if target == "spread" else target  # it fits any one device
        model, processor = load_embedded(small, torch.float32 if isinstance(kind, str) else kind)
        return model, processor, EMBEDDED
    where = locate(ref)
    if not offline and not Path(where).is_dir() and not _hub_answers():
        log.warning("The hub cannot be reached: looking for %s in the local cache.", where)
        offline = True
    code = code or os.environ.get(CODE, "") == "1"
    options = {"local_files_only": offline, "trust_remote_code": code}
    with _quiet():
        config = _config(where, options)
        whole(config, where)
        model = _model(where, config, target, kind, dtype, options, trust)
        return model, _processor(where, config, options), ref


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' progress bars and reports; errors are reported here."""
    from transformers import logging as theirs

    level, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        theirs.set_verbosity(level)
        if bars:
            theirs.enable_progress_bar()


def _hub_answers() -> bool:
    """Whether the hub can be reached: transformers would try six times, for half a minute.

    True behind a proxy and with HF_HUB_OFFLINE set: the hub's own library handles these.
    """
    from huggingface_hub import constants

    hub = urlsplit(constants.ENDPOINT)
    if constants.HF_HUB_OFFLINE or not {hub.scheme, "all"}.isdisjoint(getproxies()):
        return True
    port = hub.port or (443 if hub.scheme == "https" else 80)
    try:
        socket.create_connection((hub.hostname or "", port), timeout=5).close()
    except OSError:
        return False
    return True


def _config(where: str, options: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    raw_config = config_of(Path(where)) if Path(where).is_dir() else None
    try:
        return AutoConfig.from_pretrained(where, **options)
    except Exception as error:  # foreign code, a model's own included: anything may be raised
        log.debug("no config for %s", where, exc_info=True)
        raise ModelNotFound(_no_config(where, raw_config, error)) from error


def _no_config(where: str, told: dict[str, Any] | None, error: Exception) -> str:
    """Why a model's config was not read."""
    import transformers

    if "trust_remote_code=True" in str(error) or (told or {}).get("auto_map"):
        return _own_code(where, error)
    if told is None:
        return (
            f"No model {where!r}: there is no folder of that name here{_meant(where)}, and the hub "
            f"did not give it ({_first_line(error)}). Check the name; without a network, give a "
            f"folder that save_pretrained wrote, or use {EMBEDDED!r}, which needs no download."
        )
    kind = told.get("model_type")
    if not kind:
        return (
            f"{where}/config.json names no model_type, so it is not the config of a transformers "
            "model: give the folder that save_pretrained wrote."
        )
    if kind not in transformers.CONFIG_MAPPING:
        return (
            f"The model in {where!r} is of type {kind!r}, which transformers "
            f"{transformers.__version__} does not know: update transformers, or use the "
            "checkpoint that was converted for it (for LLaVA, those of llava-hf)."
        )
    return f"The config in {where!r} cannot be read as that of a {kind}: {_first_line(error)}"


def _own_code(where: str, error: Exception) -> str:
    if "trust_remote_code=True" in str(error):
        return (
            f"The model {where!r} needs Python code of its own, which is not run unasked. Read "
            f"that code first; to run it, set {CODE}=1, or call Subject.load with "
            "trust_remote_code=True."
        )
    return f"The model {where!r} has code of its own, and that fails: {_first_line(error)}"


def _meant(where: str) -> str:
    hint = near(where)
    return f" ({hint.strip().removesuffix(' Otherwise')})" if hint else ""


def _model(
    where: str,
    config: Any,
    target: str,
    kind: torch.dtype | str,
    dtype: str,
    options: dict[str, Any],
    trust: bool,
) -> Any:
    given: dict[str, Any] = {"dtype": kind, **options}
    if dtype in QUANTISED:
        given |= {"quantization_config": _quantisation(dtype), "device_map": "auto"}
    elif target == "spread":
        _need("accelerate", "to spread a model over devices")
        given["device_map"] = "auto"
    need_quantiser(where, config)
    try:
        model, loaded = _loaded(where, config, given)
        model = model if "device_map" in given else model.to(target)
    except SubjectError:
        raise
    except Exception as error:  # foreign code: a checkpoint may fail in any way
        raise ModelNotFound(_no_model(where, config, target, error)) from error
    complete(where, loaded, trust=trust)
    return model


def _loaded(where: str, config: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The model and transformers' account of its weights.

    A config that asks for FlashAttention where there is none gets torch's own attention.
    """
    given = {**given, "output_loading_info": True, "ignore_mismatched_sizes": True}
    auto = _auto(config)
    try:
        return auto.from_pretrained(where, config=config, **given)  # type: ignore[no-any-return]
    except ImportError as error:
        if "flash" not in str(error).lower():
            raise
        log.warning("%s wants FlashAttention, which is not installed: sdpa is used.", where)
        given["attn_implementation"] = "sdpa"
        return auto.from_pretrained(where, config=config, **given)  # type: ignore[no-any-return]


def _auto(config: Any) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    sees = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    sees = sees or "AutoModelForImageTextToText" in (getattr(config, "auto_map", None) or {})
    return AutoModelForImageTextToText if sees else AutoModelForCausalLM


def _no_model(where: str, config: Any, target: str, error: Exception) -> str:
    """Why a model that has a config was not loaded."""
    if "trust_remote_code=True" in str(error):
        return _own_code(where, error)
    if "Unrecognized configuration class" in str(error):
        return (
            f"The model {where!r} ({config.model_type}) is neither a causal language model nor a "
            "vision-language model, so it cannot be a subject."
        )
    if isinstance(error, torch.OutOfMemoryError):
        return f"The model {where!r} does not fit into the memory of {target}: {_first_line(error)}"
    if isinstance(error, ImportError):
        return f"The model {where!r} needs a package that is not installed: {_first_line(error)}"
    return f"The model {where!r} has a config but cannot be loaded: {_first_line(error)}"


def _processor(where: str, config: Any, options: dict[str, Any]) -> Any:
    """The processor if the model reads pictures, else the tokenizer.

    Image processors use PIL, which needs no torchvision; geometry adapters are verified with it.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    sees = _auto(config) is AutoModelForImageTextToText
    try:
        if not sees and getattr(config, "vision_config", None) is None:
            return AutoTokenizer.from_pretrained(where, **options)
        known = PROCESSOR_MAPPING.get(type(config), None)
        if known is not None and still(known) is not known:
            return still(known).from_pretrained(where, **options)
        return AutoProcessor.from_pretrained(where, backend="pil", **options)
    except SubjectError:
        raise
    except Exception as error:  # foreign code: a tokenizer's file may fail in any way
        advice = "put its tokenizer and preprocessor files beside its weights."
        if isinstance(error, ImportError):
            advice = "install that package."
        if "trust_remote_code=True" in str(error):
            raise SubjectError(_own_code(where, error)) from error
        raise SubjectError(
            f"The model {where!r} has no tokenizer or processor that can be read "
            f"({_first_line(error)}): {advice}"
        ) from error


def _device(device: str) -> str:
    """An available device, as torch names it, or "spread"."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "spread":
        return device
    kind, _, number = device.partition(":")
    if kind not in DEVICES or (number and not number.isdigit()):
        raise SubjectError(
            f"There is no device {device!r}: use auto, cpu, cuda, cuda:1, mps, xpu or spread"
            f"{' (a GPU of NVIDIA or AMD is cuda)' if kind == 'gpu' else ''}."
        )
    if kind == "cpu":
        return kind
    backend = getattr(torch, kind)
    if kind == "cuda" and not backend.is_available():
        raise SubjectError("There is no CUDA device: use device='cpu', or 'auto' to choose.")
    if not backend.is_available():
        raise SubjectError(
            f"There is no {kind} device here: use device='cpu', or 'auto' to choose."
        )
    if number and int(number) >= backend.device_count():
        raise SubjectError(
            f"There is no device {device!r}: {kind} devices here are numbered from 0 to "
            f"{backend.device_count() - 1}."
        )
    return device


def _dtype(dtype: str, device: str) -> torch.dtype | str:
    """A torch dtype, or "auto" for the checkpoint's own."""
    if dtype in QUANTISED:
        if device == "cpu":
            raise SubjectError(f"dtype {dtype!r} needs a GPU: use float32 or bfloat16 on a CPU.")
        return "auto"
    if dtype == "auto":
        # Half precision is slow on most CPUs, and its rounding would hide small effects.
        return torch.float32 if device == "cpu" else "auto"
    if dtype not in DTYPES:
        known = ", ".join(["auto", *DTYPES, *QUANTISED])
        raise SubjectError(f"Unknown dtype {dtype!r}: choose one of {known}.")
    return DTYPES[dtype]


def _quantisation(dtype: str) -> Any:
    from transformers import BitsAndBytesConfig

    _need("bitsandbytes", f"for dtype {dtype!r}")
    return BitsAndBytesConfig(load_in_8bit=dtype == "int8", load_in_4bit=dtype == "int4")


def _need(module: str, why: str) -> None:
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise SubjectError(f"The package {module} is needed {why}: pip install {module}.")


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
