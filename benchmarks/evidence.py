"""What evidence costs: the pass beside the bare model and beside delphi's cache, memory by corpus.

``python -m benchmarks.evidence --json``. The dictionary is drawn at random (weights do not matter
to speed) in widths that are multiples of the model's; every run is a process of its own, so peak
memory is its own, counted from where the model and the dictionary are loaded. The corpus of the
memory curve is random words, read by a small model, one, ten and a hundred times as long. On the
same words the evidence is compared with what keeping every activation gives. By default it takes
about five minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from benchmarks._evidence_runs import apart

TIMES = (1, 10, 100)
"""Lengths of the corpus on the memory curve."""
BARS = {8: 1.25, 32: 1.5}
"""What gathering may cost over the bare forward pass, by width."""


def main(
    subject: str = "sprite-llava",
    rows: int = 256,
    widths: Sequence[int] = (8, 32),
    small: str = "tiny:llama",
    small_rows: int = 64,
    repeats: int = 1,
) -> dict[str, Any]:
    """Measure; the record of ``make bench``."""
    out: dict[str, Any] = {"subject": subject, "samples": rows}
    for multiple in widths:
        about = {"subject": subject, "rows": rows, "multiple": multiple}
        runs = {way: _best(way, repeats, **about) for way in ("bare", "ours", "delphi")}
        bare, ours, delphi = (runs[way] for way in ("bare", "ours", "delphi"))
        name = f"{multiple}x"
        out |= {
            f"{name}_seconds_forward": bare["seconds"],
            f"{name}_seconds_gather": ours["seconds"],
            f"{name}_seconds_pass": ours["seconds_pass"],
            f"{name}_seconds_merge": ours["seconds_merge"],
            f"{name}_gather_over_forward": ours["seconds"] / bare["seconds"],
            f"{name}_pass_over_forward": ours["seconds_pass"] / bare["seconds"],
            f"{name}_seconds_delphi": delphi["seconds"],
            f"{name}_delphi_over_gather_time": delphi["seconds"] / ours["seconds"],
            f"{name}_megabytes_gather": ours["megabytes"],
            f"{name}_megabytes_delphi": delphi["megabytes"],
            f"{name}_delphi_over_gather_memory": delphi["megabytes"] / max(ours["megabytes"], 1),
            f"{name}_read_back_ms_median": ours["read_back_ms_median"],
            f"{name}_read_back_ms_99": ours["read_back_ms_99"],
        }
    for times in TIMES:
        about = {"subject": small, "rows": small_rows * times, "multiple": widths[0]}
        for way, name in (("ours", "gather"), ("delphi", "delphi")):
            out[f"corpus_{times}x_megabytes_{name}"] = apart(way, **about)["megabytes"]
    found = apart("exact", subject=small, rows=small_rows, multiple=widths[0])
    out |= {f"exact_{name}": value for name, value in found.items()}
    bars = {f"bar_{width}x_gather_over_forward": bar for width, bar in BARS.items()}
    return out | {"memory_subject": small, "memory_rows": small_rows} | bars


def _best(way: str, repeats: int, **about: Any) -> dict[str, float]:
    """Of several runs the quickest."""
    found = [apart(way, **about) for _ in range(repeats)]
    return min(found, key=lambda run: run["seconds"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subject", default="sprite-llava", help="a name, or tiny:llava")
    parser.add_argument("--rows", type=int, default=256, help="samples of the speed runs")
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 32], help="times d_model")
    parser.add_argument("--small", default="tiny:llama", help="subject of the memory curve")
    parser.add_argument("--small-rows", type=int, default=64, help="its corpus at 1x")
    parser.add_argument("--repeats", type=int, default=1, help="runs to take the quickest of")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    record = main(
        options.subject, options.rows, options.widths, options.small, options.small_rows,
        options.repeats,
    )  # fmt: skip
    if options.json:
        print(json.dumps(record))
    else:
        for key, value in record.items():
            print(f"{key:36} {value:.4g}" if isinstance(value, float) else f"{key:36} {value}")
