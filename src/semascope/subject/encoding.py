"""Samples to model inputs with a map of every position: who speaks, what it is, where it looks.

Each sample goes through the subject's own processor by itself, so that what came of which
picture is never in doubt; rows are then padded and stacked here. Knows no weights and no hooks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semascope.corpus.pictures import rgb
from semascope.corpus.sample import Sample
from semascope.errors import GeometryUnknown, SubjectError
from semascope.subject.chat import Rendered, Template, placed, render
from semascope.subject.eye import Eye, eye, place, rate
from semascope.subject.geometry import Seen, VideoAdapter, adapter_for, unknown
from semascope.subject.geometry.base import Claims, Steps
from semascope.subject.types import Batch, Kind, Role, TokenMap

Side = Literal["left", "right"]
THINNEST = 200
"""How many times longer than wide a picture may be; some families allow no more themselves."""


@dataclass(slots=True, eq=False)
class Row:
    """One encoded sample."""

    map: TokenMap
    inputs: dict[str, Tensor]
    """What the processor made, the sample alone: leading dimension 1 or number of pictures."""
    id: str


@dataclass(slots=True)
class Encoder:
    """A tokenizer, the processor around it where the subject sees, and the model's config."""

    tokenizer: Any
    processor: Any
    """None for subjects without sight."""
    config: Any
    template: Template
    image_token_id: int | None
    video_token_id: int | None = None
    """Where frames have a token of their own."""
    reads_video: bool = False
    """Others are shown some frames as pictures."""
    _texts: dict[int, str] = field(default_factory=dict)
    _control: NDArray[np.int64] | None = None

    def encode(
        self,
        samples: Iterable[Sample],
        *,
        max_tokens: int | None = 512,
        answer: str | Sequence[str] | None = None,
        side: Side = "right",
    ) -> Batch:
        """Encode, cut to ``max_tokens`` of words, pad on one ``side``."""
        samples = list(samples)
        if not samples:
            raise SubjectError("Nothing to encode: give at least one sample.")
        answers = [answer] * len(samples) if answer is None or isinstance(answer, str) else answer
        rows = [self._row(s, a, max_tokens) for s, a in zip(samples, answers, strict=True)]
        return self._stack(rows, side)

    @property
    def shown_ids(self) -> tuple[int, ...]:
        """Ids of the tokens that stand for pictures and videos."""
        ids = (self.image_token_id, self.video_token_id)
        return tuple(i for i in ids if i is not None)

    def _row(self, sample: Sample, answer: str | None, max_tokens: int | None) -> Row:
        if sample.pictures and self.processor is None:
            raise SubjectError(
                f"Sample {sample.id!r} has pictures, and this subject reads text only: "
                "use a subject that sees, such as sprite-llava, or leave the pictures out."
            )
        shown = eye(sample, placed(sample, self.template), self.reads_video)
        rendered = render(self.template, shown.sample, answer)
        shown = replace(shown, order=rendered.order)
        plain = self.tokenizer(
            rendered.text,
            add_special_tokens=not rendered.templated,
            return_offsets_mapping=self.tokenizer.is_fast,
        )
        ids = np.asarray(plain["input_ids"], np.int64)
        if not len(ids):
            raise SubjectError(
                f"Sample {sample.id!r} holds nothing to read: give it words, or a picture."
            )
        roles, content = self._spoken(rendered, ids, plain.get("offset_mapping"))
        inputs: dict[str, Tensor] = {}
        if shown.order:
            inputs = self._process(rendered, shown.sample)
            expanded = inputs.pop("input_ids")[0].numpy()
            roles, content = _spread(ids, expanded, roles, content)
            ids = expanded
        inputs.pop("attention_mask", None)
        token_map = self._map(ids, roles, content, shown, inputs)
        return _cut(Row(token_map, inputs, sample.id), max_tokens)

    def _process(self, rendered: Rendered, shown: Sample) -> dict[str, Tensor]:
        for picture in shown.pictures:
            _not_too_thin(picture)
        given: dict[str, Any] = {"return_tensors": "np"}
        if shown.images:
            given["images"] = [[rgb(image) for image in shown.images]]
        if shown.videos:
            given |= _moving(shown, self.processor.video_processor)
        try:
            out = self.processor(
                text=[rendered.text], add_special_tokens=not rendered.templated, **given
            )
        except ValueError as error:
            if mark := self._marks(shown):
                raise SubjectError(
                    f"The words of sample {shown.id!r} hold {mark!r}, which stands for a picture "
                    "with this subject: take it out of the words. A turn shows its pictures before "
                    "its words."
                ) from error
            raise SubjectError(
                f"The subject's processor refuses sample {shown.id!r}, a picture or video of it or "
                f"its place in the text: {error}"
            ) from error
        # Labels, which some processors add, would make the model compute a loss.
        return {k: torch.as_tensor(v) for k, v in out.items() if k != "labels"}

    def _marks(self, sample: Sample) -> str:
        """What stands for a picture or a video and is in the sample's own words, if anything is."""
        words = "\n".join((sample.text, *(turn.text for turn in sample.turns)))
        marks = [self.template.placeholder, self.template.moving, *map(self.text, self.shown_ids)]
        return next((mark for mark in marks if mark and mark in words), "")

    def _spoken(
        self, rendered: Rendered, ids: NDArray[np.int64], offsets: Any
    ) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
        """(T,) role, and whether a turn's own words, of each token before pictures unfold."""
        roles = np.full(len(ids), Role.NONE, np.int8)
        content = np.ones(len(ids), np.bool_)
        for n, (start, end) in enumerate(offsets or ()):
            if end > start:
                roles[n] = rendered.roles[start]
                content[n] = rendered.content[start:end].any()
        return roles, content

    def _map(
        self,
        ids: NDArray[np.int64],
        roles: NDArray[np.int8],
        content: NDArray[np.bool_],
        shown: Eye,
        outputs: Mapping[str, Any],
    ) -> TokenMap:
        control = np.isin(ids, self._control_ids())
        kinds = np.where(content & ~control, Kind.TEXT, Kind.SPECIAL).astype(np.int8)
        token_map = TokenMap(
            ids=ids,
            tokens=tuple(self.text(int(i)) for i in ids),
            kinds=kinds,
            roles=roles,
            image=np.full(len(ids), -1, np.int16),
            rects=np.full((len(ids), 4), np.nan, np.float32),
            sizes=shown.sizes,
        )
        return self._look(token_map, shown, outputs) if shown.order else token_map

    def _look(self, token_map: TokenMap, shown: Eye, outputs: Mapping[str, Any]) -> TokenMap:
        """The same map with its image tokens placed on their pictures."""
        at = np.flatnonzero(np.isin(token_map.ids, self.shown_ids))
        kind = str(self.config.model_type)
        adapter = adapter_for(kind)
        if adapter is None:
            token_map.kinds[at] = Kind.IMAGE
            token_map.image[at] = 0 if len(token_map.sizes) == 1 else -1
            return replace(token_map, geometry=unknown(kind))
        text = "".join(token_map.tokens)
        try:
            seen = Seen(self.processor, self.config, shown.images, outputs, text, shown.videos)
            pictures, videos = _claimed(adapter, seen, kind)
        except GeometryUnknown as error:
            token_map.kinds[at] = Kind.IMAGE
            return replace(token_map, geometry=f"{error} {unknown(kind)}")
        claimed = [len(c.kinds) for c in pictures]
        claimed += [sum(len(c.kinds) for c in v.steps) for v in videos]
        if sum(claimed) != len(at):
            token_map.kinds[at] = Kind.IMAGE
            return replace(token_map, geometry=_mismatch(kind, claimed, at))
        found = place(shown, pictures, videos)
        token_map.kinds[at] = found.kinds
        token_map.rects[at] = found.rects
        token_map.image[at] = found.image
        if (found.spans == 1).all():
            return token_map
        spans = np.ones(len(token_map), np.int16)
        spans[at] = found.spans
        return replace(token_map, spans=spans)

    def _control_ids(self) -> NDArray[np.int64]:
        """Ids of tokens that are nobody's words."""
        if self._control is None:
            added = [i for i, t in self.tokenizer.added_tokens_decoder.items() if t.special]
            self._control = np.unique([*added, *self.tokenizer.all_special_ids]).astype(np.int64)
        return self._control

    def text(self, token: int) -> str:
        """One token as text, with the space that SentencePiece would drop."""
        if token not in self._texts:
            piece = self.tokenizer.convert_ids_to_tokens(token)
            words = self.tokenizer.decode([token])
            lost = isinstance(piece, str) and piece.startswith("▁") and not words.startswith(" ")
            self._texts[token] = " " + words if lost else words
        return self._texts[token]

    def _stack(self, rows: list[Row], side: Side) -> Batch:
        length = max(len(row.map) for row in rows)
        pad = self.tokenizer.pad_token_id
        pad = pad if pad is not None else (self.tokenizer.eos_token_id or 0)
        maps = tuple(_pad_map(row.map, length, pad, side) for row in rows)
        ids = torch.from_numpy(np.stack([m.ids for m in maps]))  # (B, T)
        real = np.stack([m.kinds for m in maps]) != Kind.PAD
        inputs: dict[str, Tensor] = {
            "input_ids": ids,
            "attention_mask": torch.from_numpy(real.astype(np.int64)),
        }
        for name in dict.fromkeys(key for row in rows for key in row.inputs):
            inputs[name] = _collate(name, rows, length, side)
        return Batch(inputs, maps, tuple(row.id for row in rows))


