"""The verb evaluate dictionary: the whole quality report of one dictionary, by kind of token."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from semascope.cli.base import InWorkspace
from semascope.numbers import Count, CountOrNone
from semascope.workspace import Workspace

if TYPE_CHECKING:
    from rich.console import RenderableType

PREFIX = "dictionary-"
"""Of the reports' files among the evaluations."""
BLOCKS = " ▁▂▃▄▅▆▇█"
COLUMNS = {
    "tokens": "tokens", "fvu": "FVU", "explained_variance": "1 − FVU", "l0": "L0",
    "dead_fraction": "never", "cosine": "cosine", "norm_ratio": "norm", "ce_recovered": "CE rec.",
    "kl": "KL",
}  # fmt: skip
"""Figures of a kind of token, and what they are called."""


class EvaluateDictionary(InWorkspace):
    """How good a dictionary is, on samples that no training read, for each kind of token.

    FVU, explained variance, L0, latents that never fire, their density; cross-entropy recovered
    and KL, with the reconstruction in the place of the activations; how close directions lie; the
    share of latents that had been silent for the usual windows when training ended. With --beside,
    how much comes back in a dictionary of the same site that was trained from another seed:
    semascope train --seed 1 --workspace workspace/other. The density is drawn as SVG in the
    workspace's evaluations, and semascope report shows the figures from then on.
    """

    dictionary: str = ""
    """Which, as site/name or name; none: the run's own."""
    samples: Count = 240
    """Held-out samples."""
    predicted: CountOrNone = 48
    """Of these, so many whose next tokens are predicted; 0 leaves CE and KL out."""
    beside: Path | None = None
    """Checkpoint of another dictionary of this site, from another seed."""
    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
    """Print JSON."""

    def run(self) -> int:
        """Measure, draw, keep, print."""
        self.space.require("train")
        from semascope.cli.progress import ProgressBars
        from semascope.evaluate.dictionary import measure
        from semascope.pipeline import recorded
        from semascope.pipeline.run_context import Run

        with ProgressBars() as bars:
            record = measure(
                Run(self.space, recorded(self.space)),
                dictionary=self.dictionary,
                samples=self.samples,
                predicted=self.predicted,
                beside=self.beside,
                progress=bars.begin("evaluate", ""),
            )
        self._keep(record)
        if self.as_json:
            print(json.dumps(record, indent=2))
        else:
            from rich.console import Console

            Console(highlight=False, soft_wrap=True).print(shown(record))
            print(record["picture"])
        return 0

    def _keep(self, record: dict[str, Any]) -> None:
        """The record and its picture among the workspace's evaluations."""
        from semascope.dictionary.metrics import plots
        from semascope.files import write_text

        name = PREFIX + record["dictionary"].replace("/", "-")
        path = self.space.results("evaluations") / f"{name}.svg"
        record["picture"] = str(path)
        write_text(path, plots.density(record))
        write_text(path.with_suffix(".json"), json.dumps(record, indent=2) + "\n")


def kept(space: Workspace) -> Iterator[dict[str, Any]]:
    """The reports that were made in a workspace."""
    for path in sorted((space.root / "evaluations").glob(f"{PREFIX}*.json")):
        try:
            yield json.loads(path.read_text("utf-8"))
        except ValueError:
            continue


def shown(record: Mapping[str, Any]) -> RenderableType:
    """A table by kind of token, and what else was measured."""
    from rich.console import Group
    from rich.table import Table

    kinds: Mapping[str, Mapping[str, Any]] = record["kinds"]
    names = [name for name in COLUMNS if any(name in one for one in kinds.values())]
    rows = Table(box=None, pad_edge=False)
    for column in ("tokens of kind", *(COLUMNS[name] for name in names)):
        rows.add_column(column, justify="left" if column == "tokens of kind" else "right")
    rows.add_column("density, 1e-7 to 1")
    for kind, one in kinds.items():
        rows.add_row(kind, *(_text(one.get(name)) for name in names), bars(one["density"]))
    title = (
        f"{record['dictionary']}: {record['architecture']}, {record['width']} latents, on "
        f"{record['samples']} held-out samples"
    )
    return Group(title, rows, *_lines(record))


def _lines(record: Mapping[str, Any]) -> Iterator[str]:
    """What is not by kind."""
    close = record["crowding"]
    yield (
        f"nearest other direction: cosine {close['mean']:.2f} on average, {close['p95']:.2f} at "
        f"95 %; over 0.9 for {close['above_0.9']:.1%} of latents"
    )
    if record["silent"]:
        shares = ", ".join(
            f"{share:.1%} for {int(window):,} tokens"
            for window, share in record["silent"]["shares"].items()
        )
        yield f"silent at the end of {record['silent']['tokens']:,} tokens: {shares or 'none'}"
    if record["predictions"].startswith("none"):
        yield f"predictions: {record['predictions']}"
    found = record["stability"]
    if found is not None:
        matched = "" if found["matched"] is None else f", {found['matched']:.2f} one to one"
        yield (
            f"beside {found['beside']}: nearest cosine {found['nearest']:.2f}{matched}; "
            f"{found['shared']:.1%} of features come back"
        )


def bars(counts: list[int]) -> str:
    """A histogram in one line of text."""
    most = max(counts, default=0) or 1
    return "".join(BLOCKS[-(-count * (len(BLOCKS) - 1) // most)] for count in counts)


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}"
