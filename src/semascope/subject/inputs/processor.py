"""Calls a model family's own processor: text and pictures in, tensors out.

Processors differ in the settings that they lack, in the placeholder of a picture, and in whether
they insert it themselves. Missing settings are taken from the model's config if it is unambiguous;
the rest is measured on a small probe when the first picture is read. Whatever a processor raises
becomes a SubjectError.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from semascope.corpus.media.pictures import rgb
from semascope.corpus.sample import Sample
from semascope.errors import SubjectError
from semascope.subject.inputs.batching import PICTURES, AxisLayout, Outputs, measure
from semascope.subject.inputs.chat_template import ChatTemplate, RenderedChat, render
from semascope.subject.inputs.pictures_shown import rate

log = logging.getLogger(__name__)

FOREIGN = (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError,
    AssertionError, ImportError, OSError,
)  # fmt: skip
"""What processors raise about samples, settings and packages."""
THINNEST = 200
"""Largest aspect ratio of a picture; some families allow no more themselves."""
CLASS_TOKENS = {
    "clip_vision_model": 1,
    "dinov2": 1,
    "siglip_vision_model": 0,
    "siglip2_vision_model": 0,
}
"""Tokens that a vision tower puts before its patches, by ``vision_config.model_type``."""
PLACES = ("image_token", "boi_token", "start_image_token", "fake_image_token")
"""Attributes in which processors keep the placeholder of a picture."""


@dataclass(slots=True)
class ProcessorReader:
    """A processor, and what was measured of it."""

    processor: Any
    config: Any
    """The model's."""
    template: ChatTemplate
    tokens: tuple[int, ...] = ()
    """Ids of image and video tokens."""
    single: bool = False
    """Whether the processor inserts the placeholder itself, for one picture at most."""
    nested: bool = True
    """Whether pictures are passed as one list for each prompt."""
    _ready: bool = False
    _layouts: dict[str, AxisLayout] = field(default_factory=dict)

    def prepare(self) -> None:
        """Fill in missing settings and find the placeholder of a picture; done once."""
        if self._ready:
            return
        complete(self.processor, self.config)
        self._ready = True
        with _quietly():
            found = self._placeholder()
            if found is None:  # GOT-OCR takes pictures in one list, not a list a prompt
                self.nested = False
                found = self._placeholder()
                self.nested = found is None
        if found is not None:
            self.template = replace(self.template, placeholder=found)

    def read(self, rendered: RenderedChat, shown: Sample) -> Outputs:
        """The processor's output for one sample: ``input_ids`` (1, T) and whatever it adds.

        Raises:
            SubjectError: the processor fails, or returns something that is no tensor.
        """
        for picture in shown.pictures:
            _not_too_thin(picture)
        if self.single and len(shown.images) > 1:
            raise SubjectError(
                f"Sample {shown.id!r} has {len(shown.images)} pictures, and this subject's "
                "processor takes one only: leave the others out."
            )
        given: dict[str, Any] = {"return_tensors": "np"}
        if shown.images:
            images = [rgb(image) for image in shown.images]
            given["images"] = [images] if self.nested else images
        if shown.videos:
            given |= moving(shown, self.processor.video_processor)
        try:
            out = self.processor(
                text=[rendered.text], add_special_tokens=not rendered.templated, **given
            )
        except FOREIGN as error:
            raise SubjectError(
                f"The subject's processor fails on sample {shown.id!r}, its pictures or videos, or "
                f"their place in the text: {sentence(error)}"
            ) from error
        # Labels, which some processors add, would make the model compute a loss.
        return {name: _tensor(name, value) for name, value in out.items() if name != "labels"}

    def axes(self, names: Iterable[str]) -> dict[str, AxisLayout]:
        """Layouts of these outputs, measured at first use.

        Raises:
            SubjectError: an output is not in the probe, so that its axes are unknown.
        """
        outputs = list(names)
        unknown = [n for n in outputs if n not in self._layouts and n not in PICTURES]
        if unknown and not self._layouts:
            self._layouts = measure(self._probe)
            unknown = [n for n in unknown if n not in self._layouts]
        if unknown:
            raise SubjectError(
                f"The processor's output {unknown[0]!r} does not come with every picture, so its "
                "axes cannot be measured: encode one sample at a time."
            )
        return {name: self._layouts.get(name, AxisLayout()) for name in outputs}

    def _probe(self, words: int, pictures: int) -> Outputs:
        """The processor's output for some words and small pictures, with words before and after."""
        images = tuple(Image.new("RGB", (40, 30), (90, 120, 30)) for _ in range(pictures))
        text = " ".join(["word"] * words)
        bare = replace(self.template, owner=None)
        before = (
            render(bare, Sample("probe", text=text), None).text if self.template.placeholder else ""
        )
        rendered = render(bare, Sample("probe", text=text, images=images), None)
        return self.read(
            replace(rendered, text=before + rendered.text), Sample("probe", images=images)
        )

    def _placeholder(self) -> str | None:
        """The placeholder of a picture; "" if the processor inserts it itself.

        None if it takes no picture with any placeholder.
        """
        first = self.template.placeholder
        named = [getattr(self.processor, name, None) for name in PLACES]
        candidates = [first, *(str(n) for n in named if n), "<image>"]
        bare = self._tried("")
        for candidate in dict.fromkeys(c for c in candidates if c):
            probed = self._tried(candidate)
            if probed is None:
                continue
            longer = bare is not None and probed.length != bare.length
            if bare is not None and longer and (bare.pictured or not probed.pictured):
                # The candidate is read as a word; the processor inserts its own placeholder.
                log.info("%s inserts pictures into the text.", type(self.processor).__name__)
                two = self._tried("", pictures=2)
                self.single = two is None or two.pictured != 2 * bare.pictured
                return ""
            return candidate
        return None if bare is None else ""

    def _tried(self, placeholder: str, pictures: int = 1) -> ProbedSetting | None:
        """Tokens of a word and some pictures with this placeholder; None if the processor fails."""
        bare = ChatTemplate(None, placeholder or None, None)
        images = (Image.new("RGB", (40, 30), (90, 120, 30)),) * pictures
        rendered = render(bare, Sample("probe", text="word", images=images), None)
        try:
            out = self.read(rendered, Sample("probe", images=images))
        except SubjectError as error:
            log.debug("not %r: %s", placeholder, error)
            return None
        ids = out["input_ids"][0]
        at = torch.isin(ids, torch.tensor(self.tokens or (-1,))) | marked(out, len(ids))
        return ProbedSetting(len(ids), int(at.sum()))


