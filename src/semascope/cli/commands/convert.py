"""The verbs that carry things in and out: a dictionary's format, a run's features as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from semascope.cli.base import InWorkspace, Verb, own_dictionary
from semascope.config import Options
from semascope.errors import FormatError, WorkspaceError
from semascope.files import write_text
from semascope.numbers import CountOrNone, NotNegative, Positive

if TYPE_CHECKING:
    from torch import Tensor

    from semascope.dictionary import SparseCoder

SAMPLES = 32
"""Held-out samples of a workspace whose activations a conversion is compared on."""


class CheckpointFlags(Options):
    """Flags of the verbs that read a checkpoint: what its files may not say."""

    trust_pickle: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Read a .pt file, which can hold code: say so only of files whose origin you trust."""
    architecture: Literal["", "topk", "batchtopk", "jumprelu", "relu", "gated"] = ""
    """Which latents are active, where the files do not say: a state dict of TopK and one of
    BatchTopK have the same names."""
    k: CountOrNone = 0
    """Active latents a token, where the files do not say; 0: as they say."""
    threshold: NotNegative | None = None
    """One threshold of all latents, where the files do not say (a BatchTopK's, Llama Scope's)."""
    scale: Positive | None = None
    """What activations were multiplied by in training, where that is not folded into the weights
    and no file holds it; 1 where it is folded."""
    subtract_b_dec: bool | None = None
    """Whether b_dec is subtracted from the input, where the files do not say."""
    site: str = ""
    """Where it reads, such as resid_post.12, where the files do not say or name it otherwise."""
    site_out: str = ""
    """Where a transcoder writes, likewise: mlp_out.12."""

    def hints(self) -> dict[str, Any]:
        """As ``semascope.dictionary.load`` takes them."""
        return {
            "allow_pickle": self.trust_pickle,
            "architecture": self.architecture or None,
            "k": self.k or None,
            "threshold": self.threshold,
            "scale": self.scale,
            "subtract_b_dec": self.subtract_b_dec,
            "site": self.site,
            "site_out": self.site_out,
        }


class Convert(CheckpointFlags, Verb):
    """Read a dictionary's checkpoint, whatever its format, and write it in another.

    Formats: sparsify (this project's own, and multimodal-sae's), saelens, dictionary_learning,
    openai, llamascopium; read alone: Gemma Scope, Gemma Scope 2, Llama Scope, Qwen Scope. What was
    written is read again, and codes, outputs and sites are compared: on the activations of the
    workspace's model where --workspace names one, else on made-up ones at the scale that the
    dictionary's biases expect. A difference above 1e-4 is an error. Keys of a configuration that
    mean nothing here are kept, and named.

    A value that decides the result and that the files lack is asked for by name; nothing is
    guessed.
    """

    source: tyro.conf.Positional[Path]
    """The checkpoint: a folder or a file; its format is found by looking."""
    target: tyro.conf.Positional[Path]
    """Where to write it."""
    to: str = "sparsify"
    """The format to write."""
    workspace: Annotated[Path | None, tyro.conf.arg(aliases=["-w"])] = None
    """Compare on the activations of this workspace's model and corpus. None: made-up ones."""

    def run(self) -> int:
        """Convert, and say what was found and what lies where."""
        from semascope.dictionary import convert, load

        if self.source.resolve() == self.target.resolve():
            raise FormatError(f"{self.target} would be written over itself. Name another target.")
        found, coder = convert(self.source, self.target, to=self.to, **self.hints())
        print(f"found  {found}: {described(coder)}, in {self.source}")
        if coder.cfg.extra:
            kept = "kept" if self.to != "openai" else "lost (openai's format has no place for them)"
            print(f"{kept}   keys without a meaning here: {', '.join(sorted(coder.cfg.extra))}")
        again = load(self.target, allow_pickle=True)  # just written here
        if self.to == "openai" and coder.site:
            print(f"lost   the site {coder.site} (openai's format has no place for it)")
            again.site = coder.site
        print(f"wrote  {self.to}: {described(again)}, in {self.target}")
        print(self._checked(coder, again))
        return 0

    def _checked(self, coder: SparseCoder, again: SparseCoder) -> str:
        """What the comparison found; FormatError where the two are not the same."""
        from semascope.dictionary.metrics.comparison import compare, probes

        x, what = probes(coder), "made-up tokens at the dictionary's own scale"
        if self.workspace is not None:
            x, what = _real(self.workspace, coder), f"tokens at {coder.site}"
        found = compare(coder, again, x)
        fault = found.fault()
        if fault:
            raise FormatError(
                f"{self.target} is not the same dictionary as {self.source}: {fault} ({len(x)} "
                f"{what}). Do not use it; --to sparsify can say everything that is read here."
            )
        return (
            f"check  codes differ by {found.codes:.1e}, outputs by {found.outputs:.1e} (relative), "
            f"sites are the same; {len(x)} {what}, {found.l0:.1f} active a token"
        )


