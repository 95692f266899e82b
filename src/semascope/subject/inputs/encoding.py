"""Encodes samples as model inputs, with a map of every token: what it is, who says it, and where
in a picture it looks.

Each sample goes through the subject's own processor alone, so that it is clear which tokens come
from which picture; rows are then padded and stacked here.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semascope.corpus.sample import Sample
from semascope.errors import GeometryUnknown, SubjectError
from semascope.subject.geometry import AdapterInput, VideoAdapter, adapter_for, unknown
from semascope.subject.geometry.base import TokenClaims, VideoClaims
from semascope.subject.inputs.alignment import expanded_roles, spans
from semascope.subject.inputs.batching import AxisLayout, BatchRow, collate
from semascope.subject.inputs.chat_template import ChatTemplate, RenderedChat, placed, render
from semascope.subject.inputs.pictures_shown import ShownPictures, eye, place
from semascope.subject.inputs.processor import ProcessorReader, marked
from semascope.subject.inputs.truncation import kept_tokens
from semascope.subject.types import PICTURE_KINDS, Batch, Kind, Role, Side, TokenMap
from semascope.subject.video.padding import context_length

UNSUITED = (GeometryUnknown, LookupError, AttributeError, TypeError, ValueError)
"""Raised by adapters at a processor or config that they do not support."""
log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class EncodedRow:
    """One encoded sample."""

    map: TokenMap
    inputs: dict[str, Tensor]
    """Output of the processor for this sample alone."""
    id: str


@dataclass(slots=True)
class Encoder:
    """A tokenizer, the processor around it if the subject reads pictures, and the model's
    config."""

    tokenizer: Any
    processor: Any
    """None for subjects that read text only."""
    config: Any
    template: ChatTemplate
    image_token_id: int | None
    video_token_id: int | None = None
    """If frames have another token than images."""
    reads_video: bool = False
    """If False, some frames of a video are shown as pictures."""
    _texts: dict[int, str] = field(default_factory=dict)
    shortened: int = 0
    """Number of samples that were cut to the context length."""
    _control: NDArray[np.int64] | None = None
    reader: ProcessorReader | None = None
    """Calls the processor; set by ``__post_init__``."""
    context: int | None = None
    """Context length in tokens, if the config names one; set by ``__post_init__``."""

    def __post_init__(self) -> None:
        """Create the reader and look up the context length."""
        if self.processor is not None:
            self.reader = ProcessorReader(
                self.processor, self.config, self.template, self.shown_ids
            )
        self.context = context_length(self.config)

    def encode(
        self,
        samples: Iterable[Sample],
        *,
        max_tokens: int | None = 512,
        answer: str | Sequence[str] | None = None,
        side: Side = "right",
    ) -> Batch:
        """Encode samples, cut to ``max_tokens`` (pictures not counted) and padded on one ``side``.

        Raises:
            SubjectError: no samples, or one that the model cannot read.
        """
        samples = list(samples)
        if not samples:
            raise SubjectError("Nothing to encode: give at least one sample.")
        answers = [answer] * len(samples) if answer is None or isinstance(answer, str) else answer
        rows = [self._row(s, a, max_tokens) for s, a in zip(samples, answers, strict=True)]
        return self._stack(rows, side)

    @property
    def shown_ids(self) -> tuple[int, ...]:
        """Ids of image and video tokens."""
        ids = (self.image_token_id, self.video_token_id)
        return tuple(i for i in ids if i is not None)

    def _row(self, sample: Sample, answer: str | None, max_tokens: int | None) -> EncodedRow:
        if sample.pictures and self.processor is None:
            raise SubjectError(
                f"Sample {sample.id!r} has pictures, and this subject reads text only: "
                "use one that reads pictures, such as sprite-llava, or leave the pictures out."
            )
        reader = self.reader if sample.pictures else None
        if reader is not None:
            reader.prepare()
            self.template = reader.template
        shown = eye(sample, placed(sample, self.template), self.reads_video)
        rendered = render(self.template, shown.sample, answer)
        shown = replace(shown, order=rendered.order)
        plain = self.tokenizer(
            rendered.text,
            add_special_tokens=not rendered.templated,
            return_offsets_mapping=bool(getattr(self.tokenizer, "is_fast", False)),
        )
        ids = np.asarray(plain["input_ids"], np.int64)
        if not len(ids):
            raise SubjectError(f"Sample {sample.id!r} is empty: give it text, or a picture.")
        roles, content = self._spoken(rendered, ids, plain.get("offset_mapping"))
        inputs: dict[str, Tensor] = {}
        if reader is not None:
            inputs = self._process(reader, rendered, shown.sample)
            expanded = inputs.pop("input_ids")[0].numpy()
            self._check_bos(ids, expanded, sample.id)
            roles, content = expanded_roles(ids, expanded, roles, content)
            ids = expanded
        inputs.pop("attention_mask", None)
        token_map = self._map(ids, roles, content, shown, inputs)
        return self._bounded(EncodedRow(token_map, inputs, sample.id), max_tokens, answer)

    def _check_bos(self, plain: NDArray[np.int64], expanded: NDArray[np.int64], name: str) -> None:
        """Raise SubjectError if the processor adds a second BOS to a text that has one."""
        bos = self.tokenizer.bos_token_id
        twice = [bool(len(ids) > 1 and (ids[:2] == bos).all()) for ids in (plain, expanded)]
        if bos is not None and twice == [False, True]:
            raise SubjectError(
                f"Sample {name!r} would begin with two {self.text(bos)!r}: one is the chat "
                "template's, the other the processor's. Remove it from the chat template."
            )

    def _bounded(self, row: EncodedRow, max_tokens: int | None, answer: str | None) -> EncodedRow:
        """The row, cut to ``max_tokens`` and to the context length.

        Raises SubjectError if the latter would cut a prompt to be answered, or a picture.
        """
        keep = len(row.map) if max_tokens is None else kept_tokens(row.map.kinds, max_tokens)
        if self.context is not None and keep > self.context:
            pictured = np.flatnonzero(np.isin(row.map.kinds, PICTURE_KINDS))
            if (
                answer is not None
                or max_tokens is None
                or pictured[-1:].max(initial=-1) >= self.context
            ):
                of_pictures = f", {len(pictured)} of them for pictures" if len(pictured) else ""
                raise SubjectError(
                    f"Sample {row.id!r} has {keep} tokens{of_pictures}, and this model reads "
                    f"{self.context} at most: shorten the text, or give fewer pictures."
                )
            keep = self.context
            if not self.shortened:
                log.warning(
                    "The model reads at most %d tokens: longer samples are cut there.", keep
                )
            self.shortened += 1
        if keep == len(row.map):
            whole = replace(row.map, mark=_mark(row.map.ids, row.inputs))
            return EncodedRow(whole, row.inputs, row.id)
        return _cut(row, keep, self.reader.axes(row.inputs) if self.reader else {})

    def _process(
        self, reader: ProcessorReader, rendered: RenderedChat, shown: Sample
    ) -> dict[str, Tensor]:
        try:
            return reader.read(rendered, shown)
        except SubjectError as error:
            if mark := self._marks(shown):
                raise SubjectError(
                    f"The text of sample {shown.id!r} has {mark!r}, which this subject replaces "
                    "by a picture: remove it from the text. The pictures of a turn come before "
                    "its text."
                ) from error
            raise

    def _marks(self, sample: Sample) -> str:
        """A placeholder of pictures or videos that the sample's own text contains, or ''."""
        words = "\n".join((sample.text, *(turn.text for turn in sample.turns)))
        marks = [self.template.placeholder, self.template.moving, *map(self.text, self.shown_ids)]
        return next((mark for mark in marks if mark and mark in words), "")

    def _spoken(
        self, rendered: RenderedChat, ids: NDArray[np.int64], offsets: Any
    ) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
        """(T,) role of each token, and (T,) whether it is text of a turn; pictures not yet
        expanded."""
        roles = np.full(len(ids), Role.NONE, np.int8)
        content = np.ones(len(ids), np.bool_)
        if not rendered.roles.any():
            return roles, content
        letters = spans(self.tokenizer, rendered.text, ids.tolist(), offsets, self.text)
        if letters is None:
            raise SubjectError(
                f"The tokenizer of this model ({type(self.tokenizer).__name__}) gives no character "
                "offsets, and its tokens do not decode to the text, so the roles of tokens are "
                "unknown: give plain texts instead of turns, or a fast tokenizer (tokenizer.json "
                "beside the weights)."
            )
        control = np.isin(ids, self._control_ids())
        for n, (start, end) in enumerate(letters):
            if end > start:
                roles[n] = rendered.roles[start]
                content[n] = rendered.content[start:end].any()
            elif n and not control[n]:  # no character of its own: as the token before
                roles[n], content[n] = roles[n - 1], content[n - 1]
        return roles, content

    def _map(
        self,
        ids: NDArray[np.int64],
        roles: NDArray[np.int8],
        content: NDArray[np.bool_],
        shown: ShownPictures,
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

    def _look(
        self, token_map: TokenMap, shown: ShownPictures, outputs: Mapping[str, Any]
    ) -> TokenMap:
        """The map with its image tokens placed on their pictures."""
        at = np.flatnonzero(
            np.isin(token_map.ids, self.shown_ids) | marked(outputs, len(token_map)).numpy()
        )
        kind = str(self.config.model_type)
        if not len(at):
            raise SubjectError(
                f"This subject ({kind}) has no image tokens in its text, so positions cannot be "
                "matched with tokens: use a subject whose processor puts image tokens into the "
                "text."
            )
        adapter = adapter_for(kind)
        if adapter is None:
            token_map.kinds[at] = Kind.IMAGE
            token_map.image[at] = 0 if len(token_map.sizes) == 1 else -1
            return replace(token_map, geometry=unknown(kind))
        text = "".join(token_map.tokens)
        try:
            given = AdapterInput(
                self.processor, self.config, shown.images, outputs, text, shown.videos
            )
            pictures, videos = _claimed(adapter, given, kind)
        except UNSUITED as error:
            token_map.kinds[at] = Kind.IMAGE
            why = str(error) if isinstance(error, GeometryUnknown) else f"It raised {error!r}."
            return replace(token_map, geometry=f"{why} {unknown(kind)}")
        claimed = [len(c.kinds) for c in pictures]
        claimed += [sum(len(c.kinds) for c in v.steps) for v in videos]
        if sum(claimed) != len(at):
            token_map.kinds[at] = Kind.IMAGE
            return replace(token_map, geometry=_mismatch(kind, claimed, at))
        tokens = place(shown, pictures, videos)
        token_map.kinds[at] = tokens.kinds
        token_map.rects[at] = tokens.rects
        token_map.image[at] = tokens.image
        if (tokens.spans == 1).all():
            return token_map
        spans = np.ones(len(token_map), np.int16)
        spans[at] = tokens.spans
        return replace(token_map, spans=spans)

    def _control_ids(self) -> NDArray[np.int64]:
        """Ids of control tokens."""
        if self._control is None:
            added = [i for i, t in self.tokenizer.added_tokens_decoder.items() if t.special]
            self._control = np.unique([*added, *self.tokenizer.all_special_ids]).astype(np.int64)
        return self._control

    def text(self, token: int) -> str:
        """A token as text, with the leading space that SentencePiece would drop."""
        if token not in self._texts:
            piece = self.tokenizer.convert_ids_to_tokens(token)
            words = self.tokenizer.decode([token])
            lost = isinstance(piece, str) and piece.startswith("▁") and not words.startswith(" ")
            self._texts[token] = " " + words if lost else words
        return self._texts[token]

    def _pad(self) -> int:
        """The id of padding, which the attention mask hides; never that of an image token."""
        candidates = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id)
        usable = [i for i in candidates if isinstance(i, int) and i not in self.shown_ids]
        return next(iter(usable), next(i for i in range(3) if i not in self.shown_ids))

    def _stack(self, rows: list[EncodedRow], side: Side) -> Batch:
        length = max(len(row.map) for row in rows)
        pad = self._pad()
        maps = tuple(row.map.padded(length, pad, side) for row in rows)
        ids = torch.from_numpy(np.stack([m.ids for m in maps]))  # (B, T)
        real = np.stack([m.kinds for m in maps]) != Kind.PAD
        inputs: dict[str, Tensor] = {
            "input_ids": ids,
            "attention_mask": torch.from_numpy(real.astype(np.int64)),
        }
        names = list(dict.fromkeys(key for row in rows for key in row.inputs))
        several = len(rows) > 1 and self.reader is not None and bool(names)
        layouts = self.reader.axes(names) if several and self.reader else {}
        places = [BatchRow(n, 0 if side == "right" else length - n) for n in map(_length, rows)]
        for name in names:
            parts = [row.inputs.get(name) for row in rows]
            inputs[name] = collate(name, parts, places, length, layouts.get(name, AxisLayout()))
        return Batch(inputs, maps, tuple(row.id for row in rows))


