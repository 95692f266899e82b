"""Decodes token by token, with the model's cache if it passes a test.

A cache that is passed under the wrong name, ignored, or padded raises no error: the model answers
from the last token alone. So before a model first decodes, its cache is compared with passes over
the whole text, for single rows and for rows padded on the left. If they differ, the whole text is
run again for every token, or rows are decoded one by one.
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
"""What a model's own code raises when it fails."""
LOOSE, STRICT = 0.25, 0.01
"""Allowed difference of two passes, as a share of the logits' standard deviation: below float32,
and in float32."""
LENGTHS = (5, 9)
"""Lengths in tokens of the two texts of the test."""
STEPS = 2


@dataclass(frozen=True, slots=True)
class DecodingPlan:
    """How a model may decode."""

    cached: bool
    """Whether its cache may be used."""
    batched: bool
    """Whether several rows may be decoded at once, padded on the left."""
    masked: bool = True
    """Whether the attention mask is passed while decoding; recurrent models do not take it."""


class DecodingStream:
    """Forward passes of a model over a growing text."""

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
        """Multimodal rotary offsets of this prompt; the model keeps those of its last run."""

    def prefill(self) -> Tensor:
        """(B, V) logits after the prompt."""
        if self.ropes is not None:
            self.ropes.rope_deltas = None  # those of an earlier picture
        logits = self._forward(self.inputs, start=0)
        self.deltas = None if self.ropes is None else self.ropes.rope_deltas
        return logits

    def decode(self, ids: Tensor) -> Tensor:
        """(B, V) logits after one more token for each row, ``ids`` (B,)."""
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
    """A prompt's inputs with one more token for each row.

    Other inputs by token are continued: token types with that of text (0), the rest with the value
    of the last token.

    Args:
        model: whose inputs they are.
        inputs: of the prompt, T tokens.
        ids: (B,) the new tokens.
        mask: (B, T + 1) attention mask.
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
    """(B, T) position of each token without padding, from the family's first position on."""
    return (mask.cumsum(1) - 1).clamp(min=0) + first_place(model.config)


def positions(model: Any, mask: Tensor) -> dict[str, Tensor]:
    """Position ids for a batch with this (B, T) mask; none if it has no padding.

    Families with multimodal rotary positions compute their own from the mask.
    """
    if bool(mask.all()) or rope_owner(model) or "position_ids" not in parameters(model):
        return {}
    return {"position_ids": counted(model, mask)}


def prove(model: Any, words: Sequence[int]) -> DecodingPlan:
    """Test how a model decodes correctly, on two short texts of ``words`` (token ids).

    A model with bidirectional attention to its prompt (PaliGemma) can only be compared with its
    cache. Costs about fifteen passes over nine tokens.
    """
    most = tolerance(model)
    singles, pair = _texts(model, words)
    truth = [decoded(model, inputs, words, cached=False) for inputs in singles]
    if None in truth:
        return DecodingPlan(cached=False, batched=False)
    causal = _is_causal(model, singles[-1], most)
    cached, masked = False, True
    for masked in (True, False) if cache_name(model) else ():
        logits = [decoded(model, inputs, words, cached=True, masked=masked) for inputs in singles]
        near = [alike(a, b, most) for a, b in zip(logits, truth, strict=True)]
        if all(near) or (not causal and None not in logits):
            cached, truth = True, logits
            break
    together = decoded(model, pair, words, cached=cached, masked=masked or not cached)
    parts: list[Tensor | None] = [None, None]
    if together is not None:
        parts = [together[:, n : n + 1] for n in range(len(singles))]
    batched = all(alike(a, b, most) for a, b in zip(parts, truth, strict=True))
    return DecodingPlan(cached=cached, batched=batched, masked=masked or not cached)


def _texts(model: Any, words: Sequence[int]) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    """Inputs of two texts of different lengths, each alone, and both padded on the left."""
    device = model.get_input_embeddings().weight.device
    texts = [_text(words, n, n, device) for n in LENGTHS]
    longest = max(LENGTHS)
    rows = [torch.nn.functional.pad(text, (longest - text.shape[1], 0), value=0) for text in texts]
    mask = torch.tensor([[int(at >= longest - n) for at in range(longest)] for n in LENGTHS])
    pair = {"input_ids": torch.cat(rows), "attention_mask": mask.to(device)}
    singles = [{"input_ids": text, "attention_mask": torch.ones_like(text)} for text in texts]
    return singles, pair | positions(model, pair["attention_mask"])


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

    None if the model's own code fails.
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
    """Whether two passes gave the same logits, up to rounding."""
    if found is None or truth is None or found.shape != truth.shape:
        return False
    return apart(found, truth) <= most


def tolerance(model: Any) -> float:
    """Allowed difference of two passes of a model (``apart``), by its dtype."""
    return STRICT if model.dtype == torch.float32 and not _quantised(model) else LOOSE


def _quantised(model: Any) -> bool:
    return getattr(model.config, "quantization_config", None) is not None


def apart(found: Tensor, truth: Tensor) -> float:
    """Largest difference of two passes' logits, as a share of the true ones' standard deviation."""
    spread = float(truth.float().std(-1).mean())
    return float((found.float() - truth.float()).abs().max()) / max(spread, 1e-12)


def _text(words: Sequence[int], length: int, seed: int, device: torch.device) -> Tensor:
    """(1, length) a text with few repetitions."""
    ids = [words[(seed * 31 + at * at * 5 + at * 3) % len(words)] for at in range(length)]
    return torch.tensor([ids], dtype=torch.int64, device=device)
