"""Many readings of one prompt: what is the same for all of them is computed once.

All readings share a prompt and differ in one vector at one position, from one layer on. So the
layers up to it run once, the tokens before it are cached once, and each reading costs the layers
after it for the tokens that follow, a third of the whole. Works for models with a plain key-value
cache; whoever uses it compares it with the plain way first (``SelfReader.quick``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from semascope.subject.generation.cache import cache_name, cache_of, starting_at
from semascope.subject.model import Subject
from semascope.subject.prefix import begun
from semascope.subject.types import Edits

Layers = list[tuple[Tensor, Tensor]]
"""Keys and values (1, heads, T, d) of each layer."""


class SharedPrompt:
    """A prompt that was read once, ready to be read again with other vectors."""

    def __init__(
        self, subject: Subject, site: str, ids: list[int], at: int, edits: Edits, maps: Any
    ) -> None:
        """``edits`` act on the one shared pass, before ``site``; ``at`` is the placeholder."""
        self.subject, self.site, self.ids, self.at = subject, site, ids, at
        self.last = int(site.partition(".")[2])
        """The last layer that all readings share."""
        self.name = cache_name(subject.model) or "cache"
        self.kind: Any = None
        kept: list[Tensor] = []

        def keep(x: Tensor, _: Any) -> Tensor:
            kept.append(x)
            return x

        rows = torch.tensor([ids], device=subject.device)
        with (
            torch.inference_mode(),
            subject.editing({**edits, site: keep}, maps),
            starting_at(0),
        ):
            out = subject.model(
                input_ids=rows, attention_mask=torch.ones_like(rows), use_cache=True
            )
        cache = cache_of(out)
        self.kind = type(cache)
        self.layers: Layers = [(layer.keys, layer.values) for layer in cache.layers]
        self.stream = kept[0]  # (1, T, d)

    def read(self, vectors: Tensor, most: int, eos: frozenset[int]) -> list[list[int]]:
        """Ids of the greedy answer for each of (n, d) vectors at the placeholder."""
        with torch.inference_mode():
            logits, cache = self._prefill(vectors)
            return self._decode(logits, cache, most, eos)

    def _prefill(self, vectors: Tensor) -> tuple[Tensor, Any]:
        """(n, V) logits after the prompt, and the cache of all its tokens."""
        n, at = len(vectors), self.at
        cache = self.kind()
        for number, (keys, values) in enumerate(self.layers):
            cache.update(_rows(keys[:, :, :at], n), _rows(values[:, :, :at], n), number)
        tail = _rows(self.stream[:, at:], n).clone()
        tail[:, 0] = vectors.to(tail)
        rows = torch.tensor([self.ids[at:]] * n, device=tail.device)
        mask = torch.ones(n, len(self.ids), dtype=torch.long, device=tail.device)
        with begun(self.subject.hooks, (self.site, tail)):
            logits = self._forward(rows, cache, mask)
        for layer, (keys, values) in zip(
            cache.layers[: self.last + 1], self.layers[: self.last + 1], strict=True
        ):
            layer.keys, layer.values = _rows(keys, n), _rows(values, n)
        return logits, cache

    def _decode(
        self, logits: Tensor, cache: Any, most: int, eos: frozenset[int]
    ) -> list[list[int]]:
        """Go on until every row has ended; rows that have are left out of later passes."""
        answers: list[list[int]] = [[] for _ in range(len(logits))]
        rows = torch.arange(len(logits), device=logits.device)
        hidden = [i for i in self.subject.encoder.shown_ids if i < logits.shape[-1]]
        length = len(self.ids)
        for step in range(most):
            logits[:, hidden] = -torch.inf
            ids = logits.argmax(-1)
            going = torch.tensor([int(i) not in eos for i in ids.tolist()], device=ids.device)
            for row, token in zip(rows[going].tolist(), ids[going].tolist(), strict=True):
                answers[row].append(token)
            if not going.any() or step + 1 == most:
                break
            if not going.all():
                cache.batch_select_indices(going.nonzero()[:, 0])
                rows, ids = rows[going], ids[going]
            length += 1
            mask = torch.ones(len(ids), length, dtype=torch.long, device=ids.device)
            logits = self._forward(ids[:, None], cache, mask)
        return answers

    def _forward(self, ids: Tensor, cache: Any, mask: Tensor) -> Tensor:
        inputs = {"input_ids": ids, "attention_mask": mask, self.name: cache}
        out = self.subject.model(**inputs, use_cache=True, logits_to_keep=1)
        logits: Tensor = out.logits[:, -1].float()
        return logits


def _rows(x: Tensor, n: int) -> Tensor:
    return x.expand(n, *x.shape[1:])