def _claimed(adapter: Any, seen: Seen, kind: str) -> tuple[Sequence[Claims], Sequence[Steps]]:
    """What the adapter says of images and of videos; GeometryUnknown where it knows no videos."""
    if seen.videos and not isinstance(adapter, VideoAdapter):
        raise GeometryUnknown(f"The adapter of {kind!r} has no claim_videos(seen) for frames.")
    pictures = adapter.claim(seen) if seen.sizes else []
    return pictures, adapter.claim_videos(seen) if seen.videos else []


def _moving(shown: Sample, reader: Any) -> dict[str, Any]:
    """The videos as the processor takes them: frames, and when each is shown."""
    from transformers.video_utils import VideoMetadata

    if shown.images and "pixel_values" in reader.model_input_names:
        raise SubjectError(
            f"Sample {shown.id!r} has pictures and videos, and this subject's processor reads "
            "either, not both at once: part them into two samples."
        )
    told = []
    for video in shown.videos:
        times, fps = rate(video)
        frames, places = len(times), [t * fps for t in times]
        told.append(VideoMetadata(frames, fps, duration=frames / fps, frames_indices=places))
    pixels = [np.stack([np.asarray(rgb(f)) for f in video.frames]) for video in shown.videos]
    return {"videos": pixels, "video_metadata": told, "return_tensors": "pt"}


