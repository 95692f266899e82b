"""FVU against L0 of every architecture at equal steps, beside the peers' trainers.

    python -m benchmarks.dictionary --curves --peers-python PATH [--text-only]

All see the same cached activations in the same batches, scaled to a mean norm of √d; each library
trains by its own step with its own defaults, schedules cut to the run's length. L0 is led by k
where a trainer takes the L0 that is wanted, and by multiples of the library's own penalty where it
does not; JumpReLU is one or the other, by library, so that its jobs carry both. FVU and L0 are
taken on held-out activations by the same lines. A library that is absent is skipped by name.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from benchmarks._activations import add_arguments, read

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "figures" / "dictionary-curves"
CURVE = Path(__file__).with_name("_dictionary_curve.py")
LIBRARIES = ("semascope", "sparsify", "saelens", "dictionary_learning")
ARCHITECTURES = ("topk", "batchtopk", "jumprelu", "relu", "gated", "matryoshka-batchtopk")
SAME = 0.01
"""L0s that differ by less are equal."""
EQUAL = "FVU at equal L0, between our nearest points; no ratio where ours are all sparser and above"
Row = dict[str, Any]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser, tokens=120_000)
    parser.add_argument("--libraries", nargs="*", default=LIBRARIES)
    parser.add_argument("--peers-python", default=os.environ.get("PEERS_PYTHON", sys.executable))
    parser.add_argument("--architectures", nargs="*", default=ARCHITECTURES)
    parser.add_argument("--width", type=int, default=4, help="times d")
    parser.add_argument("--ks", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--penalties", type=float, nargs="+", default=[0.3, 1.0, 3.0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--picture", type=Path, default=PICTURE, help="without its ending")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def jobs(options: argparse.Namespace, d: int) -> list[Row]:
    """Every architecture at every sparsity."""
    shared = {"width": options.width * d, "steps": options.steps, "batch": options.batch}
    made: list[Row] = []
    for architecture in options.architectures:
        for i, k in enumerate(options.ks):
            counts = architecture.endswith("topk")
            penalty = 1.0 if counts else options.penalties[i % len(options.penalties)]
            made.append({"architecture": architecture, "k": k, "penalty": penalty, **shared})
    return made


def learnt(library: str, file: Path, work: Path, options: argparse.Namespace) -> Iterator[Row]:
    """The answers of one library, as they come."""
    python = sys.executable if library == "semascope" else options.peers_python
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    source = str(ROOT / "src")
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [source, os.environ.get("PYTHONPATH", "")])
    )
    process = subprocess.Popen(
        [python, str(CURVE), library, str(file), str(work), str(options.threads)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("@"):
            row = {"library": library, **json.loads(line[1:])}
            print(f"[curves] {told(row)}", file=sys.stderr, flush=True)
            yield row
    process.wait()


def told(row: Mapping[str, Any]) -> str:
    """One line on one answer."""
    start = f"{row['library']} {row['architecture']} k {row['k']} × {row['penalty']}"
    if "skipped" in row:
        return f"{start}: skipped, {row['skipped']}"
    return f"{start}: L0 {row['l0']:.1f}, FVU {row['fvu']:.4f}, {row['seconds']:.0f} s"


def at_equal_l0(rows: Sequence[Row]) -> list[Row]:
    """For each peer's point our FVU at its L0, between our two nearest points in log L0.

    Where all of ours are sparser (or denser) it stands beside our nearest. As FVU falls with L0,
    that decides if ours is below at fewer active latents, or above at more; else there is no ratio.
    """
    import numpy as np

    compared: list[Row] = []
    for row in rows:
        ours = sorted(
            (r["l0"], r["fvu"])
            for r in rows
            if r["library"] == "semascope" and r["architecture"] == row["architecture"]
        )
        if row["library"] == "semascope" or len(ours) < 2:
            continue
        l0, fvu = np.array(ours).T
        at = float(np.clip(row["l0"], l0[0], l0[-1]))
        own = float(np.exp(np.interp(np.log(at), np.log(l0), np.log(fvu))))
        near = abs(at / row["l0"] - 1) < SAME
        decided = near or (own <= row["fvu"] if at < row["l0"] else own >= row["fvu"])
        compared.append(
            {
                "peer": row["library"],
                "architecture": row["architecture"],
                "L0": row["l0"],
                "peer's FVU": row["fvu"],
                "our L0": at,
                "our FVU": own,
                "ratio": own / row["fvu"] if decided else None,
            }
        )
    return compared


def draw(rows: Sequence[Row], origin: str, options: argparse.Namespace) -> None:
    """One panel an architecture, a line a library; PNG and SVG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    names = list(dict.fromkeys(row["architecture"] for row in rows))
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure, axes = pyplot.subplots(
        lines, columns, figsize=(3.6 * columns, 2.9 * lines), squeeze=False, sharey=True
    )
    shades = dict(zip(LIBRARIES, ("#d9480f", "#1864ab", "#2b8a3e", "#862e9c"), strict=True))
    for axis, name in zip(axes.flat, names, strict=False):
        for library in LIBRARIES:
            points = sorted(
                (r["l0"], r["fvu"])
                for r in rows
                if (r["library"], r["architecture"]) == (library, name) and r["l0"] > 0
            )
            if points:
                x, y = zip(*points, strict=True)
                axis.plot(x, y, "o-", label=library, color=shades[library], markersize=4)
        axis.set(title=name, xlabel="L0", xscale="log", yscale="log")
    for axis in axes.flat[len(names) :]:
        axis.axis("off")
    for axis in axes.flat[: len(names)]:
        axis.tick_params(labelsize=7)
        for ruler in (axis.xaxis, axis.yaxis):  # 0.2 and 50, not powers of ten
            ruler.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            ruler.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
            ruler.set_minor_formatter(ticker.NullFormatter())
    for axis in axes[:, 0]:
        axis.set_ylabel("FVU, held out")
    figure.suptitle(f"{origin}, width {options.width}×, {options.steps} steps", fontsize=10)
    named = {line.get_label(): line for axis in axes.flat for line in axis.get_lines()}
    figure.legend(
        named.values(), named.keys(), loc="lower center", ncols=len(named), fontsize=8
    )  # one for all: no panel has room that every run leaves free
    figure.tight_layout(rect=(0, 0.3 / (2.9 * lines), 1, 1))
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    for ending in ("png", "svg"):
        figure.savefig(options.picture.with_suffix(f".{ending}"), dpi=130)
    pyplot.close(figure)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train everything, draw it, return the rows and the comparison at equal L0."""
    x, held, origin = read(options)
    with tempfile.TemporaryDirectory() as folder:
        file, work = Path(folder) / "activations.safetensors", Path(folder) / "jobs.json"
        save_file({"x": x, "held": held}, file)
        work.write_text(json.dumps(jobs(options, x.shape[1])), encoding="utf-8")
        answers = [row for name in options.libraries for row in learnt(name, file, work, options)]
    rows = [row for row in answers if "skipped" not in row]
    if not rows:
        raise SystemExit("No library could train; see the lines above.")
    draw(rows, origin, options)
    keys = ("library", "architecture", "width", "steps", "k", "penalty", "l0", "fvu")
    return {
        "origin": origin,
        "tokens": len(x),
        "rows": [{key: row[key] for key in keys} for row in rows],
        "tables": {"equal": (EQUAL, at_equal_l0(rows))},
        "skipped": [told(row) for row in answers if "skipped" in row],
    }


def main(arguments: Sequence[str] = ()) -> dict[str, Any]:
    """As ``make bench`` calls it."""
    return run(parse(arguments))


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:]), indent=2))
