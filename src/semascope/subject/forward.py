"""A model with its hook points: passes as deep as is asked, under edits, and what they give.

Knows a model, its hooks and batches; nothing of text, samples or answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from semascope.errors import SiteNotFound, SubjectError
from semascope.subject import hooks, sites
from semascope.subject.generation.cache import hidden_of, takes_part_of_logits
from semascope.subject.inputs.cross_attention import keep_to_own_pictures
from semascope.subject.measured_sites import MeasuredSites, allowed, measure
from semascope.subject.prefix import Begin, begun, unseen
from semascope.subject.sites import JOIN, parts_of, side_by_side
from semascope.subject.types import Batch, Edits, Kind, TokenMap
from semascope.subject.video.padding import leave_out_padding


class ForwardPass:
    """What of a ``Subject`` runs its model; the parameters are frozen."""

    def __init__(self, model: Any, *, name: str) -> None:
        self.model = model.eval().requires_grad_(False)
        leave_out_padding(model)
        keep_to_own_pictures(model)
        self.name = name
        self._named = sites.find_sites(model)
        self.language = sites.language_model(model)[1]
        self.d_model = sites.text_width(model)

    @cached_property
    def measured(self) -> MeasuredSites:
        """The sites as one short pass shows them to be, made when first asked."""
        return measure(self.model, self._named, allowed(self.model))

    @property
    def hooks(self) -> Mapping[str, sites.Hook]:
        """Every hook point, in the order in which a forward pass reaches them."""
        return self.measured.hooks

    @property
    def unavailable(self) -> Mapping[str, str]:
        """Hook points that models usually have and this one has not, and why."""
        return self.measured.unavailable

    @property
    def device(self) -> torch.device:
        """Where inputs go: the device of the input embedding."""
        return torch.device(self.model.get_input_embeddings().weight.device)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the activations."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    def to(self, device: str | torch.device) -> Self:
        """Move the model; returns itself."""
        self.model.to(device)
        return self

    def sites(self) -> dict[str, int]:
        """Width of every hook point, in the order in which a forward pass reaches them."""
        return {name: hook.width for name, hook in self.hooks.items()}

    def resolve(self, patterns: str | Iterable[str]) -> list[str]:
        """Site names for ``"resid_post.*, mlp_out.3"``; ``SiteNotFound`` lists what exists."""
        asked = [
            p.strip() for p in (patterns.split(",") if isinstance(patterns, str) else patterns)
        ]
        for pattern in asked:
            gone = [name for name in self.unavailable if fnmatchcase(name, pattern)]
            if gone and not any(fnmatchcase(name, pattern) for name in self.hooks):
                raise SiteNotFound(
                    f"{self.name} has no site {pattern}: {self.unavailable[gone[0]]}. It has: "
                    f"{sites.summary(self.hooks)}."
                )
        return sites.resolve(asked, self.hooks)

    def place(self, batch: Batch) -> Batch:
        """The batch on the subject's device, pictures in the subject's dtype."""
        inputs = {
            name: value.to(self.device, self.dtype if name.startswith("pixel_values") else None)
            for name, value in batch.inputs.items()
        }
        return Batch(inputs, batch.maps, batch.sample_ids)

    def run(
        self,
        batch: Batch,
        sites: str | Sequence[str],
        *,
        edits: Edits | None = None,
        stop: bool = True,
    ) -> dict[str, Tensor]:
        """Activations at each site, (B, T, width); the forward pass ends at the deepest.

        A site is read after the edit of the same name. ``vision.N`` and ``projector`` are
        (pictures or tiles, patches, width) as the model has them, (0, 0, width) where the
        batch has no picture. ``resid_post.6+resid_post.12`` is both side by side, (B, T, Σ d).
        ``stop=False`` runs the whole model.
        """
        asked = sites.split(",") if isinstance(sites, str) else list(sites)
        joined = [name.strip() for name in asked if JOIN in name]
        single = [name for name in asked if JOIN not in name]
        own = self.resolve(single) if single or not joined else []
        names = self.resolve([*own, *parts_of(joined)]) if joined else own
        stop = stop and not hooks.passed_twice(names, batch.inputs)
        with (
            self.editing(edits or {}, batch.maps),
            hooks.capture(self.hooks, names, stop=stop) as kept,
        ):
            if not stop or hooks.reached(names, batch.inputs):
                self.model(**batch.inputs, use_cache=False)
        for name in names:
            if name not in kept:
                kept[name] = torch.empty(0, 0, self.hooks[name].width, device=self.device)
        return {name: side_by_side(kept, name) for name in (*own, *joined)}

    def logits(
        self,
        batch: Batch,
        *,
        edits: Edits | None = None,
        start: int = 0,
        fork: tuple[str, int] | None = None,
        begin: Begin | None = None,
    ) -> Tensor:
        """(B, T − start, V) next-token logits from position ``start`` on.

        ``fork`` is (site, n): a batch of one row becomes n equal rows there, told apart by the
        edits of that site and of later ones, and all before it is run once.

        ``begin`` is (site, x): what stands at a ``resid_post.N`` is known, and the layers up to it
        are skipped (``begun``); edits are of that site and of later ones.

        Raises:
            SubjectError: a fork of several rows, where rows cannot part (``can_fork``), or an
                edit before it that would see only one.
        """
        changes, maps = edits or {}, batch.maps
        if fork is not None:
            changes, maps = hooks.forked(changes, *fork, self.hooks), batch.maps * fork[1]
            if len(batch.maps) != 1:
                raise SubjectError("Only a batch of one row can be forked into several.")
            if not self.can_fork(fork[0]):
                raise SubjectError(f"{self.name} cannot be forked at {fork[0]}.")
        total = batch.inputs["input_ids"].shape[1]
        keep = {"logits_to_keep": total - start} if start and self._keeps else {}
        inputs = batch.inputs if begin is None else unseen(batch.inputs)
        with begun(self.hooks, begin), self.editing(changes, maps):
            made = self.model(**inputs, use_cache=False, return_dict=True, **keep)
        out: Tensor = made.logits
        return out if out.shape[1] == total - start else out[:, start:]

    def last(self, batch: Batch, *, edits: Edits | None = None) -> Tensor | None:
        """(B, T, d) what the output embedding reads at each position, in the graph if there is one.

        None where the logits are more than its product with that (scaled, or capped): this pass's
        own last logits are the proof.
        """
        final, logits = self._final(batch, edits or {})
        if final.shape[:2] != batch.inputs["input_ids"].shape or final.shape[2] != self._reads:
            return None
        with torch.no_grad():
            again = self.head(final[:, -1]).float()  # (B, V)
        return final if torch.allclose(logits, again, rtol=1e-4, atol=1e-4) else None

    def _final(self, batch: Batch, edits: Edits) -> tuple[Tensor, Tensor]:
        """What the language model returns, (B, T, d), and the last (B, V) logits, float32."""
        kept: list[Tensor] = []
        handle = self.language.register_forward_hook(lambda *told: kept.append(hidden_of(told[2])))
        keep = {"logits_to_keep": 1} if self._keeps else {}
        try:
            with self.editing(edits, batch.maps):
                made = self.model(**batch.inputs, use_cache=False, return_dict=True, **keep)
        finally:
            handle.remove()
        return kept[-1], made.logits[:, -1].detach().float()

    def head(self, x: Tensor) -> Tensor:
        """(…, d) what ``last`` gives -> (…, V) logits."""
        logits: Tensor = self.model.get_output_embeddings()(x)
        return logits

    @property
    def _reads(self) -> int:
        """Width of what the output embedding reads."""
        return int(self.model.get_output_embeddings().weight.shape[1])

    def looks_back(self, batch: Batch) -> bool:
        """Whether nothing that follows a token changes what is made of it, measured on a batch of
        one row by changing its last token.

        False too where rotary positions depend on the length of the whole.
        """
        text = self.model.config.get_text_config(decoder=True)
        ropes = [getattr(text, name, None) for name in ("rope_parameters", "rope_scaling")]
        if any(word in repr(ropes) for word in ("dynamic", "longrope")):
            return False
        other = batch.inputs["input_ids"].clone()  # (1, T)
        words = batch.maps[0].ids[batch.maps[0].kinds <= Kind.SPECIAL]
        words = words[words != int(other[0, -1])]
        if not len(words):
            return False
        other[:, -1] = int(words[-1])
        changed = Batch({**batch.inputs, "input_ids": other}, batch.maps, batch.sample_ids)
        with torch.no_grad():
            (one, _), (two, _) = self._final(batch, {}), self._final(changed, {})
        return torch.allclose(one[:, :-1].float(), two[:, :-1].float(), rtol=1e-4, atol=1e-4)

    def can_fork(self, site: str) -> bool:
        """Whether rows may part at a site: of the language model, past where pictures come in."""
        stem, _, layer = site.partition(".")
        if site not in self.hooks or stem in ("vision", "projector"):
            return False
        if self.hooks[site].layer is not None:  # rows lie in one axis there
            return False
        return int(layer) >= sites.picture_layers(self.model.config)

    @cached_property
    def _keeps(self) -> bool:
        """Whether the model can be told for which positions logits are wanted."""
        return takes_part_of_logits(self.model)

    @contextmanager
    def editing(self, edits: Edits, maps: Sequence[TokenMap]) -> Iterator[None]:
        """Apply edits at their sites while the block runs; hooks are gone after it."""
        for name in edits:
            if name not in self.hooks:
                if JOIN in name:
                    raise SiteNotFound(
                        f"{name} is several sites side by side, as a crosscoder reads them; they "
                        "are not changed as one. Attribute and steer with a dictionary of one site."
                    )
                self.resolve(name)  # says what exists
                raise SiteNotFound(f"An edit needs one site, not the pattern {name!r}.")
        with hooks.editing(self.hooks, self.language, edits, tuple(maps)):
            yield

    def unembedding(self) -> Tensor:
        """(V, d) rows that read a token's logit off the residual stream.

        The final normalisation's weight is folded in where there is one, so that a direction's
        product with a row is its share of that token's logit up to the normalisation's scale.
        """
        weight: Tensor = self.model.get_output_embeddings().weight.detach().float()
        return weight * sites.final_norm_weight(self.language, self.d_model).to(weight.device)

    def embeddings(self) -> Tensor:
        """(V, d) input embeddings."""
        weight: Tensor = self.model.get_input_embeddings().weight
        return weight.detach()
