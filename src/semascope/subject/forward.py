"""Forward passes of a model: activations at its sites and logits, under edits.

Depends on the model and on batches, not on text, samples or answers.
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
    """The part of a ``Subject`` that runs its model. The parameters are frozen."""

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
        """The sites, verified by one short pass at first use (``measured_sites``)."""
        return measure(self.model, self._named, allowed(self.model))

    @property
    def hooks(self) -> Mapping[str, sites.Hook]:
        """Every hook point, in the order in which a forward pass reaches them."""
        return self.measured.hooks

    @property
    def unavailable(self) -> Mapping[str, str]:
        """Usual hook points that this model lacks, and why."""
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
        """Width of every site, in the order of a forward pass."""
        return {name: hook.width for name, hook in self.hooks.items()}

    def resolve(self, patterns: str | Iterable[str]) -> list[str]:
        """Site names for ``"resid_post.*, mlp_out.3"``; ``SiteNotFound`` lists what exists."""
        names = patterns.split(",") if isinstance(patterns, str) else patterns
        requested = [name.strip() for name in names]
        for pattern in requested:
            missing = [name for name in self.unavailable if fnmatchcase(name, pattern)]
            if missing and not any(fnmatchcase(name, pattern) for name in self.hooks):
                raise SiteNotFound(
                    f"{self.name} has no site {pattern}: {self.unavailable[missing[0]]}. It has: "
                    f"{sites.summary(self.hooks)}."
                )
        return sites.resolve(requested, self.hooks)

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
        """Activations at each site; the forward pass ends at the deepest.

        Args:
            batch: the prompts.
            sites: names, or a comma list with wildcards; ``resid_post.6+resid_post.12`` is two
                sites concatenated.
            edits: applied before the site of the same name is read.
            stop: whether to end the pass at the deepest site.

        Returns:
            By site, (B, T, width). ``vision.N`` and ``projector`` are (pictures or tiles, patches,
            width), or (0, 0, width) if the batch has no picture.

        Raises:
            SiteNotFound: the model has no such site.
        """
        requested = sites.split(",") if isinstance(sites, str) else list(sites)
        joined = [name.strip() for name in requested if JOIN in name]
        patterns = [name for name in requested if JOIN not in name]
        single = self.resolve(patterns) if patterns or not joined else []
        names = self.resolve([*single, *parts_of(joined)]) if joined else single
        stop = stop and not hooks.passed_twice(names, batch.inputs)
        with (
            self.editing(edits or {}, batch.maps),
            hooks.capture(self.hooks, names, stop=stop) as activations,
        ):
            if not stop or hooks.reached(names, batch.inputs):
                self.model(**batch.inputs, use_cache=False)
        for name in names:
            if name not in activations:
                activations[name] = torch.empty(0, 0, self.hooks[name].width, device=self.device)
        return {name: side_by_side(activations, name) for name in (*single, *joined)}

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

        Args:
            batch: the prompts.
            edits: by site.
            start: first position whose logits are returned.
            fork: (site, n), copies a batch of one row into n rows at that site. Edits of that site
                and later ones may then differ by row; what comes before runs once.
            begin: (site, x), resumes the pass at a ``resid_post.N`` whose activations x are known
                (``prefix.begun``). Edits must be of that site or later ones.

        Raises:
            SubjectError: a fork of several rows or at a site that cannot fork (``can_fork``), or
                an edit before the fork.
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
        """(B, T, d) input of the output embedding at each position, with gradients if enabled.

        None if the logits are not its product with the output embedding (scaled or capped logits);
        this is tested on the last logits of the pass.
        """
        final, logits = self._final(batch, edits or {})
        if final.shape[:2] != batch.inputs["input_ids"].shape or final.shape[2] != self._reads:
            return None
        with torch.no_grad():
            again = self.head(final[:, -1]).float()  # (B, V)
        return final if torch.allclose(logits, again, rtol=1e-4, atol=1e-4) else None

    def _final(self, batch: Batch, edits: Edits) -> tuple[Tensor, Tensor]:
        """(B, T, d) output of the language model, and (B, V) float32 logits of the last token."""
        outputs: list[Tensor] = []
        handle = self.language.register_forward_hook(
            lambda _, __, output: outputs.append(hidden_of(output))
        )
        keep = {"logits_to_keep": 1} if self._keeps else {}
        try:
            with self.editing(edits, batch.maps):
                made = self.model(**batch.inputs, use_cache=False, return_dict=True, **keep)
        finally:
            handle.remove()
        return outputs[-1], made.logits[:, -1].detach().float()

    def head(self, x: Tensor) -> Tensor:
        """(…, d) as ``last`` returns -> (…, V) logits."""
        logits: Tensor = self.model.get_output_embeddings()(x)
        return logits

    @property
    def _reads(self) -> int:
        """Width of the output embedding's input."""
        return int(self.model.get_output_embeddings().weight.shape[1])

    def looks_back(self, batch: Batch) -> bool:
        """Whether the model is causal: no token depends on later ones.

        Tested on a batch of one row by changing its last token. False also if rotary positions
        depend on the length of the sequence.
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
        """Whether rows may fork at a site: in the language model, after the last layer that
        pictures enter."""
        stem, _, layer = site.partition(".")
        if site not in self.hooks or stem in ("vision", "projector"):
            return False
        if self.hooks[site].layer is not None:  # rows lie in one axis there
            return False
        return int(layer) >= sites.picture_layers(self.model.config)

    @cached_property
    def _keeps(self) -> bool:
        """Whether the model can compute the logits of some positions only."""
        return takes_part_of_logits(self.model)

    @contextmanager
    def editing(self, edits: Edits, maps: Sequence[TokenMap]) -> Iterator[None]:
        """Apply edits at their sites while the block runs.

        Raises:
            SiteNotFound: an edit of no site of this model, or of several joined sites.
        """
        for name in edits:
            if name not in self.hooks:
                if JOIN in name:
                    raise SiteNotFound(
                        f"{name} is several sites, which a crosscoder reads together and which "
                        "cannot be edited as one. Steer with a dictionary of one site."
                    )
                self.resolve(name)  # says what exists
                raise SiteNotFound(f"An edit needs one site, not the pattern {name!r}.")
        with hooks.editing(self.hooks, self.language, edits, tuple(maps)):
            yield

    def unembedding(self) -> Tensor:
        """(V, d) rows whose product with a residual direction is its effect on a token's logit.

        The weight of the final normalisation is folded in; the effect is up to that
        normalisation's scale.
        """
        weight: Tensor = self.model.get_output_embeddings().weight.detach().float()
        return weight * sites.final_norm_weight(self.language, self.d_model).to(weight.device)

    def embeddings(self) -> Tensor:
        """(V, d) input embeddings."""
        weight: Tensor = self.model.get_input_embeddings().weight
        return weight.detach()