def _claimed(
    adapter: Any, given: AdapterInput, kind: str
) -> tuple[Sequence[TokenClaims], Sequence[VideoClaims]]:
    """The adapter's claims for images and videos; GeometryUnknown if it does not support videos."""
    if given.videos and not isinstance(adapter, VideoAdapter):
        raise GeometryUnknown(f"The adapter of {kind!r} has no claim_videos(seen) for frames.")
    pictures = adapter.claim(given) if given.sizes else []
    return pictures, adapter.claim_videos(given) if given.videos else []


def _cut(row: EncodedRow, keep: int, layouts: Mapping[str, AxisLayout]) -> EncodedRow:
    """The first ``keep`` tokens of a row."""
    inputs = {
        k: v if (axis := layouts[k].tokens) is None else v.narrow(axis, 0, keep)
        for k, v in row.inputs.items()
    }
    first = row.map.at(slice(0, keep))
    cut = replace(first, cut=len(row.map) - keep, mark=_mark(first.ids, inputs))
    return EncodedRow(cut, inputs, row.id)


def _mark(ids: NDArray[np.int64], inputs: Mapping[str, Tensor]) -> str:
    """Hash of the tokens and pictures of a row as the model receives them."""
    digest = hashlib.blake2b(np.ascontiguousarray(ids).tobytes(), digest_size=16)
    for name in sorted(inputs):
        x = inputs[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tuple(x.shape)}:{x.dtype}".encode())
        digest.update(x.reshape(-1).view(torch.uint8).numpy().data if x.numel() else b"")
    return digest.hexdigest()


def _length(row: EncodedRow) -> int:
    return len(row.map)


def _mismatch(kind: str, claimed: list[int], at: NDArray[np.int64]) -> str:
    return (
        f"The adapter of {kind!r} claims {claimed} tokens for the pictures and the text has "
        f"{len(at)}: the adapter does not support the settings of this processor, so heat "
        "maps are not drawn; everything else works."
    )
