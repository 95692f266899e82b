"""From a name to a model and its processor: the embedded subject, a folder, or a hub.

Knows transformers' Auto classes and where files may be; nothing of hooks or samples.
"""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch

from semascope.errors import ModelNotFound, SubjectError
from semascope.subject.still import still

EMBEDDED = "sprite-llava"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
QUANTISED = ("int8", "int4")

log = logging.getLogger(__name__)


def load(ref: str, *, device: str, dtype: str, offline: bool) -> tuple[Any, Any, str]:
    """(model, processor or tokenizer, name)."""
    target = _device(device)
    kind = _dtype(dtype, target)
    if ref == EMBEDDED:
        from semascope.subject.embedded import load_embedded

        small = "cuda" if target == "spread" else target  # it fits any one device
        model, processor = load_embedded(small, torch.float32 if isinstance(kind, str) else kind)
        return model, processor, EMBEDDED
    where = _locate(ref)
    if not offline and not Path(where).is_dir() and not _hub_answers():
        log.warning("The hub cannot be reached: looking for %s among what it gave before.", where)
        offline = True
    config = _config(where, offline)
    model = _model(where, config, target, kind, dtype, offline)
    return model, _processor(where, config, offline), ref


def _locate(ref: str) -> str:
    """A folder's path or a hub name; ``ModelNotFound`` for what can be neither."""
    path = Path(ref).expanduser()
    if ref.strip() and path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelNotFound(
                f"The folder {ref!r} holds no config.json: give the folder that "
                "save_pretrained wrote."
            )
        return str(path)
    if path.is_absolute() or ref.startswith((".", "~")) or ref.count("/") > 1 or not ref.strip():
        raise ModelNotFound(
            f"There is no folder {ref!r}: give an existing folder, a hub name such as "
            f"org/model, or {EMBEDDED!r}, which needs no download."
        )
    return ref


def _hub_answers() -> bool:
    """Whether the hub can be reached: transformers would ask it six times, for half a minute.

    Behind a proxy only the proxy knows, and whoever set HF_HUB_OFFLINE has said that nothing is to
    be asked: there the answer is yes, and the rest is left to the hub's own library.
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


def _config(where: str, offline: bool) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(where, local_files_only=offline)
    except (OSError, ValueError) as error:
        log.debug("no config for %s: %s", where, error)
        raise ModelNotFound(
            f"No model {where!r}: it is not a folder here, and the hub did not give it "
            f"({_first_line(error)}). Check the name; without a network, give a folder that "
            f"save_pretrained wrote, or use {EMBEDDED!r}, which needs no download."
        ) from error


def _model(
    where: str, config: Any, target: str, kind: torch.dtype | str, dtype: str, offline: bool
) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    sees = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    auto = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    options: dict[str, Any] = {"dtype": kind, "local_files_only": offline}
    if dtype in QUANTISED:
        options |= {"quantization_config": _quantisation(dtype), "device_map": "auto"}
    elif target == "spread":
        _need("accelerate", "to spread a model over devices")
        options["device_map"] = "auto"
    try:
        model = auto.from_pretrained(where, config=config, **options)
    except (OSError, ValueError) as error:
        raise ModelNotFound(
            f"The model {where!r} has a config and cannot be loaded: {_first_line(error)}"
        ) from error
    return model if "device_map" in options else model.to(target)


def _processor(where: str, config: Any, offline: bool) -> Any:
    """The processor where the model sees, else the tokenizer.

    Image processors are asked for on PIL: it needs no torchvision, and is what the geometry
    adapters are proved on.
    """
    from transformers import AutoProcessor, AutoTokenizer
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    options = {"local_files_only": offline}
    try:
        if getattr(config, "vision_config", None) is None:
            return AutoTokenizer.from_pretrained(where, **options)
        known = PROCESSOR_MAPPING.get(type(config), None)
        if known is not None and still(known) is not known:
            return still(known).from_pretrained(where, **options)
        return AutoProcessor.from_pretrained(where, backend="pil", **options)
    except (OSError, ValueError, ImportError) as error:
        raise SubjectError(
            f"The model {where!r} has no tokenizer or processor that can be read "
            f"({_first_line(error)}): put its tokenizer and preprocessor files beside its weights."
        ) from error


def _device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SubjectError("No CUDA device is to be seen: use device='cpu', or 'auto' to choose.")
    return device


def _dtype(dtype: str, device: str) -> torch.dtype | str:
    """A torch dtype, or "auto" for the checkpoint's own."""
    if dtype in QUANTISED:
        if device == "cpu":
            raise SubjectError(f"dtype {dtype!r} needs a GPU: use float32 or bfloat16 on a CPU.")
        return "auto"
    if dtype == "auto":
        # Half precision is slow on most CPUs and rounds away what a microscope is to show.
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
