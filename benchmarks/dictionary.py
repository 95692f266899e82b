"""Training steps a second of this project's TopK SAE beside its peers', in one run.

    python -m benchmarks.dictionary --widths 8 16 32 \
        --peers sparsify saelens dictionary_learning --peers-python PATH --json

Every contestant lives in a process of its own, has the same weights, batch, k, Adam and threads,
and must first reconstruct the batch equally. Rounds are interleaved, so that other load on the
machine falls on all; the least wall and CPU time of a round are taken. A peer that is absent is
skipped by name. ``product`` is no contestant: it is the encoder's dense product alone, the floor
under every exact step.

``--curves`` measures FVU against L0 instead, and ``--loop`` the whole training loop; their own
flags follow: python -m benchmarks.dictionary --curves --help.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.__main__ import kept

STEP = Path(__file__).with_name("_dictionary_step.py")
TOLERANCE = 1e-3
PEERS = ["sparsify", "saelens", "dictionary_learning"]


@dataclass
class Row:
    """One contestant at one width."""

    contestant: str
    factor: int
    width: int
    wall_ms: float = float("inf")
    cpu_ms: float = float("inf")
    steps_per_second: float = 0.0
    peak_mb: float = 0.0
    difference: float = 0.0
    """Largest absolute difference of its reconstruction from the reference."""
    ratio_to_sparsify: dict[str, float] = field(default_factory=dict)
    """Speed relative to sparsify's, by CPU time and by wall time."""
    skipped: str = ""


