"""A model's forward pass, position by position: with its cache where that is proved right.

A cache that is handed back under the wrong name, ignored, or padded into is no error to a model:
it answers, from the last token alone. So before a model first decodes, its cache is compared with
passes over the whole text, alone and beside a shorter row that is padded on the left; where they
differ, the text is read anew for every token, or row by row.

Knows a model's forward and its inputs; nothing of samples, edits or how a token is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from semascope.subject.generation.cache import (
    cache_name,
    cache_of,
    parameters,
    rope_owner,
    starting_at,
    takes_part_of_logits,
)
from semascope.subject.inputs.batching import PICTURES, again
from semascope.subject.video.padding import first_place

FOREIGN = (
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    AssertionError,
)
"""What a model's code raises where it cannot do something."""
LOOSE, STRICT = 0.25, 0.01
"""Share of the logits' spread by which two passes may differ, below float32 and in it."""
LENGTHS = (5, 9)
"""Tokens of the two texts that a cache is proved on."""
STEPS = 2


@dataclass(frozen=True, slots=True)
class DecodingPlan:
    """How a model may decode."""

    cached: bool
    """With its cache, one row at a time."""
    batched: bool
    """Several rows of unlike length at once, padded on the left."""
    masked: bool = True
    """Whether the attention mask is passed while decoding; recurrent models cannot read it."""


class DecodingStream:
    """The model's forward pass as a text grows."""

    def __init__(
        self, model: Any, inputs: Mapping[str, Any], *, cached: bool = True, masked: bool = True
    ) -> None:
        self.masked = masked
        self.model = model
        self.inputs = dict(inputs)
        self.mask: Tensor = self.inputs["attention_mask"]
        self.name = cache_name(model) if cached else None
        self.cache: Any = None
        self.positioned = "position_ids" in self.inputs
        self.short = takes_part_of_logits(model)
        self.ropes = rope_owner(model)
        self.deltas: Tensor | None = None
        """Multimodal rotary offsets of this prompt; the model's own are of whatever ran last."""

    def prefill(self) -> Tensor:
        """(B, V) logits after the prompt."""
        if self.ropes is not None:
            self.ropes.rope_deltas = None  # what an earlier picture left behind
        logits = self._forward(self.inputs, start=0)
        self.deltas = None if self.ropes is None else self.ropes.rope_deltas
        return logits

    def decode(self, ids: Tensor) -> Tensor:
        """(B, V) logits after one more token a row, ``ids`` (B,)."""
        held = self.mask.shape[1]
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(ids), 1)], dim=1)
        if self.name is None:
            self.inputs = grown(self.model, self.inputs, ids, self.mask)
            return self.prefill()
        inputs: dict[str, Any] = {"input_ids": ids[:, None], self.name: self.cache}
        inputs |= again(self.inputs)
        if self.masked:
            inputs["attention_mask"] = self.mask
        if self.ropes is not None:
            now = counted(self.model, self.mask)[:, -1:]  # (B, 1)
            shifted = now if self.deltas is None else now + self.deltas.to(now.device)
            inputs["position_ids"] = shifted[None].expand(3, -1, -1)
        elif self.positioned:
            inputs["position_ids"] = counted(self.model, self.mask)[:, -1:]
        return self._forward(inputs, start=held)

    def _forward(self, inputs: dict[str, Any], *, start: int) -> Tensor:
        keep = {"logits_to_keep": 1} if self.short else {}
        with torch.no_grad(), starting_at(start):
            out = self.model(**inputs, **keep, use_cache=self.name is not None, return_dict=True)
        self.cache = None if self.name is None else cache_of(out)
        if self.name is not None and self.cache is None:
            raise NotImplementedError(f"{type(self.model).__name__} returned no cache")
        logits: Tensor = out.logits[:, -1].float()
        return logits


def grown(model: Any, inputs: Mapping[str, Any], ids: Tensor, mask: Tensor) -> dict[str, Any]:
    """A prompt's inputs with one more token a row: ids (B,), mask (B, T + 1).

    What else has one entry a token is carried on: token types as those of text (0), the rest as
    it is at the last token.
    """
    total = inputs["input_ids"].shape[1]
    longer = {name: _carried(name, value, total) for name, value in inputs.items()}
    longer["input_ids"] = torch.cat([inputs["input_ids"], ids[:, None]], dim=1)
    longer["attention_mask"] = mask
    if "position_ids" in inputs:
        longer["position_ids"] = counted(model, mask)
    return longer


def _carried(name: str, value: Any, total: int) -> Any:
    by_token = isinstance(value, Tensor) and value.ndim >= 2 and value.shape[1] == total
    if not by_token or name in PICTURES or name.startswith("pixel_"):
        return value
    last = value[:, -1:]
    return torch.cat([value, torch.zeros_like(last) if "token_type" in name else last], dim=1)


