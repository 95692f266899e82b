"""One dictionary in training: its weights, optimiser, dead latents; a step; its whole state.

The loop that feeds it, and the files, are ``train``'s. Knows one batch at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.config import CoderConfig, TrainConfig
from semascope.dictionary.kernels.sparse import GradientBuffer
from semascope.dictionary.training.batches import ActivationBatch
from semascope.dictionary.training.checks import active_counts, check_finite, check_width
from semascope.dictionary.training.distributed import ProcessGroup
from semascope.dictionary.training.losses import Loss, LossContext
from semascope.dictionary.training.median import geometric_median
from semascope.dictionary.training.optim import (
    k_at,
    make_optimizers,
    optimizer_state,
    ramp_at,
    sparsity_at,
)
from semascope.dictionary.training.resample import resample
from semascope.dictionary.training.scaling import Scaling
from semascope.dictionary.training.sharded import ShardedTopK, shardable
from semascope.errors import DictionaryError, NotFinite

DEAD_EVERY = 16
"""Steps between looks at which latents are dead: the list's length must reach the host."""


class Trainer:
    """A coder and all that its training must remember.

    Args:
        config: how it is trained.
        shape: the dictionary to train.
        batch_tokens: usual size of a batch, for what counts as dead.
        losses: instead of the architecture's own.
        shard: hold a share of the latents only, where there are several processes.
    """

    def __init__(
        self,
        config: TrainConfig,
        shape: CoderConfig,
        *,
        batch_tokens: int,
        site: str = "",
        site_out: str = "",
        name: str = "main",
        device: torch.device | str = "cpu",
        losses: Sequence[Loss] | None = None,
        shard: bool = False,
    ) -> None:
        self.config = config
        self.site, self.site_out = site, site_out
        self.ranks = ProcessGroup()
        coder = SparseCoder(shape, name=name, site=site, seed=config.seed)
        coder.bf16 = config.bf16
        self.sharded: ShardedTopK | None = None
        if shard and self.ranks.size > 1:
            shardable(config)
            coder = self.sharded = ShardedTopK(coder)
        self.sharers = (
            self.ranks if self.sharded is None else ProcessGroup.alone()
        )  # of a batch's tokens
        self.coder = coder.to(device)
        self.losses = list(losses or self.coder.activation.losses(config))
        self.parameters = [p for p in self.coder.parameters() if p.requires_grad]
        buffered = (
            torch.device(device).type == "cpu"
        )  # a GPU's allocator keeps its memory by itself
        self.buffers = [GradientBuffer(p) for p in self.parameters if p.ndim == 2 and buffered]
        self.peak = config.rate(shape.width)
        self.optimizers = make_optimizers(self.parameters, config, self.peak)
        self.dead_after = config.dead_after(batch_tokens)
        width = self.coder.width
        self.silent = torch.zeros(width, dtype=torch.int64, device=device)  # (F,) tokens
        self.dead = torch.zeros(width, dtype=torch.bool, device=device)  # (F,)
        self.dead_ids = self.dead.nonzero().squeeze(1)
        self.dead_in_all = 0
        self.resample_at = {round(share * config.steps) for share in config.resample}
        self.first_bad = torch.tensor(-1, device=device)  # () first bad step
        # A look at every loss would make a GPU wait for the host at each step; fused Adam can pass
        # over a bad step by itself, and the error is raised at the next line of metrics.
        fused = config.optimizer in ("adam", "adamw") and not config.clip
        self.deferred = torch.device(device).type == "cuda" and fused
        self.scaling = Scaling()
        self.step = 0
        self.tokens = 0
        self.sums = torch.zeros(4, dtype=torch.float64, device=device)  # loss, fvu, l0, steps

    @classmethod
    def begin(
        cls, config: TrainConfig, first: ActivationBatch, *, site: str = "", **options: Any
    ) -> Trainer:
        """A new one, sized and scaled by its first batch, b_dec at that batch's median."""
        check_finite(first, 0, site)
        shape = config.coder(first.x.shape[1], d_out=_d_out(config, first))
        self = cls(config, shape, batch_tokens=len(first.x), site=site, **options)
        device = self.silent.device
        x = self.sharers.rows(first.x.to(device))
        self.dead_after = config.dead_after(len(x))
        target = None
        if config.transcode and first.target is not None:
            target = self.sharers.rows(first.target.to(device))
        self.scaling = Scaling.of(config, x, target)
        start = (x if target is None else target)[: config.b_dec_tokens].float()
        scaled = self.scaling.into(start, config) if target is None else self.scaling.onto(start)
        self.coder.b_dec.data.copy_(geometric_median(scaled))
        factors = self.scaling.tensor(device)
        self.ranks.broadcast(self.coder.b_dec.data, factors)
        self.scaling = Scaling.from_tensor(factors)
        read = self.scaling.into(x[: config.b_dec_tokens].float(), config)
        self.ranks.broadcast(*self.coder.activation.begin(self.coder, read))
        return self

    @classmethod
    def resume(
        cls,
        config: TrainConfig,
        tensors: Mapping[str, Tensor],
        meta: Mapping[str, Any],
        **options: Any,
    ) -> Trainer:
        """The one that a state describes.

        Raises:
            DictionaryError: it was made by another configuration.
        """
        mine = config.model_dump(mode="json")
        changed = [
            f"{key} {was} -> {mine.get(key)}"
            for key, was in meta["config"].items()
            if was != mine.get(key) and key not in _FREE
        ]
        if changed:
            raise DictionaryError(
                f"The state on disk belongs to another training run ({', '.join(changed)}). "
                "Train in another folder, or remove its state files to begin again."
            )
        self = cls(config, CoderConfig(**meta["coder"]), batch_tokens=1, **options)
        self.restore(tensors, meta)
        return self

    def learn(self, batch: ActivationBatch) -> None:
        """One optimiser step.

        Raises:
            NotFinite: the batch or its loss holds NaN or infinity; nothing was changed.
        """
        config, step = self.config, self.step
        self._check(batch)
        x, target = self._inputs(batch)
        if step % DEAD_EVERY == 0:
            self._bury()
        variance, tokens = self._spread(target)
        now = LossContext(
            variance=variance,
            tokens=tokens,
            dead=self.dead_ids,
            k=k_at(step, config),
            ramp=sparsity_at(step, config),
            dead_in_all=self.dead_in_all,
            total=None if self.sharers.size == 1 else self.sharers.total,
        )
        for parameter in self.parameters:
            parameter.grad = None
        for buffer in self.buffers:
            buffer.clear()
        figures = torch.zeros_like(self.sums)
        fired = torch.zeros(self.coder.width, dtype=torch.bool, device=x.device)
        size = -(-len(x) // config.micro_batches)
        for rows in (slice(i, i + size) for i in range(0, len(x), size)):
            figures += self._share(x[rows], target[rows], now, fired)
        for buffer in self.buffers:
            buffer.give()
        self.sharers.sum(figures, *(p.grad for p in self.parameters if p.grad is not None))
        if self.deferred:
            self._mark(figures[0].isfinite())
        elif not bool(figures[0].isfinite()):
            raise NotFinite(
                f"The loss at step {step} on {self.site or 'the site'} is not finite, so the step "
                "was not taken. Lower the learning rate (lr_scale), or look at the activations."
            )
        self._move(step)
        if step in self.resample_at and self.dead_ids.numel():
            self._resample(x)
        if self.sharers.size > 1:
            counts = fired.to(torch.int32)
            self.sharers.largest(counts)
            fired = counts > 0
        self.silent = torch.where(fired, 0, self.silent + tokens)
        self.sums += figures.nan_to_num(0.0, 0.0, 0.0)
        self.step += 1
        self.tokens += tokens

    def figures(self) -> dict[str, float]:
        """Means since the last call: loss, fvu, l0; and the dead share and rate now."""
        self.raise_if_bad()
        loss, fvu, l0, _ = (self.sums / self.sums[3].clamp_min(1)).tolist()
        self.sums.zero_()
        return {
            "loss": loss,
            "fvu": fvu,
            "l0": l0,
            "dead_fraction": float(self._over_shards(self.dead.float().sum()))
            / self.coder.cfg.width,
            "lr": self.peak * ramp_at(max(0, self.step - 1), self.config),
        }

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that the next step depends on but the data: tensors, and JSON."""
        self.raise_if_bad()
        tensors = {f"coder.{name}": t for name, t in self.coder.state_dict().items()}
        tensors |= {"silent": self.silent, "dead": self.dead, "sums": self.sums}
        for i, optimizer in enumerate(self.optimizers):
            for p, entries in optimizer.state_dict()["state"].items():
                for key, value in entries.items():
                    tensors[f"optimizer.{i}.{p}.{key}"] = torch.as_tensor(value)
        meta = {
            "tokens": self.tokens,
            **self.scaling.meta(),
            "dead_after": self.dead_after,
            "config": self.config.model_dump(mode="json"),
            "coder": self.coder.cfg.model_dump(mode="json"),
            "site": self.site,
        }
        return (tensors if self.sharded is None else self.sharded.gathered(tensors)), meta

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Take back a state."""
        tensors = tensors if self.sharded is None else self.sharded.mine(tensors)
        picked = {n[6:]: t for n, t in tensors.items() if n.startswith("coder.")}
        self.coder.load_state_dict(picked)
        for i, optimizer in enumerate(self.optimizers):
            optimizer.load_state_dict(
                {
                    "state": optimizer_state(tensors, f"optimizer.{i}."),
                    "param_groups": optimizer.state_dict()["param_groups"],
                }
            )
        device = self.silent.device
        self.silent = tensors["silent"].to(device)
        self.dead = tensors["dead"].to(device)
        self._bury(self.dead)
        self.sums = tensors["sums"].to(device)
        self.step, self.tokens = int(meta["step"]), int(meta["tokens"])
        self.scaling, self.dead_after = Scaling.from_meta(meta), int(meta["dead_after"])

    def finished(self) -> SparseCoder | None:
        """A copy of the coder that reads activations as the site gives them.

        Of a sharded one, whole, on the first process; None on the others.
        """
        weights = {f"coder.{name}": t for name, t in self.coder.state_dict().items()}
        if self.sharded is not None:
            weights = self.sharded.gathered(weights)
            if not self.ranks.first:
                return None
        copy = SparseCoder(self.coder.cfg, name=self.coder.name, site=self.site, seed=None)
        copy.load_state_dict({name.removeprefix("coder."): t for name, t in weights.items()})
        copy.site_out = self.site_out
        self.scaling.undo(copy)
        return copy.eval().requires_grad_(False)

    def _bury(self, dead: Tensor | None = None) -> None:
        """Look which latents are dead; their list's length reaches the host."""
        self.dead = self.silent >= self.dead_after if dead is None else dead
        self.dead_ids = self.dead.nonzero().squeeze(1)
        self.dead_in_all = int(self._over_shards(self.dead.sum()))

    def _over_shards(self, count: Tensor) -> Tensor:
        """A count over this process's latents -> over all latents."""
        if self.sharded is not None:
            self.ranks.sum(count)
        return count

    def _share(self, x: Tensor, target: Tensor, now: LossContext, fired: Tensor) -> Tensor:
        """Forward and backward of one micro-batch; its share of loss, fvu and l0."""
        done = self.coder(x, target, k=now.k)
        loss = torch.stack([f(self.coder, done, now) for f in self.losses]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            counts = active_counts(done, self.coder.width)  # (F,)
            fired |= counts > 0
            sse = (done.x_hat - done.target).square().sum()
            steps = len(x) / now.tokens
            active = self._over_shards(counts.sum())
            parts = [loss, sse / now.variance, active / now.tokens, sse.new_tensor(steps)]
            return torch.stack(parts).double()

    def _move(self, step: int) -> None:
        """The optimiser's step and the upkeep of what it moved."""
        if self.config.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        factor = ramp_at(step, self.config)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * factor
            optimizer.step()
        if self.coder.cfg.unit_norm:
            self.coder.normalise()
        self.coder.activation.after_step(self.coder)

    def _resample(self, x: Tensor) -> None:
        """Draw dead latents anew; the draw depends on (seed, step) alone."""
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        self.coder.zero_grad()
        given = resample(self.coder, self.dead_ids, x, self.optimizers, generator)
        if given:
            self.silent[self.dead_ids] = 0
            self.dead.zero_()
            self.dead_ids = self.dead_ids[:0]

    def _tell_others(self, bad: int) -> bool:
        """Whether any rank says 1."""
        if self.sharers.size == 1:
            return bool(bad)
        flag = torch.tensor(bad, device=self.silent.device)
        self.sharers.largest(flag)
        return bool(flag)

    def _inputs(self, batch: ActivationBatch) -> tuple[Tensor, Tensor]:
        """x and target on the device, in float32, scaled."""
        device = self.silent.device
        x = batch.x.to(device, torch.float32, non_blocking=True)
        x = self.scaling.into(x, self.config)
        if not self.config.transcode:
            return x, x
        if batch.target is None:
            raise DictionaryError("A transcoder is trained on batches that carry a target.")
        target = batch.target.to(device, torch.float32, non_blocking=True)
        return x, self.scaling.onto(target)

    def _spread(self, target: Tensor) -> tuple[Tensor, int]:
        """Σ‖target − mean‖² and tokens of the whole batch, over all ranks."""
        if self.sharers.size == 1:
            return (target - target.mean(0)).square().sum().clamp_min(1e-12), len(target)
        total = torch.cat([target.sum(0), target.new_tensor([len(target)])])  # (d_out + 1,)
        self.sharers.sum(total)
        variance = (target - total[:-1] / total[-1]).square().sum()
        self.sharers.sum(variance)
        return variance.clamp_min(1e-12), int(total[-1])

    def _check(self, batch: ActivationBatch) -> None:
        """Finite and of the right width, on every rank or on none."""
        check_width(batch, self.coder.d_in, self.step, self.site)
        if self.deferred:
            return
        try:
            check_finite(batch, self.step, self.site)
        except NotFinite:
            self._tell_others(1)
            raise
        if self._tell_others(0):
            raise NotFinite(
                f"Another process found NaN or infinity in its batch {self.step} of "
                f"{self.site or 'the site'}; the step was not taken."
            )

    def _mark(self, finite: Tensor) -> None:
        """Let the optimiser pass over this step unless its loss is ``finite``, and remember it."""
        for optimizer in self.optimizers:
            optimizer.found_inf = 1 - finite.float()  # type: ignore[attr-defined]
        fresh = ~finite & (self.first_bad < 0)
        self.first_bad = torch.where(fresh, self.step, self.first_bad)

    def raise_if_bad(self) -> None:
        """NotFinite for a step that was passed over since; waits for the device."""
        bad = int(self.first_bad)
        if bad >= 0:
            raise NotFinite(
                f"Batch {bad} of {self.site or 'the site'}, or its loss, holds NaN or infinity. "
                "Its step was not taken; the weights hold every good step. A model in float16 "
                "overflows easily: load it in bfloat16 or float32."
            )


_FREE = {"checkpoint_every", "log_every", "micro_batches"}
"""Fields that may change on resuming: none of them changes what is learned."""


def _d_out(config: TrainConfig, first: ActivationBatch) -> int | None:
    if not config.transcode:
        return None
    if first.target is None:
        raise DictionaryError(
            "A transcoder needs batches with a target: give the source two sites, or set "
            "transcode to false."
        )
    return first.target.shape[1]
