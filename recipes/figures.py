"""``make figures``: the tables of README and docs, from figures that were measured, never typed.

Each file of docs/figures is one measurement: what it is, where and when it was made, and a flat
``figures`` record, or ``columns`` with ``rows``. A document names the ones it wants between two
marks, and what stands between them is written anew::

    <!-- figures: demo -->
    <!-- /figures -->

``--measure card demo`` measures those anew first, ``--measure all`` everything, ``--jobs 2`` two
at a time; ``recipes.measured`` says what each runs and on which workspace, which is made first
where it is not there. A measurement is of the embedded model's weights as they were: a table whose
weights are no longer those that ship says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recipes.measured import MADE, MEASURED
from semascope.files import write_text
from semascope.pipeline.run_context import subject_stamp

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "docs" / "figures"
CARD = ROOT / "src" / "semascope" / "subject" / "sprite_llava" / "card.json"
ASIDE = ("asked", "intervals", "where")
SMALL = re.compile(r"(broken|accuracy)\.(no-op\b|.*\.(map|word))")
"""Parts of a measurement that are kept in its file and left out of tables: ``ASIDE`` by key,
``SMALL`` by the whole name."""
DOCUMENTS = ("README.md", "docs/**/*.md")
MARK = re.compile(r"(<!-- figures: ([\w-]+) -->\n).*?(<!-- /figures -->)", re.DOTALL)
LISTED = {
    "completeness": ("dictionaries", ("id", "width", "alive", "share", "chance", "half")),
    "splitting": (
        "steps",
        (
            "narrow",
            "wide",
            "kept",
            "split",
            "ended",
            "new",
            "found",
            "chance",
            "cosine",
            "together",
        ),
    ),
}
"""By name: a list of records among the figures that is the table, and which of their keys."""
LONG = ("becomes", "new_features")
"""Parts of a record that list thousands of features, and stay in the workspace."""
PART = {"behaviours": "behaviours"}
"""By name: which part of what the command prints is the measurement."""
OMITTED = {"demo": ("read",)}
"""By name: parts of what the command prints that are no figures: the account of what was read."""
SAMPLES = re.compile(r"\{samples:(\d+)\}")
MAKING = {name: threading.Lock() for name in MADE}
STANDING: dict[str, bool] = {}
"""Workspaces that this process has made, and whether they could be."""


def main() -> int:
    """Measure what is asked for, then write every table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", nargs="*", default=[], choices=["all", *MEASURED])
    parser.add_argument("--jobs", type=int, default=1, help="measurements at a time, a core each")
    parser.add_argument("--check", action="store_true", help="only say whether tables are stale")
    parser.add_argument("--samples", help="how many of what is measured, instead of each's own")
    asked = parser.parse_args()
    failed: list[str] = []
    if not asked.check:
        names = [n for n in MEASURED if n in asked.measure or "all" in asked.measure]
        failed = measure_all(names, asked.samples, asked.jobs)
    stale = [path for path in documents() if refresh(path, write=not asked.check)]
    for path in stale:
        print(f"[figures] {'stale' if asked.check else 'written'}: {path.relative_to(ROOT)}")
    if not stale:
        print("[figures] every table says what was measured")
    for name in failed:
        print(f"[figures] {name} could not be measured; its table stays as it was.")
    return 1 if failed or (asked.check and stale) else 0


def measure_all(names: list[str], samples: str | None, jobs: int) -> list[str]:
    """Measure several, ``jobs`` at a time; the names of those that failed."""
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        done = pool.map(lambda name: measure(name, samples, jobs > 1), names)
        return [name for name, fine in zip(names, done, strict=True) if not fine]


def measure(name: str, samples: str | None, beside: bool = False) -> bool:
    """Run one measurement, on one core where others run ``beside`` it, and keep what it printed,
    with when and on what; False where it failed."""
    template = MEASURED[name][1]
    command = shlex.split(SAMPLES.sub(lambda m: samples or m[1], template))
    env = os.environ | ({"OMP_NUM_THREADS": "1"} if beside else {})
    if not all(_made(workspace, env) for workspace in MADE.keys() & set(command)):
        return False
    code, printed = _semascope(command, env)
    if code and not (command[0] == "find" and printed):  # it ends with 1 where no set does it
        return False
    write(name, command, json.loads(printed))
    return True


def _made(workspace: str, env: Mapping[str, str]) -> bool:
    """Make a workspace, once for all that is measured on it; False where that failed.

    Every verb goes on where it was, or finds its work done.
    """
    with MAKING[workspace]:
        if workspace not in STANDING:
            commands = [[*shlex.split(c), "--workspace", workspace] for c in MADE[workspace]]
            STANDING[workspace] = not any(_semascope(command, env)[0] for command in commands)
    return STANDING[workspace]