class Contestant:
    """A process that takes steps on demand."""

    def __init__(self, name: str, python: str, file: Path, threads: int) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        source = str(Path(__file__).parent.parent / "src")
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, [source, environment.get("PYTHONPATH", "")])
        )
        self._process = subprocess.Popen(
            [python, str(STEP), name, str(file), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.hello = self._answer()

    def steps(self, count: int) -> dict[str, float]:
        """Seconds of wall and CPU a step, and the peak of memory so far."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"steps {count}\n")
        self._process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """Let it go."""
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("@"):
                answer: dict[str, Any] = json.loads(line[1:])
                return answer
        assert self._process.stderr is not None
        last = (self._process.stderr.read().strip().splitlines() or ["no word"])[-1]
        return {"error": f"it ended: {last}"}


def make_problem(path: Path, d_in: int, width: int, k: int, batch: int) -> None:
    """Weights, a batch, and the reference reconstruction."""
    generator = torch.Generator().manual_seed(width)
    rows = torch.randn((width, d_in), generator=generator)
    rows /= rows.norm(dim=1, keepdim=True)
    x = torch.randn((batch, d_in), generator=generator)
    b_dec = 0.1 * torch.randn(d_in, generator=generator)
    x_hat = torch.empty_like(x)
    for i in range(0, batch, 256):
        pre = (x[i : i + 256] - b_dec) @ rows.t()
        best = pre.topk(k)
        x_hat[i : i + 256] = b_dec + torch.einsum(
            "nk,nkd->nd", best.values.relu(), rows[best.indices]
        )
    save_file(
        {
            "W_enc": rows,
            "W_dec": rows.clone(),
            "b_enc": torch.zeros(width),
            "b_dec": b_dec,
            "x": x,
            "x_hat": x_hat,
            "k": torch.tensor(k),
        },
        path,
    )


def measure(
    factor: int, contestants: Sequence[str], options: argparse.Namespace, folder: Path
) -> list[Row]:
    """All contestants at one width, in interleaved rounds."""
    width = factor * options.d_in
    file = folder / f"problem-{width}.safetensors"
    make_problem(file, options.d_in, width, options.k, options.batch)
    rows: list[Row] = []
    running: list[tuple[Row, Contestant]] = []
    for name in contestants:
        own = name in ("semascope", "dense", "product")
        python = sys.executable if own else options.peers_python
        row = Row(name, factor, width)
        rows.append(row)
        contestant = Contestant(name, python, file, options.threads)
        row.skipped = str(contestant.hello.get("error", ""))
        row.difference = float(contestant.hello.get("difference", 0.0))
        if not row.skipped and row.difference > TOLERANCE:
            row.skipped = f"its reconstruction differs by {row.difference:.2g}"
        if row.skipped:
            contestant.end()
        else:
            running.append((row, contestant))
    for _ in range(options.rounds):
        for row, contestant in running:
            took = contestant.steps(options.steps)
            row.wall_ms = min(row.wall_ms, 1e3 * took["wall"])
            row.cpu_ms = min(row.cpu_ms, 1e3 * took["cpu"])
            row.peak_mb = took["peak_mb"]
    for row, contestant in running:
        contestant.end()
        row.steps_per_second = 1e3 / row.wall_ms
    base = next((row for row, _ in running if row.contestant == "sparsify"), None)
    for row, _ in running:
        if base is not None:
            row.ratio_to_sparsify = {
                "cpu": base.cpu_ms / row.cpu_ms,
                "wall": base.wall_ms / row.wall_ms,
            }
    return rows


def table(rows: Sequence[Row]) -> str:
    """For a person."""
    lines = [f"{'contestant':22}{'width':>8}{'CPU ms':>9}{'wall ms':>9}{'× CPU':>8}{'MB':>8}"]
    for row in rows:
        if row.skipped:
            lines.append(f"{row.contestant:22}{row.width:8}  skipped: {row.skipped}")
            continue
        ratio = row.ratio_to_sparsify.get("cpu", float("nan"))
        lines.append(
            f"{row.contestant:22}{row.width:8}{row.cpu_ms:9.0f}{row.wall_ms:9.0f}"
            f"{ratio:8.2f}{row.peak_mb:8.0f}"
        )
    return "\n".join(lines)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--peers", nargs="*", default=PEERS)
    parser.add_argument("--peers-python", default=os.environ.get("PEERS_PYTHON", sys.executable))
    parser.add_argument("--d-in", type=int, default=576)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="of each contestant in a round")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> list[Row]:
    """Every width, one after another."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            row
            for factor in options.widths
            for row in measure(
                factor, ["semascope", "product", *options.peers], options, Path(folder)
            )
        ]


def main() -> dict[str, Any]:
    """As ``make bench`` calls it: what was measured, nothing printed."""
    return {"rows": [flat(row) for row in run(parse([]))]}


def flat(row: Row) -> dict[str, Any]:
    """A row of the documents' table."""
    cells = asdict(row)
    ratios = cells.pop("ratio_to_sparsify")
    skipped = cells.pop("skipped")
    if skipped:
        cells = {**dict.fromkeys(cells, "–"), "factor": row.factor, "width": row.width}
        cells["contestant"] = f"{row.contestant}: {skipped}"
    return cells | {f"ratio_to_sparsify_{by}": ratios.get(by, "–") for by in ("cpu", "wall")}


def plain(row: Row) -> dict[str, Any]:
    """A row as JSON: what was not measured is null."""
    cells = asdict(row)
    if row.skipped:
        cells |= dict.fromkeys(("wall_ms", "cpu_ms", "steps_per_second", "peak_mb", "difference"))
    ratios = {by: row.ratio_to_sparsify.get(by) for by in ("cpu", "wall")}
    return cells | {"ratio_to_sparsify": ratios}


def other(name: str) -> int:
    """Another measurement of dictionaries, with the flags that are left."""
    module = importlib.import_module(f"benchmarks.dictionary_{name}")
    flags = [word for word in sys.argv[1:] if word != f"--{name}"]
    measured = module.main(flags)
    if "--json" in flags:
        print(json.dumps(measured, indent=2))
        return 0
    for path in kept(f"dictionary_{name}", module.__doc__ or "", measured):
        print(f"[bench] {path}")
    return 0


if __name__ == "__main__":
    for NAME in ("curves", "loop"):
        if f"--{NAME}" in sys.argv:
            sys.exit(other(NAME))
    OPTIONS = parse()
    ROWS = run(OPTIONS)
    print(json.dumps([plain(row) for row in ROWS], indent=2) if OPTIONS.json else table(ROWS))
