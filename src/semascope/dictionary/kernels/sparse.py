"""The arithmetic of sparse codes: select, decode, and gradients as sparse as the code.

A training step of a sparse autoencoder (SAE) needs one dense product, the encoder's. What follows
touches k of F latents a token, so everything else here is grouped by latent:

* ``attach``       an autograd node over chosen latents: dW_enc, db and db_dec from (N, k) numbers;
* ``decode``       an autograd node, Σ_j v_j W[i_j], whose backward gives dv and dW the same way.

Weight gradients are (F, D), as large as the weights. On a CPU they are made a block of latents at a
time, projected while the block is in cache, and put straight into a buffer that outlives the step
(``GradientBuffer``): fresh memory of that size would be faulted in page by page at every step.

The entries of a batch are sorted by latent once (``Grouping``) and both weight gradients are then
sums over runs: O(N k D) work, no atomics, the same bits at every call on a CPU.

Shapes: N tokens, D inputs, F latents, k entries a token. Knows tensors only: no losses, no
configuration, no files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

GATHER_BYTES = 64 << 20
"""Rows of weights gathered at a time where no kernel takes their products in place."""
BLOCK_BYTES = 1 << 20
"""Rows of weights or gradients handled at a time on a CPU: what a second-level cache holds."""


class GradientBuffer:
    """Where the nodes below put a weight's gradient, instead of through autograd.

    The trainer makes one for each matrix, calls ``clear`` before a step and ``give`` after the
    backward passes. ``add`` of several nodes, losses or micro-batches is their sum.
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.buffer = torch.empty_like(weight, requires_grad=False)
        self.begun = False
        weight.gradient_buffer = self  # type: ignore[attr-defined]

    @staticmethod
    def of(weight: Tensor) -> GradientBuffer | None:
        """The buffer of a weight, where its trainer made one."""
        found: GradientBuffer | None = getattr(weight, "gradient_buffer", None)
        return found

    def clear(self) -> None:
        """What it holds is of the last step."""
        self.begun = False

    def add(self, first: int, rows: Tensor) -> None:
        """Add (n, D) to the rows from ``first`` on; every row is added to once in a pass."""
        part = self.buffer[first : first + len(rows)]
        if self.begun:
            part.add_(rows)
        else:
            part.copy_(rows)

    def add_at(self, ids: Tensor, rows: Tensor) -> None:
        """Add (n, D) to the rows numbered ``ids`` (n,)."""
        if not self.begun:
            self.buffer.zero_()
            self.begun = True
        self.buffer.index_add_(0, ids, rows)

    def give(self) -> None:
        """Make it the weight's gradient, with what autograd itself has put there."""
        if not self.begun:
            return
        grad = self.weight.grad
        self.weight.grad = self.buffer if grad is None else self.buffer.add_(grad)


