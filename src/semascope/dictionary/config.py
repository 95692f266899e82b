"""What a dictionary is and how it is trained, as frozen records whose docstrings are their help.

Knows no tensors. One dial, the width, sets what follows from it; every other field has a value that
works and says why one would change it.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from semascope.errors import DictionaryError

ArchitectureName = Literal["topk", "batchtopk", "jumprelu", "relu", "gated"]
OptimizerName = Literal["adam", "adamw", "muon", "signum"]
UNHURRIED = 12_500
"""Steps from which Adam's rate follows from the width alone."""
MOST_HURRY = 6.0
"""A shorter run's rate is at most so many times as large."""


class Frozen(BaseModel):
    """A record that never changes; unknown fields are errors; docstrings are descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def __init__(self, **fields: Any) -> None:
        """Raises a DictionaryError that names the field where a value is impossible."""
        try:
            super().__init__(**fields)
        except ValidationError as error:
            wrong = [
                f"{'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg'].lower()}"
                for e in error.errors()
            ]
            raise DictionaryError(f"Impossible settings: {'; '.join(wrong)}.") from error


class CoderConfig(Frozen):
    """The shape of one trained dictionary: enough to build it and to read its weights."""

    d_in: int = Field(gt=0)
    """Width of the activations that it reads."""
    width: int = Field(gt=0)
    """How many latents."""
    k: int = Field(default=32, gt=0)
    """Active latents a token (TopK), on average over a batch (BatchTopK), or to be led to
    (JumpReLU); others begin there and end where their penalty leads."""
    architecture: ArchitectureName = "topk"
    """Which σ in z = σ(W_enc(x − b_dec) + b_enc)."""
    d_out: int | None = None
    """Width of what is reconstructed, where that is not the input: a transcoder."""
    skip: bool = False
    """Add x W_skip to the reconstruction: a skip transcoder."""
    subtract_b_dec: bool = True
    """Subtract b_dec before encoding. Never for a transcoder."""
    unit_norm: bool = True
    """Rows of W_dec are kept at norm 1."""
    prefixes: tuple[int, ...] = ()
    """Matryoshka: each of these first latents must reconstruct on its own. Ends at ``width``."""
    layer_norm: bool = False
    """Each token is normalised before encoding, and its mean and deviation given back after
    (openai's TopK dictionaries)."""
    parts: tuple[int, ...] = ()
    """Crosscoder: widths of the sites whose activations are laid side by side in the input."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Keys of a foreign configuration that have no meaning here, kept as they were."""

    @model_validator(mode="after")
    def _possible(self) -> CoderConfig:
        if self.architecture in ("topk", "batchtopk") and self.k > self.width:
            raise DictionaryError(
                f"k = {self.k} latents cannot be active in a dictionary of {self.width}; "
                "lower k or raise the width."
            )
        if self.prefixes and (
            list(self.prefixes) != sorted(set(self.prefixes))
            or self.prefixes[0] < 1
            or self.prefixes[-1] != self.width
        ):
            raise DictionaryError(
                f"Matryoshka prefixes must rise and end at the width {self.width}, "
                f"not {self.prefixes}."
            )
        if self.parts and sum(self.parts) != self.d_in:
            raise DictionaryError(
                f"The sites' widths {self.parts} sum to {sum(self.parts)}, not to d_in {self.d_in}."
            )
        if self.transcodes and self.subtract_b_dec:
            raise DictionaryError(
                "A transcoder's b_dec lives in its output space: set subtract_b_dec to false."
            )
        return self

    @property
    def transcodes(self) -> bool:
        """Whether it reconstructs something other than its input."""
        return self.d_out is not None

    @property
    def out(self) -> int:
        """Width of the reconstruction."""
        return self.d_in if self.d_out is None else self.d_out


class TrainConfig(Frozen):
    """How one dictionary is trained."""

    width: int = Field(default=0, ge=0)
    """How many latents; 0 takes ``expansion`` times the site's width."""
    expansion: int = Field(default=8, gt=0)
    """Latents for each dimension of the site, where ``width`` is 0."""
    k: int = Field(default=32, gt=0)
    """Active latents a token."""
    architecture: ArchitectureName = "topk"
    """TopK unless there is a reason."""
    prefixes: tuple[int, ...] = ()
    """Matryoshka prefixes as shares of the width in percent, e.g. 6 25 100; empty for none."""
    transcode: bool = False
    """Reconstruct the batch's ``target`` instead of its ``x``."""
    skip: bool = False
    """With ``transcode``: add a linear path."""
    unit_norm: bool | None = None
    """Keep decoder rows at norm 1; by default what the architecture was published with."""

    steps: int = Field(default=1000, gt=0)
    """Optimiser steps."""
    micro_batches: int = Field(default=1, gt=0)
    """Split each batch in so many to save memory; gradient and FVU stay the whole batch's."""
    seed: int = 0
    """Of the initial weights."""

    optimizer: OptimizerName = "adam"
    """Adam; AdamW; Muon (orthogonalised momentum for both matrices); Signum (sign of momentum)."""
    lr: float = Field(default=0.0, ge=0)
    """Learning rate; 0 takes 2e-4 / √(width / 2¹⁴) for Adam, 5e-3 / √… for Signum, and more for
    short runs: see ``rate``."""
    lr_scale: float = Field(default=1.0, gt=0)
    """Multiplies the automatic rate."""
    warmup: float = Field(default=0.05, ge=0, le=1)
    """Share of the steps over which the rate rises from 0."""
    decay: float = Field(default=0.2, ge=0, le=1)
    """Share of the steps, at the end, over which the rate falls to 0."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW only."""
    clip: float = Field(default=0.0, ge=0)
    """Largest norm of the whole gradient; 0 for no limit."""

    auxk: float = Field(default=1 / 32, ge=0)
    """Weight of the loss that lets dead latents model the residual (Gao et al. 2024, A.2)."""
    k_aux: int = Field(default=0, ge=0)
    """Dead latents used a token; 0 takes d_in / 2."""
    dead_tokens: int = Field(default=0, ge=0)
    """A latent silent for so long is dead; 0 takes a tenth of the run, at most ten million."""
    multi_topk: float = Field(default=0.0, ge=0)
    """Weight of a second reconstruction with 4 k latents (Gao et al. 2024, section 4.3)."""
    k_start: int = Field(default=0, ge=0)
    """Begin with so many active latents and come down to ``k``; 0 for no schedule."""
    k_decay: float = Field(default=0.1, gt=0, le=1)
    """Share of the steps over which ``k_start`` comes down."""
    sparsity: float = Field(default=0.0, ge=0)
    """λ beside FVU of the sparsity penalty of ReLU, JumpReLU and Gated; 0 takes the
    architecture's own: 5 √(d / 4096) over the variance of a token for ReLU and Gated, (L0 / k − 1)²
    for JumpReLU."""
    sparsity_warmup: float = Field(default=0.05, ge=0, le=1)
    """Share of the steps over which λ rises from 0."""
    resample: tuple[float, ...] = ()
    """At these shares of the run, dead latents are drawn anew from badly reconstructed tokens."""

    parts: tuple[int, ...] = ()
    """Crosscoder: widths of the sites that the source lays side by side (``CrossSource``)."""

    normalize_input: bool = True
    """Scale activations so that their mean norm is √d while training; folded away on saving."""
    b_dec_tokens: int = Field(default=32_768, gt=0)
    """Tokens whose geometric median b_dec starts at."""
    bf16: bool = False
    """On a GPU, choose TopK latents by a product in bfloat16; weights and values stay float32."""

    checkpoint_every: int = Field(default=200, gt=0)
    """Steps between whole states on disk."""
    log_every: int = Field(default=10, gt=0)
    """Steps between lines of metrics.jsonl."""

    @model_validator(mode="after")
    def _possible(self) -> TrainConfig:
        if self.skip and not self.transcode:
            raise DictionaryError("A skip path makes sense only for a transcoder: set transcode.")
        if self.width and self.k > self.width and self.architecture in ("topk", "batchtopk"):
            raise DictionaryError(
                f"k = {self.k} latents cannot be active in a dictionary of {self.width}; "
                "lower k or raise the width."
            )
        if self.prefixes and (
            list(self.prefixes) != sorted(set(self.prefixes)) or self.prefixes[-1] != 100
        ):
            raise DictionaryError("Matryoshka prefixes are percentages that rise and end at 100.")
        return self

    def coder(self, d_in: int, *, d_out: int | None = None) -> CoderConfig:
        """The dictionary that this trains at a site of width ``d_in``."""
        width = self.width or self.expansion * d_in
        bounded = self.architecture != "relu"
        return CoderConfig(
            d_in=d_in,
            width=width,
            k=self.k,
            architecture=self.architecture,
            d_out=(d_out or d_in) if self.transcode else None,
            skip=self.skip,
            subtract_b_dec=not self.transcode,
            unit_norm=(bounded and not self.transcode)
            if self.unit_norm is None
            else self.unit_norm,
            prefixes=tuple(max(1, width * p // 100) for p in self.prefixes),
            parts=self.parts,
        )

    def rate(self, width: int) -> float:
        """Peak learning rate: one dial, the width (Gao et al. 2024, section 3).

        That is the rate of runs of many thousand steps. A short one gets less far by small steps
        than it loses by large ones: under 12,500 steps Adam's rate is √(12,500 / steps) times as
        large, six times at the most. On the embedded model (TopK, 8×, k 32) 500 steps end at an
        FVU of .201 at 1×, .145 at 3×, .131 at 5× and .125 at 8×, where one latent in 25 is dead.
        """
        if self.lr:
            return self.lr
        base = {"adam": 2e-4, "adamw": 2e-4, "muon": 2e-3, "signum": 5e-3}[self.optimizer]
        hurry = 1.0
        if self.optimizer in ("adam", "adamw"):
            hurry = min(MOST_HURRY, max(1.0, math.sqrt(UNHURRIED / self.steps)))
        return hurry * self.lr_scale * base / math.sqrt(width / 2**14)

    def dead_after(self, batch_tokens: int) -> int:
        """Tokens of silence that make a latent dead."""
        return self.dead_tokens or min(10_000_000, max(1, self.steps * batch_tokens // 10))
