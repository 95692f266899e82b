"""Processors of families that read video too, made to read pictures only.

transformers' video processors need torchvision, and its processors refuse to be made without
one. A subject here reads pictures, so that where torchvision is missing a stand-in takes the
video processor's place. Knows processors; nothing of models.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from transformers.processing_utils import VideosKwargs


class NoVideo:
    """Stands where a video processor would, and reads nothing."""

    model_input_names: tuple[str, ...] = ()
    valid_kwargs = VideosKwargs
    num_frames = None
    fps = None
    _auto_class = None


def still(processor_class: Any) -> Any:
    """The processor class itself, or, without torchvision, one that does with ``NoVideo``."""
    needs = "video_processor" in processor_class.get_attributes()
    if not needs or find_spec("torchvision") is not None:
        return processor_class

    class Still(processor_class):  # type: ignore[misc]
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if isinstance(argument, NoVideo):
                return NoVideo
            return super().check_argument_for_proper_class(argument_name, argument)

        def to_dict(self) -> dict[str, Any]:
            return {k: v for k, v in super().to_dict().items() if not isinstance(v, NoVideo)}

        @classmethod
        def get_attributes(cls) -> list[str]:
            return list(processor_class.get_attributes())

        @classmethod
        def _get_arguments_from_pretrained(
            cls, where: str, processor_dict: Any = None, **kwargs: Any
        ) -> list[Any]:
            return [_part(name, where, kwargs) for name in cls.get_attributes()]

    Still.__name__ = Still.__qualname__ = processor_class.__name__
    return Still


def video_processor(processor_class: Any) -> Any:
    """An instance of what ``still(processor_class)`` wants as its video processor."""
    if find_spec("torchvision") is None:
        return NoVideo()
    import transformers

    name = processor_class.__name__.replace("Processor", "VideoProcessor")
    return getattr(transformers, name.replace("2_5", "2"))()


def _part(name: str, where: str, kwargs: dict[str, Any]) -> Any:
    from transformers import AutoImageProcessor, AutoTokenizer

    options = {k: v for k, v in kwargs.items() if k in ("local_files_only", "revision", "token")}
    if "video" in name:
        return NoVideo()
    if "tokenizer" in name:
        return AutoTokenizer.from_pretrained(where, **options)
    return AutoImageProcessor.from_pretrained(where, backend="pil", **options)