class Grouping:
    """Entries of an (N, k) code sorted by latent; made on first use, shared by both gradients."""

    def __init__(self, indices: Tensor, width: int) -> None:
        self.indices = indices  # (N, k)
        self.width = width
        self._sorted: tuple[Tensor, Tensor, Tensor] | None = None

    def sorted(self) -> tuple[Tensor, Tensor, Tensor]:
        """(E,) order of the flat entries, (E,) the token of each, (F,) where each run begins."""
        if self._sorted is None:
            flat = self.indices.reshape(-1)  # (E,) = (N k,)
            order = torch.sort(flat, stable=True).indices
            # (F,); bincount would make a GPU wait to learn the largest index
            counts = torch.zeros(self.width, dtype=flat.dtype, device=flat.device)
            counts.index_add_(0, flat, torch.ones_like(flat))
            starts = torch.cumsum(counts, 0) - counts
            tokens = torch.div(order, self.indices.shape[1], rounding_mode="floor")
            self._sorted = (order, tokens, starts)
        return self._sorted

    def sum_rows(self, weights: Tensor, rows: Tensor) -> Tensor:
        """(N, k) weights, (N, D) rows -> (F, D): Σ over a latent's entries of weight · row."""
        order, tokens, starts = self.sorted()
        picked = weights.reshape(-1)[order].to(rows.dtype)  # (E,)
        return F.embedding_bag(tokens, rows, starts, mode="sum", per_sample_weights=picked)

    def blocks(self, weights: Tensor, rows: Tensor) -> Iterator[tuple[int, Tensor]]:
        """``sum_rows`` a block of latents at a time: (first latent, (n, D)); for a CPU."""
        order, tokens, starts = self.sorted()
        picked = weights.reshape(-1)[order].to(rows.dtype)  # (E,)
        size = block_rows(rows.shape[1])
        firsts = range(0, self.width, size)
        bounds = [*starts[::size].tolist(), len(order)]
        for first, begin, end in zip(firsts, bounds, bounds[1:], strict=False):
            yield (
                first,
                F.embedding_bag(
                    tokens[begin:end],
                    rows,
                    starts[first : first + size] - begin,
                    mode="sum",
                    per_sample_weights=picked[begin:end],
                ),
            )

    def dot(self, rows: Tensor, weight: Tensor) -> Tensor:
        """(N, D) rows, (F, D) weight -> (N, k): row n · weight[latent], as ``gather_dot``.

        In order of latents on a CPU: a weight's row is then fetched once for all its tokens.
        """
        if rows.device.type != "cpu" or not rows.dtype == weight.dtype == torch.float32:
            return gather_dot(rows, weight, self.indices)
        order, tokens, starts = self.sorted()
        latents = self.indices.reshape(-1)[order]  # (E,)
        dots = torch.ops.aten._embedding_bag_per_sample_weights_backward(
            weight, rows.contiguous(), tokens, starts, latents, 0
        )
        return torch.empty_like(dots).index_copy_(0, order, dots).view(self.indices.shape)

    def sum(self, weights: Tensor) -> Tensor:
        """(N, k) weights -> (F,): Σ over a latent's entries."""
        flat = self.indices.reshape(-1)
        zero = torch.zeros(self.width, dtype=weights.dtype, device=weights.device)
        return zero.index_add_(0, flat, weights.reshape(-1))