def _not_too_thin(image: Image.Image) -> None:
    """Refuse what a processor that scales the shorter edge would blow up to gigabytes."""
    width, height = image.size
    if max(width, height) > THINNEST * min(width, height):
        raise SubjectError(
            f"A picture of {width} × {height} pixels is too long and thin for a model to read: "
            f"crop it to at most {THINNEST} times as long as it is wide, or leave it out."
        )


def _spread(
    short: NDArray[np.int64],
    long: NDArray[np.int64],
    roles: NDArray[np.int8],
    content: NDArray[np.bool_],
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Carry roles from the text as written to the text with its pictures unfolded.

    What the processor put in (image tokens, tile markers) takes the role of what it stands
    after, and is never a turn's own words.
    """
    matcher = SequenceMatcher(None, short.tolist(), long.tolist(), autojunk=False)
    source = np.full(len(long), -1, np.int64)
    for block in matcher.get_matching_blocks():
        source[block.b : block.b + block.size] = np.arange(block.a, block.a + block.size)
    inherited = np.maximum(np.maximum.accumulate(source), 0)
    return roles[inherited], content[inherited] & (source >= 0)


def _cut(row: Row, max_tokens: int | None) -> Row:
    """Keep the first ``max_tokens`` of words, and past them all that a picture still needs.

    The budget is of words alone: tokens that stand for pictures and videos, and what their
    processor puts between those, are not counted, so that 576 or 2,880 of them do not take the
    place of every word behind them.
    """
    total, m = len(row.map), row.map
    keep = total if max_tokens is None else _kept(m.kinds, max_tokens)
    inputs = {
        k: v[:, :keep] if _by_position(k) and v.shape[1:2] == (total,) else v
        for k, v in row.inputs.items()
    }
    cut = replace(
        m,
        ids=m.ids[:keep],
        tokens=m.tokens[:keep],
        kinds=m.kinds[:keep],
        roles=m.roles[:keep],
        image=m.image[:keep],
        rects=m.rects[:keep],
        spans=m.spans if m.spans is None else m.spans[:keep],
        cut=total - keep,
        mark=_mark(m.ids[:keep], inputs),
    )
    return Row(cut, inputs, row.id)


def _kept(kinds: NDArray[np.int8], max_tokens: int) -> int:
    """How many of the first tokens are kept: up to the last of the budget, or of a picture."""
    pictured = np.isin(kinds, (Kind.IMAGE, Kind.TILE, Kind.NEWLINE))  # (T,)
    last = int(np.flatnonzero(pictured)[-1]) + 1 if pictured.any() else 0
    spoken = np.flatnonzero(~(pictured | _between(kinds, pictured)))
    end = len(kinds) if len(spoken) <= max_tokens else int(spoken[max_tokens])
    return max(end, last)


def _between(kinds: NDArray[np.int8], pictured: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(T,): tokens that are no words and stand between two of a picture's with no word between."""
    words = np.cumsum(kinds == Kind.TEXT)
    at = np.flatnonzero(pictured)
    out = np.zeros(len(kinds), np.bool_)
    for first, then in pairwise(at):
        if then > first + 1 and words[first] == words[then]:
            out[first + 1 : then] = True
    return out


def _mark(ids: NDArray[np.int64], inputs: Mapping[str, Tensor]) -> str:
    """A hash of one row's tokens and pictures as the model gets them."""
    seen = hashlib.blake2b(np.ascontiguousarray(ids).tobytes(), digest_size=16)
    for name in sorted(inputs):
        x = inputs[name].detach().cpu().contiguous()
        seen.update(f"{name}:{tuple(x.shape)}:{x.dtype}".encode())
        seen.update(x.reshape(-1).view(torch.uint8).numpy().data if x.numel() else b"")
    return seen.hexdigest()


def _by_position(name: str) -> bool:
    """Whether a processor's output has one entry a token."""
    return name.endswith("token_type_ids")


def _pad_map(m: TokenMap, length: int, pad: int, side: Side) -> TokenMap:
    n = length - len(m)
    if n == 0:
        return m
    width = (0, n) if side == "right" else (n, 0)
    blank = ("",) * n
    return replace(
        m,
        ids=np.pad(m.ids, width, constant_values=pad),
        tokens=m.tokens + blank if side == "right" else blank + m.tokens,
        kinds=np.pad(m.kinds, width, constant_values=Kind.PAD),
        roles=np.pad(m.roles, width, constant_values=Role.NONE),
        image=np.pad(m.image, width, constant_values=-1),
        rects=np.pad(m.rects, (width, (0, 0)), constant_values=np.nan),
        spans=m.spans if m.spans is None else np.pad(m.spans, width, constant_values=1),
    )


def _collate(name: str, rows: list[Row], length: int, side: Side) -> Tensor:
    """Stack one of the processor's outputs: by position, or picture after picture."""
    if _by_position(name):
        out = torch.zeros(len(rows), length, dtype=torch.int64)
        for n, row in enumerate(rows):
            if name in row.inputs:
                size = row.inputs[name].shape[1]
                at = slice(0, size) if side == "right" else slice(length - size, length)
                out[n, at] = row.inputs[name][0]
        return out
    parts = [row.inputs[name] for row in rows if name in row.inputs]
    shape = [max(p.shape[d] for p in parts) for d in range(1, parts[0].ndim)]
    padded = parts[0].new_zeros((sum(len(p) for p in parts), *shape))
    start = 0
    for part in parts:  # smaller pictures, fewer tiles and frames are filled with zeros
        where = (slice(start, start + len(part)), *(slice(0, s) for s in part.shape[1:]))
        padded[where] = part
        start += len(part)
    return padded


def _mismatch(kind: str, claimed: list[int], at: NDArray[np.int64]) -> str:
    return (
        f"The adapter of {kind!r} claims {claimed} tokens for the pictures and the text holds "
        f"{len(at)}: this processor is set up in a way that the adapter does not know, so heat "
        "maps are not drawn; everything else works."
    )