def _real(folder: Path, coder: SparseCoder) -> Tensor:
    """(N, d) activations that a workspace's model has where the dictionary reads."""
    from semascope.pipeline import recorded
    from semascope.pipeline.adopt import activations
    from semascope.wiring import wired
    from semascope.workspace import Workspace

    Workspace(folder).require("train")
    train = recorded(Workspace(folder)).train
    if not coder.site:
        raise FormatError("The checkpoint does not say where it reads; give --site to compare.")
    x = activations(train.subject, train.corpus, wired(coder.site), samples=SAMPLES)
    if x.shape[1] != coder.d_in:
        raise FormatError(
            f"{coder.site} of {train.subject} is {x.shape[1]} wide, and the dictionary reads "
            f"{coder.d_in}: the workspace is of another model, or --site is another."
        )
    return x


def described(coder: SparseCoder) -> str:
    """One line on what a dictionary is."""
    cfg = coder.cfg
    kind = "transcoder" if cfg.transcodes else "crosscoder" if cfg.parts else "SAE"
    nested = "Matryoshka " if cfg.prefixes else ""
    counts = f", k {cfg.k}" if cfg.architecture in ("topk", "batchtopk") else ""
    target = f" to {coder.site_out}" if coder.site_out else ""
    site = f" at {coder.site}{target}" if coder.site else ""
    return (
        f"{nested}{cfg.architecture} {kind}, {cfg.width} latents of width {cfg.d_in}{counts}{site}"
    )


class Export(InWorkspace):
    """Every alive feature with its words and scores, as JSON lines or as a table."""

    target: tyro.conf.Positional[Path]
    """The file to write."""
    format: Literal["auto", "jsonl", "csv"] = "auto"
    """auto looks at the file's name."""
    dictionary: str = ""
    """Which, as site/name; none: the run's own, or the only one."""

    def run(self) -> int:
        """Write the file whole, and say how many features it holds."""
        from semascope.pipeline.feature_search import require_features

        require_features(self.space)
        rows = list(self._rows())
        kind = self.format
        if kind == "auto":
            kind = "csv" if self.target.suffix == ".csv" else "jsonl"
        if self.target.is_dir():
            raise WorkspaceError(f"{self.target} is a folder. Name a file to write.")
        write_text(self.target, as_csv(rows) if kind == "csv" else as_lines(rows))
        print(f"{self.target} ({len(rows)} features)")
        return 0

    def _rows(self) -> list[dict[str, Any]]:
        from semascope.atlas import Atlas

        with Atlas.open(self.space.atlas, readonly=True) as atlas:
            key = self.dictionary or own_dictionary(self.space, atlas)
            page = atlas.features(key, where={"alive": True}, limit=10_000_000)
        return [
            {
                "id": row.id,
                "label": row.label,
                "description": row.description,
                "category": row.category,
                "author": row.author,
                "confidence": row.confidence,
                "abstained": row.abstained,
                "modality": row.modality,
                "density": row.density,
                "max": row.max,
                "samples": row.samples,
                **{kind: score.value for kind, score in sorted(row.scores.items())},
            }
            for row in page.rows
        ]


def as_lines(rows: list[dict[str, Any]]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_csv(rows: list[dict[str, Any]]) -> str:
    """A table with every column that any row has."""
    import csv
    import io

    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