class ProbedSetting(NamedTuple):
    """Token counts of a probe."""

    length: int
    pictured: int
    """Image tokens."""


def marked(outputs: Mapping[str, Tensor], length: int) -> Tensor:
    """(T,) bool: image tokens according to the processor's outputs, if it reports them."""
    found = torch.zeros(length, dtype=torch.bool)
    if "image_embeds_position_mask" in outputs:  # Kosmos-2
        found |= outputs["image_embeds_position_mask"][0] > 0
    if "image_patches_indices" in outputs:  # Fuyu
        found |= outputs["image_patches_indices"][0] >= 0
    return found


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence transformers' warnings about probes."""
    foreign = logging.getLogger("transformers")
    level = foreign.level
    foreign.setLevel(logging.ERROR)
    try:
        yield
    finally:
        foreign.setLevel(level)


def _tensor(name: str, value: Any) -> Tensor:
    try:
        return torch.as_tensor(value)
    except FOREIGN as error:
        raise SubjectError(
            f"The processor's output {name!r} is no array of numbers ({type(value).__name__}), so "
            "pictures cannot be read with this subject."
        ) from error


def sentence(error: BaseException) -> str:
    """An exception's message in one line, with its type unless that is ValueError."""
    message = " ".join(str(error).split())
    if isinstance(error, ValueError) and message:
        return message
    return f"{type(error).__name__}: {message}"


def complete(processor: Any, config: Any) -> None:
    """Set a processor's missing settings from the model's config.

    Checkpoints saved by older versions of transformers lack them.

    Raises:
        SubjectError: the config does not determine a setting; says what to write into
            processor_config.json.
    """
    vision = getattr(config, "vision_config", None)
    old = False
    if getattr(processor, "patch_size", 0) is None:
        patch = getattr(vision, "patch_size", None)
        if isinstance(patch, (list, tuple)) and len(set(patch)) == 1:
            patch = patch[0]
        _set(processor, "patch_size", patch, "the edge of the vision tower's patches, in pixels")
        old = True
    if getattr(processor, "vision_feature_select_strategy", "") is None:
        strategy = getattr(config, "vision_feature_select_strategy", None)
        meaning = '"default" if the class token is left out, else "full"'
        _set(processor, "vision_feature_select_strategy", strategy, meaning)
    if old and hasattr(processor, "num_additional_image_tokens"):
        class_tokens = CLASS_TOKENS.get(str(getattr(vision, "model_type", "")))
        meaning = "1 if the vision tower has a class token, else 0"
        _set(processor, "num_additional_image_tokens", class_tokens, meaning)
    if getattr(processor, "num_image_tokens", 0) is None:
        edge, patch = (getattr(vision, name, None) for name in ("image_size", "patch_size"))
        count = (edge // patch) ** 2 if isinstance(edge, int) and isinstance(patch, int) else None
        _set(processor, "num_image_tokens", count, "tokens of one view of a picture")
    if getattr(processor, "num_query_tokens", 0) is None:
        count = getattr(config, "num_query_tokens", None)
        _set(processor, "num_query_tokens", count, "tokens of one picture")


def _set(processor: Any, name: str, value: Any, meaning: str) -> None:
    if value is None:
        raise SubjectError(
            f"The processor of this model ({type(processor).__name__}) has no {name}, as it was "
            "saved by an older version of transformers, and the model's config lacks it too. "
            f'Write "{name}": … into its processor_config.json: {meaning}.'
        )
    log.info("%s has no %s: %r from the model's config.", type(processor).__name__, name, value)
    setattr(processor, name, value)


def moving(shown: Sample, reader: Any) -> dict[str, Any]:
    """Videos as arguments of the processor: frames, and the time of each.

    Raises:
        SubjectError: pictures beside videos, which this processor does not take.
    """
    import numpy as np
    from transformers.video_utils import VideoMetadata

    if shown.images and "pixel_values" in reader.model_input_names:
        raise SubjectError(
            f"Sample {shown.id!r} has pictures and videos, and this subject's processor does not "
            "take both: split it into two samples."
        )
    metadata = []
    for video in shown.videos:
        times, fps = rate(video)
        frames, places = len(times), [t * fps for t in times]
        metadata.append(VideoMetadata(frames, fps, duration=frames / fps, frames_indices=places))
    pixels = [np.stack([np.asarray(rgb(f)) for f in video.frames]) for video in shown.videos]
    return {"videos": pixels, "video_metadata": metadata, "return_tensors": "pt"}


def _not_too_thin(image: Image.Image) -> None:
    """Raise SubjectError for a picture that a processor would enlarge to gigabytes."""
    width, height = image.size
    if max(width, height) > THINNEST * min(width, height):
        raise SubjectError(
            f"A picture of {width} × {height} pixels is too long and thin for a model to read: "
            f"crop it so that one edge is at most {THINNEST} times the other, or leave it out."
        )