def counted(model: Any, mask: Tensor) -> Tensor:
    """(B, T) place of each token among the real ones, from the family's first place on."""
    return (mask.cumsum(1) - 1).clamp(min=0) + first_place(model.config)


def positions(model: Any, mask: Tensor) -> dict[str, Tensor]:
    """The position ids that a batch with this (B, T) mask needs, where it is padded at all.

    Families with multimodal rotary positions count for themselves, from the mask.
    """
    if bool(mask.all()) or rope_owner(model) or "position_ids" not in parameters(model):
        return {}
    return {"position_ids": counted(model, mask)}


def prove(model: Any, words: Sequence[int]) -> DecodingPlan:
    """How a model decodes rightly, by trial on two short texts of ``words`` (token ids).

    A model whose prompt attends both ways (PaliGemma) has no other truth than its cache. Costs
    some fifteen passes over nine tokens.
    """
    most = tolerance(model)
    alone, pair = _texts(model, words)
    truth = [decoded(model, inputs, words, cached=False) for inputs in alone]
    if any(logits is None for logits in truth):
        return DecodingPlan(cached=False, batched=False)
    causal = _is_causal(model, alone[-1], most)
    cached, masked = False, True
    for masked in (True, False) if cache_name(model) else ():
        own = [decoded(model, inputs, words, cached=True, masked=masked) for inputs in alone]
        near = [alike(a, b, most) for a, b in zip(own, truth, strict=True)]
        if all(near) or (not causal and None not in own):
            cached, truth = True, own
            break
    together = decoded(model, pair, words, cached=cached, masked=masked or not cached)
    parts: list[Tensor | None] = [None, None]
    if together is not None:
        parts = [together[:, n : n + 1] for n in range(len(alone))]
    batched = all(alike(a, b, most) for a, b in zip(parts, truth, strict=True))
    return DecodingPlan(cached=cached, batched=batched, masked=masked or not cached)


def _texts(model: Any, words: Sequence[int]) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    """Inputs of two texts of unlike length, each alone, and both padded on the left."""
    device = model.get_input_embeddings().weight.device
    texts = [_text(words, n, n, device) for n in LENGTHS]
    longest = max(LENGTHS)
    rows = [torch.nn.functional.pad(text, (longest - text.shape[1], 0), value=0) for text in texts]
    mask = torch.tensor([[int(at >= longest - n) for at in range(longest)] for n in LENGTHS])
    pair = {"input_ids": torch.cat(rows), "attention_mask": mask.to(device)}
    alone = [{"input_ids": text, "attention_mask": torch.ones_like(text)} for text in texts]
    return alone, pair | positions(model, pair["attention_mask"])


def _is_causal(model: Any, inputs: Mapping[str, Tensor], most: float) -> bool:
    """Whether the logits of a text's first half are the same without its second half."""
    half = inputs["input_ids"].shape[1] // 2
    with torch.no_grad():
        whole = model(**inputs, use_cache=False, return_dict=True).logits[:, :half]
        first = {name: value[:, :half] for name, value in inputs.items()}
        return alike(model(**first, use_cache=False, return_dict=True).logits, whole, most)


def decoded(
    model: Any,
    inputs: Mapping[str, Any],
    words: Sequence[int],
    *,
    cached: bool,
    masked: bool = True,
) -> Tensor | None:
    """(steps + 1, B, V) logits after a prompt and after each of a few given tokens.

    None where the model's own code cannot do it.
    """
    stream = DecodingStream(model, inputs, cached=cached, masked=masked)
    try:
        found = [stream.prefill()]
        for step in range(STEPS):
            token = words[(7 * step + 3) % len(words)]
            found.append(stream.decode(stream.mask.new_full((len(stream.mask),), token)))
    except FOREIGN:
        return None
    return torch.stack(found)


def alike(found: Tensor | None, truth: Tensor | None, most: float = STRICT) -> bool:
    """Whether two passes gave the same logits, up to the rounding of their type."""
    if found is None or truth is None or found.shape != truth.shape:
        return False
    return apart(found, truth) <= most


def tolerance(model: Any) -> float:
    """By how much two passes of a model may differ (``apart``): rounding is of its type."""
    return STRICT if model.dtype == torch.float32 and not _quantised(model) else LOOSE


def _quantised(model: Any) -> bool:
    return getattr(model.config, "quantization_config", None) is not None


def apart(found: Tensor, truth: Tensor) -> float:
    """Largest difference of two passes' logits as a share of the spread of the true ones."""
    spread = float(truth.float().std(-1).mean())
    return float((found.float() - truth.float()).abs().max()) / max(spread, 1e-12)


def _text(words: Sequence[int], length: int, seed: int, device: torch.device) -> Tensor:
    """(1, length) a text that repeats itself little."""
    ids = [words[(seed * 31 + at * at * 5 + at * 3) % len(words)] for at in range(length)]
    return torch.tensor([ids], dtype=torch.int64, device=device)