def block_rows(columns: int) -> int:
    """How many float32 rows of so many columns are handled at a time on a CPU."""
    return max(16, BLOCK_BYTES // (4 * columns))


class _Rows(torch.autograd.Function):
    """Some rows of a weight, whose gradient goes into the weight's buffer."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.buffer = GradientBuffer.of(weight)
        return weight[ids]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None]:
        ctx.buffer.add_at(ctx.saved_tensors[0], grads[0])
        return None, None


def some_rows(weight: Tensor, ids: Tensor) -> Tensor:
    """(F, D) weight, (n,) different ids -> (n, D), differentiable.

    Plain indexing would make a gradient of (F, D) zeros for n rows.
    """
    if GradientBuffer.of(weight) is None or not torch.is_grad_enabled():
        return weight[ids]
    rows: Tensor = _Rows.apply(weight, ids)  # type: ignore[no-untyped-call]
    return rows


def gather_dot(rows: Tensor, weight: Tensor, indices: Tensor) -> Tensor:
    """(N, D) rows, (F, D) weight, (N, k) indices -> (N, k): row n · weight[index]."""
    n, k = indices.shape
    if rows.device.type == "cpu" and rows.dtype == weight.dtype == torch.float32:
        starts = torch.arange(0, n * k, k)  # (N,)
        tokens = torch.arange(n).repeat_interleave(k)  # (N k,)
        dots: Tensor = torch.ops.aten._embedding_bag_per_sample_weights_backward(
            rows.contiguous(), weight, indices.reshape(-1), starts, tokens, 0
        )
        return dots.view(n, k)
    step = max(1, GATHER_BYTES // max(1, k * weight.shape[1] * weight.element_size()))
    parts = [
        torch.einsum("nd,nkd->nk", rows[i : i + step], weight[indices[i : i + step]])
        for i in range(0, n, step)
    ]
    return torch.cat(parts) if parts else rows.new_zeros((0, k))


def weighted_rows(values: Tensor, indices: Tensor, weight: Tensor) -> Tensor:
    """(N, k) values, (N, k) indices, (F, D) weight -> (N, D): Σ_j values_j · weight[indices_j]."""
    return F.embedding_bag(indices, weight, mode="sum", per_sample_weights=values.to(weight.dtype))


class _Attach(torch.autograd.Function):
    """Chosen pre-activations as a function of what made them."""

    @staticmethod
    def forward(
        ctx: Any,
        centred: Tensor,
        pre_bias: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        values: Tensor,
        groups: Grouping,
    ) -> Tensor:
        ctx.save_for_backward(centred, weight)
        ctx.groups = groups
        ctx.has_pre_bias = pre_bias is not None
        ctx.buffer = GradientBuffer.of(weight)
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad = grads[0]  # (N, k)
        centred, weight = ctx.saved_tensors
        groups: Grouping = ctx.groups
        need_x, need_pre, need_w, _, *_ = ctx.needs_input_grad
        d_bias = groups.sum(grad)  # (F,)
        d_weight = None
        if need_w and ctx.buffer is not None:
            for first, rows in groups.blocks(grad, centred):
                ctx.buffer.add(first, rows)
            ctx.buffer.begun = True
        elif need_w:
            d_weight = groups.sum_rows(grad, centred)
        # Σ_n dx_n = Σ_f db_f W_f: reduced over tokens before the product, not after.
        d_pre = -(d_bias @ weight) if ctx.has_pre_bias and need_pre else None
        d_x = weighted_rows(grad, groups.indices, weight) if need_x else None
        return d_x, d_pre, d_weight, d_bias, None, None


class _Decode(torch.autograd.Function):
    """Σ_j v_j W[i_j], with dW optionally kept orthogonal to W's (unit) rows."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, weight: Tensor, groups: Grouping, tangent: bool
    ) -> Tensor:
        ctx.save_for_backward(values, weight)
        ctx.groups, ctx.tangent = groups, tangent
        ctx.buffer = GradientBuffer.of(weight)
        return weighted_rows(values, groups.indices, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad = grads[0].contiguous()  # (N, D)
        values, weight = ctx.saved_tensors
        groups: Grouping = ctx.groups
        d_values = groups.dot(grad, weight)  # (N, k)
        if not ctx.needs_input_grad[1]:
            return d_values, None, None, None
        # dW_f · W_f = Σ v (g · W_f): the (N, k) numbers are already here, so the projection
        # costs one pass over the gradient and no product.
        along = groups.sum(values * d_values).neg().unsqueeze(1) if ctx.tangent else None  # (F, 1)
        d_weight = None
        if ctx.buffer is None:
            d_weight = groups.sum_rows(values, grad)  # (F, D)
            if along is not None:
                d_weight.addcmul_(weight, along)
        else:
            for first, rows in groups.blocks(values, grad):
                if along is not None:
                    here = slice(first, first + len(rows))
                    rows.addcmul_(weight[here], along[here])
                ctx.buffer.add(first, rows)
            ctx.buffer.begun = True
        return d_values, d_weight, None, None


def attach(
    centred: Tensor,
    pre_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    values: Tensor,
    groups: Grouping,
) -> Tensor:
    """Give chosen pre-activations their gradient.

    ``values`` (N, k) must equal ``centred @ weight.T + bias`` at ``groups.indices``, where
    ``centred`` is x − ``pre_bias`` made outside the graph. Entries that a rectifier set to zero
    need no care: whoever rectifies after this node stops their gradient.
    """
    result: Tensor = _Attach.apply(  # type: ignore[no-untyped-call]
        centred, pre_bias, weight, bias, values, groups
    )
    return result


def decode(values: Tensor, weight: Tensor, groups: Grouping, *, tangent: bool = False) -> Tensor:
    """(N, k) values -> (N, D) sum of weighted rows of ``weight`` (F, D).

    ``tangent`` removes from dW the part along each row, for dictionaries whose rows are kept at
    unit norm; by linearity it holds however many losses decode through the same weight.
    """
    result: Tensor = _Decode.apply(  # type: ignore[no-untyped-call]
        values, weight, groups, tangent
    )
    return result