def _semascope(command: list[str], env: Mapping[str, str]) -> tuple[int, str]:
    """Exit code of a semascope command, and what it printed."""
    print(f"[figures] semascope {shlex.join(command)}", flush=True)
    ran = subprocess.run(
        [sys.executable, "-m", "semascope", *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env=dict(env),
        text=True,
        check=False,
    )
    return ran.returncode, ran.stdout


def weights() -> str:
    """Which weights the embedded model has: the first digits of their stamp in a workspace."""
    return subject_stamp("sprite-llava")[:12]


def write(name: str, command: list[str], printed: dict[str, Any]) -> None:
    """Keep what a command printed as a measurement."""
    record = {
        "title": MEASURED[name][0],
        "command": "semascope " + shlex.join(command),
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(),
        "weights": weights(),
        "figures": without(printed[PART[name]] if name in PART else figures_of(name, printed)),
    }
    keep(FIGURES / f"{name}.json", record)
    if name == "card":
        ship(record)


def figures_of(name: str, printed: Mapping[str, Any]) -> dict[str, Any]:
    """What a command printed but for the parts that are no figures."""
    omitted = OMITTED.get(name, ())
    return {key: value for key, value in printed.items() if key not in omitted}


def without(figures: Any) -> Any:
    """The same without its long lists, and without the folders of files: they are of a machine."""
    if isinstance(figures, str) and figures.startswith("/"):
        return Path(figures).name
    if isinstance(figures, dict):
        return {key: without(value) for key, value in figures.items() if key not in LONG}
    return [without(one) for one in figures] if isinstance(figures, list) else figures


def ship(record: Mapping[str, Any]) -> None:
    """Put the measured figures into the card that the package ships, beside what it says."""
    said = json.loads(CARD.read_text(encoding="utf-8")) if CARD.exists() else {}
    keep(CARD, {"name": "sprite-llava", **said, **record})


def keep(path: Path, record: Mapping[str, Any]) -> None:
    """Write one JSON file whole."""
    write_text(path, json.dumps(record, indent=2) + "\n")


def machine() -> str:
    """Cores, memory and GPU, in words."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    plural = "core" if cores == 1 else "cores"
    words = f"{cores} {plural} ({_processor()}), {pages:.0f} GiB"
    try:
        import torch
    except ImportError:
        return words
    if torch.cuda.is_available():
        words += f", {torch.cuda.get_device_name()}"
    return words


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


def documents() -> list[Path]:
    """The documents that may hold tables."""
    return sorted(path for pattern in DOCUMENTS for path in ROOT.glob(pattern))


def refresh(path: Path, *, write: bool) -> bool:
    """Write the tables of one document anew; True where that changes it."""
    old = path.read_text(encoding="utf-8")
    new = MARK.sub(lambda m: f"{m[1]}{table(m[2])}{m[3]}", old)
    if new != old and write:
        write_text(path, new)
    return new != old


def table(name: str) -> str:
    """One measurement as a Markdown table; a sentence where it was not made yet."""
    path = FIGURES / f"{name}.json"
    if not path.exists():
        bench = re.match(r"bench-(\w+)", name)
        how = f"make bench ARGS='{bench[1]}'" if bench else f"make figures ARGS='--measure {name}'"
        return f"Not measured yet: `{how}`.\n"
    record = json.loads(path.read_text(encoding="utf-8"))
    columns, rows = record.get("columns"), record.get("rows")
    if name in LISTED:
        part, columns = LISTED[name]
        rows = [[one[key] for key in columns] for one in record["figures"][part]]
    if columns is None:
        columns, rows = ["figure", "value"], list(flat(record["figures"]))
    lines = [columns, ["---"] * len(columns), *rows]
    body = "".join(f"| {' | '.join(map(shown, line))} |\n" for line in lines)
    about = ", ".join(str(record[key]) for key in ("machine", "measured") if record.get(key))
    command = f" by `{record['command']}`" if record.get("command") else ""
    if record.get("weights", weights()) != weights():
        about += ", on earlier weights of the embedded model"
    return f"{record['title']}.\n\n{body}\nMeasured{command}: {about}.\n"


def flat(figures: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested records as rows: ``seconds.train``."""
    rows: list[tuple[str, Any]] = []
    for key, value in figures.items():
        if key in ASIDE or SMALL.match(prefix + key):
            continue
        if key == "controls":  # what random sets do, one row each
            fixed = [(f"{prefix}random_{n + 1}.fixed", own["fixed"]) for n, own in enumerate(value)]
            rows += [(name, _interval(own)) for name, own in fixed]
        elif isinstance(value, Mapping) and {"value", "low", "high", "n"} <= set(value):
            rows.append((f"{prefix}{key}", _interval(value)))
        elif isinstance(value, Mapping):
            rows += flat(value, f"{prefix}{key}.")
        elif isinstance(value, int | float | str) and not isinstance(value, bool):
            rows.append((f"{prefix}{key}", value))
    return rows


def _interval(figure: Mapping[str, Any]) -> str:
    """A figure with its interval and how many it is of."""
    if figure["value"] is None:
        return "none"
    value, low, high = (shown(float(figure[part])) for part in ("value", "low", "high"))
    return f"{value} [{low}, {high}], n {figure['n']}"


def shown(value: Any) -> str:
    """A cell: at most three digits after the point."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
