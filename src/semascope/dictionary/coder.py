"""``SparseCoder``: sparse autoencoders, transcoders and crosscoders of every architecture.

z = σ(W_enc(x − b_dec) + b_enc),  x̂ = z W_dec + b_dec  (+ x W_skip).

Both matrices are (F, d), row-major by latent, so that a latent is one contiguous row on either
side. Knows no data, no optimiser and no file format.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semascope.dictionary.architectures import ACTIVATIONS
from semascope.dictionary.config import CoderConfig
from semascope.dictionary.forward_pass import Pass
from semascope.dictionary.kernels.sparse import Grouping, attach, block_rows, decode, some_rows
from semascope.dictionary.kernels.topk import select_topk
from semascope.dictionary.types import Codes
from semascope.errors import DictionaryError

LAYER_NORM_EPSILON = 1e-5
"""Beside the deviation that inputs are divided by; outputs are multiplied by the deviation alone,
as in openai's and SAELens' code."""


class SparseCoder(nn.Module):
    """A trained, or trainable, dictionary. Fits the ``Dictionary`` protocol."""

    def __init__(
        self, cfg: CoderConfig, *, name: str = "main", site: str = "", seed: int | None = 0
    ) -> None:
        """Fresh weights: unit random rows of W_dec, W_enc their copy, biases 0.

        A transcoder's W_dec begins at 0, as its transpose says nothing of the output. With seed
        None the matrices are left as memory had them, to be loaded.
        """
        super().__init__()
        self.cfg = cfg
        self.name = name
        self.site = site
        self.site_out = ""
        """Where its directions live, if that is not where it reads: a transcoder's target."""
        self.width = cfg.width
        self.d_in = cfg.d_in
        rows = unit_rows(cfg.width, cfg.d_in, seed)  # (F, d_in)
        self.W_enc = nn.Parameter(rows)  # (F, d_in)
        self.b_enc = nn.Parameter(torch.zeros(cfg.width))  # (F,)
        start = torch.zeros((cfg.width, cfg.out))
        if seed is not None and not cfg.transcodes:
            start = rows.clone()
        self.W_dec = nn.Parameter(start)  # (F, d_out)
        self.b_dec = nn.Parameter(torch.zeros(cfg.out))  # (d_out,)
        self.W_skip: nn.Parameter | None = None
        if cfg.skip:
            self.W_skip = nn.Parameter(torch.zeros((cfg.out, cfg.d_in)))  # (d_out, d_in)
        self.bf16 = False
        """Choose latents by a bf16 product while training on a GPU; values stay float32."""
        self.activation = ACTIVATIONS[cfg.architecture](cfg)

    @property
    def k(self) -> int:
        """Active latents a token, where the architecture counts them."""
        return self.cfg.k

    @property
    def d_out(self) -> int:
        """Width of the reconstruction."""
        return self.cfg.out

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.W_enc.device

    @torch.no_grad()
    def encode(self, x: Tensor) -> Codes:
        """(N, d_in) -> sparse codes; entries of value 0 are padding."""
        self._check(x)
        x = x.to(self.W_enc)
        return self.activation.encode(self, self.centre(self._normed(x)))

    @torch.no_grad()
    def decode(self, codes: Codes, x: Tensor | None = None) -> Tensor:
        """Sparse codes -> (N, d_out). Where ``needs_input``, the input ``x`` is needed too."""
        if self.needs_input and x is None:
            raise DictionaryError(
                f"Dictionary {self.name!r} has a skip path or a layer norm: give decode its input "
                "x as well."
            )
        x = None if x is None else x.to(self.W_enc)
        normed = None if x is None else self._normed(x)
        x_hat = self.reconstruct(codes.values, Grouping(codes.indices, self.width), normed)
        return self._denormed(x_hat, x)

    @property
    def needs_input(self) -> bool:
        """Whether ``decode`` needs the input beside the codes."""
        return self.W_skip is not None or self.cfg.layer_norm

    @torch.no_grad()
    def directions(self, ids: Tensor) -> Tensor:
        """(n,) -> (n, d_out): the rows of W_dec."""
        return self.W_dec.detach()[ids]

    def gain(self, x: Tensor) -> Tensor | None:
        """(N, d_in) -> (N, 1) each token's deviation, where inputs are layer-normed; else None."""
        return _deviation(x.float()) if self.cfg.layer_norm else None

    def forward(self, x: Tensor, target: Tensor | None = None, *, k: int | None = None) -> Pass:
        """(N, d_in) -> a differentiable pass; ``target`` (N, d_out) for a transcoder."""
        self._check(x)
        target = x if target is None else target
        done = self.activation.run(self, self._normed(x), target, k or self.cfg.k)
        done.x, done.x_hat = x, self._denormed(done.x_hat, x)
        return done

    def centre(self, x: Tensor) -> Tensor:
        """(N, d_in) -> what the encoder's product reads; b_dec's gradient goes another way."""
        return x - self.b_dec.detach() if self.cfg.subtract_b_dec else x

    def reconstruct(self, values: Tensor, groups: Grouping, x: Tensor | None) -> Tensor:
        """(N, k) values -> (N, d_out), differentiable."""
        x_hat = decode(values, self.W_dec, groups, tangent=self.cfg.unit_norm) + self.b_dec
        return self.add_skip(x_hat, x)

    def from_some(self, centred: Tensor, latents: Tensor, k: int) -> Tensor:
        """(N, d_in) centred inputs -> (N, d_out) from the ``k`` largest of some latents, no b_dec.

        Differentiable in those latents' weights alone.
        """
        rows, bias = some_rows(self.W_enc, latents), self.b_enc[latents]  # (n, d_in), (n,)
        with torch.no_grad():
            values, indices = select_topk(centred, rows, bias, k)
        groups = Grouping(indices, len(latents))
        values = attach(centred, None, rows, bias, values, groups).relu()
        weight = some_rows(self.W_dec, latents)
        return decode(values, weight, groups, tangent=self.cfg.unit_norm)

    def add_skip(self, x_hat: Tensor, x: Tensor | None) -> Tensor:
        """The linear path of a skip transcoder."""
        if self.W_skip is None:
            return x_hat
        assert x is not None
        return x_hat + x @ self.W_skip.t()

    @torch.no_grad()
    def normalise(self) -> None:
        """Give the rows of W_dec unit norm; rows of zeros stay."""
        whole = self.W_dec.device.type != "cpu"
        size = self.width if whole else block_rows(self.d_out)  # a block stays in cache
        for rows in torch.split(self.W_dec, size):
            norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True)  # (n, 1)
            rows.div_(norm.clamp_(min=torch.finfo(norm.dtype).tiny))

    @torch.no_grad()
    def fold(self, scale: float, target: float | None = None) -> None:
        """Make a coder trained on ``scale`` · x, to give ``target`` · y, one of x and y.

        Every σ here is homogeneous, so only the biases and thresholds are divided; the
        activations then come in the units of x. A transcoder's two factors may differ, and its
        matrices into the output then take up their ratio.
        """
        out = scale if target is None else target
        self.b_enc.div_(scale)
        self.b_dec.div_(out)
        self.activation.rescale(1 / scale)
        if out != scale:
            self.W_dec.mul_(scale / out)
            if self.W_skip is not None:
                self.W_skip.mul_(scale / out)

    @torch.no_grad()
    def fold_columns(self, unit: float, columns: Tensor) -> None:
        """Make a coder trained on ``columns`` (d,) · x one that reads x: a crosscoder.

        Its activations are divided by ``unit``, as there is no one scale of all sites. Rows of
        W_dec do not keep norm 1.
        """
        self.b_enc.div_(unit)
        self.activation.rescale(1 / unit)
        self.W_enc.mul_(columns / unit)
        self.W_dec.mul_(unit / columns)
        self.b_dec.div_(columns)
        self.cfg = self.cfg.model_copy(update={"unit_norm": False})

    @torch.no_grad()
    def move(self, offset: Tensor | None, target: Tensor | None) -> None:
        """Make a coder trained on x − ``offset`` (d_in,), to give y − ``target`` (d_out,), one of x
        and y."""
        if offset is not None and not self.cfg.subtract_b_dec:
            product = self.W_enc @ offset  # (F,)
            self.b_enc.sub_(product)
            self.activation.move(product)
            if self.W_skip is not None:
                self.b_dec.sub_(self.W_skip @ offset)
        if target is not None:
            self.b_dec.add_(target)

    def _normed(self, x: Tensor) -> Tensor:
        """(N, d_in) -> what the encoder reads: each token normalised, where the coder wants it."""
        if not self.cfg.layer_norm:
            return x
        return (x - x.mean(1, keepdim=True)) / (_deviation(x) + LAYER_NORM_EPSILON)

    def _denormed(self, x_hat: Tensor, x: Tensor | None) -> Tensor:
        """(N, d_out) -> the same in the units of the input: times its deviation, plus its mean."""
        if not self.cfg.layer_norm or x is None:
            return x_hat
        return x_hat * _deviation(x) + x.mean(1, keepdim=True)

    def _check(self, x: Tensor) -> None:
        if x.ndim != 2 or x.shape[1] != self.d_in:
            raise DictionaryError(
                f"Dictionary {self.name!r} reads (tokens, {self.d_in}); "
                f"it was given {tuple(x.shape)}. Flatten batch and position, and check the site."
            )


def _deviation(x: Tensor) -> Tensor:
    """(N, d) -> (N, 1)."""
    return (x - x.mean(1, keepdim=True)).std(1, keepdim=True)


def unit_rows(rows: int, columns: int, seed: int | None) -> Tensor:
    """(rows, columns) random rows of norm 1; with seed None, memory as it was."""
    if seed is None:
        return torch.empty((rows, columns))
    drawn = torch.randn((rows, columns), generator=torch.Generator().manual_seed(seed))
    return drawn.div_(drawn.norm(dim=1, keepdim=True))
