"""The verbs that carry things in and out: a dictionary's format, a run's features as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from semascope.cli.base import InWorkspace, Verb, own_dictionary
from semascope.errors import FormatError, WorkspaceError
from semascope.workspace import write_text

if TYPE_CHECKING:
    from semascope.dictionary import SparseCoder


class Convert(Verb):
    """Read a dictionary's checkpoint, whatever its format, and write it in another.

    Formats: sparsify (this project's own, and multimodal-sae's), saelens, dictionary_learning,
    openai, llamascopium. What was written is read again and compared. Keys of a configuration that
    mean nothing here are kept, and named.
    """

    source: tyro.conf.Positional[Path]
    """The checkpoint: a folder or a file; its format is found by looking."""
    target: tyro.conf.Positional[Path]
    """Where to write it."""
    to: str = "sparsify"
    """The format to write."""
    trust_pickle: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Read a .pt file, which can hold code: say so only of files whose origin you trust."""

    def run(self) -> int:
        """Convert, and say what was found and what lies where."""
        from semascope.dictionary import convert, load

        if self.source.resolve() == self.target.resolve():
            raise FormatError(f"{self.target} would be written over itself. Name another target.")
        found, coder = convert(self.source, self.target, to=self.to, allow_pickle=self.trust_pickle)
        print(f"found  {found}: {described(coder)}, in {self.source}")
        if coder.cfg.extra:
            kept = "kept" if self.to != "openai" else "lost (openai's format has no place for them)"
            print(f"{kept}   keys without a meaning here: {', '.join(sorted(coder.cfg.extra))}")
        again = load(self.target, allow_pickle=True)  # just written here
        print(f"wrote  {self.to}: {described(again)}, in {self.target}")
        print(f"check  reconstructions differ by at most {difference(coder, again):.1e} of 1")
        return 0


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


def difference(one: SparseCoder, other: SparseCoder, tokens: int = 64) -> float:
    """Largest difference of two reconstructions of random inputs, over the largest value."""
    import torch

    scale = float(one.b_dec.std()) or 1.0 if one.d_in == one.d_out else 1.0
    x = torch.randn((tokens, one.d_in), generator=torch.Generator().manual_seed(0)) * scale
    x = x + one.b_dec if one.d_in == one.d_out else x
    a, b = (coder.decode(coder.encode(x), x) for coder in (one, other))
    return float((a - b).abs().max() / a.abs().max().clamp_min(1e-12))


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
        from semascope.pipeline.searching import require_features

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
