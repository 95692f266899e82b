"""Where in the picture each image token looks: one small adapter for each model family.

``register`` adds a family. ``geometry.verify`` tests the geometry of any subject: it paints over
parts of a picture, or over frames of a video, and checks which tokens change.
"""

from __future__ import annotations

from semascope.subject.geometry.anyres import LlavaNext, LlavaNextVideo, LlavaOnevision
from semascope.subject.geometry.base import (
    Adapter,
    AdapterInput,
    TokenClaims,
    VideoAdapter,
    VideoClaims,
)
from semascope.subject.geometry.llava import Llava
from semascope.subject.geometry.tiles import AyaVision, Idefics3, InternVL, Ovis2
from semascope.subject.geometry.whole import Gemma3, PaliGemma, Pixtral, QwenVL

_ADAPTERS: list[Adapter] = [
    Llava(),
    LlavaNext(),
    LlavaNextVideo(),
    LlavaOnevision(),
    QwenVL(),
    Idefics3(),
    Gemma3(),
    InternVL(),
    AyaVision(),
    Ovis2(),
    PaliGemma(),
    Pixtral(),
]

UNKNOWN = (
    "No adapter says where the image tokens of {kind!r} look, so heat maps on the picture are "
    "not drawn; everything else works. To add one, write a class of some thirty lines with "
    "model_types = ({kind!r},) and claim(seen), which returns for each picture the rectangles of "
    "its tokens, and pass it to semascope.subject.geometry.register (the shortest examples are "
    "in semascope/subject/geometry/whole.py). Known: {known}."
)


def register(adapter: Adapter) -> None:
    """Teach semascope one more family; the latest adapter for a model type is the one used."""
    _ADAPTERS.insert(0, adapter)


def unregister(adapter: Adapter) -> None:
    """Forget an adapter that ``register`` was given."""
    _ADAPTERS.remove(adapter)


def adapter_for(model_type: str) -> Adapter | None:
    """The adapter that serves a ``config.model_type``, or None."""
    return next((a for a in _ADAPTERS if model_type in a.model_types), None)


def families() -> list[str]:
    """Model types with an adapter."""
    return sorted({t for a in _ADAPTERS for t in a.model_types})


def unknown(model_type: str) -> str:
    """Why the rectangles are not known, and what to do."""
    return UNKNOWN.format(kind=model_type, known=", ".join(families()))


__all__ = [
    "Adapter",
    "AdapterInput",
    "TokenClaims",
    "VideoAdapter",
    "VideoClaims",
    "adapter_for",
    "families",
    "register",
    "unknown",
    "unregister",
]
