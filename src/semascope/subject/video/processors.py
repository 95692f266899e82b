"""Processors of families that read video, without transformers' video processors.

Video processors need torchvision, and processors cannot be created without one. Our own frame
reader replaces it in the families of ``frames.READERS``; in others, if torchvision is missing, a
stand-in that reads nothing does.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers.processing_utils import VideosKwargs

from semascope.subject.video.frames import READERS, FrameReader

SETTINGS = ("video_preprocessor_config.json", "preprocessor_config.json")
"""Files of a checkpoint with the settings of frames, in order of preference."""


class NoVideoProcessor:
    """Replaces a video processor, and reads nothing."""

    model_input_names: tuple[str, ...] = ()
    valid_kwargs = VideosKwargs
    num_frames = None
    fps = None
    _auto_class = None


STAND_INS = (NoVideoProcessor, FrameReader)


def still(processor_class: Any) -> Any:
    """The class itself, or, if it needs a video processor, one that takes our replacement."""
    needs = "video_processor" in processor_class.get_attributes()
    known = processor_class.__name__ in READERS
    if not needs or (not known and find_spec("torchvision") is not None):
        return processor_class

    class Still(processor_class):  # type: ignore[misc]
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if isinstance(argument, STAND_INS):
                return type(argument)
            return super().check_argument_for_proper_class(argument_name, argument)

        def to_dict(self) -> dict[str, Any]:
            made = {
                k: v for k, v in super().to_dict().items() if not isinstance(v, NoVideoProcessor)
            }
            return {k: v.to_dict() if isinstance(v, FrameReader) else v for k, v in made.items()}

        @classmethod
        def get_attributes(cls) -> list[str]:
            return list(processor_class.get_attributes())

        @classmethod
        def _get_arguments_from_pretrained(
            cls, where: str, processor_dict: Any = None, **kwargs: Any
        ) -> list[Any]:
            return [_part(processor_class, name, where, kwargs) for name in cls.get_attributes()]

    Still.__name__ = Still.__qualname__ = processor_class.__name__
    return Still


def video_processor(processor_class: Any, **settings: Any) -> Any:
    """The video processor for ``still(processor_class)``."""
    reader = READERS.get(processor_class.__name__)
    return NoVideoProcessor() if reader is None else reader(**settings)


def reads_video(processor: Any) -> bool:
    """Whether a processor reads videos; others are shown frames as pictures."""
    return isinstance(getattr(processor, "video_processor", None), FrameReader)


def _part(processor_class: Any, name: str, where: str, kwargs: dict[str, Any]) -> Any:
    from transformers import AutoImageProcessor, AutoTokenizer

    options = {k: v for k, v in kwargs.items() if k in ("local_files_only", "revision", "token")}
    if "video" in name:
        return video_processor(processor_class, **_settings(where, options))
    if "tokenizer" in name:
        return AutoTokenizer.from_pretrained(where, **options)
    return AutoImageProcessor.from_pretrained(where, backend="pil", **options)


def _settings(where: str, options: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's settings of frames, from the first of its files that has them."""
    whole = _file(where, "processor_config.json", options)
    if isinstance(whole.get("video_processor"), dict):
        return dict(whole["video_processor"])
    return next((s for s in (_file(where, name, options) for name in SETTINGS) if s), {})


def _file(where: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """A JSON file of a checkpoint; empty if it is missing."""
    from transformers.utils.hub import cached_file

    found = cached_file(
        where,
        name,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        **options,
    )
    value = json.loads(Path(found).read_text("utf-8")) if found else {}
    return value if isinstance(value, dict) else {}
