"""``make figures``: the tables of README and docs, from figures that were measured, never typed.

Each file of docs/figures is one measurement: what it is, where and when it was made, and a flat
``figures`` record, or ``columns`` with ``rows``. A document names the ones it wants between two
marks, and what stands between them is written anew::

    <!-- figures: demo -->
    <!-- /figures -->

``--measure card demo`` measures those anew first; see ``MEASURED`` for what each runs.
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
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "docs" / "figures"
CARD = ROOT / "src" / "semascope" / "subject" / "sprite_llava" / "card.json"
ASIDE = ("asked", "intervals", "where")
"""Parts of a measurement that are kept in its file and left out of tables."""
DOCUMENTS = ("README.md", "docs/**/*.md")
MARK = re.compile(r"(<!-- figures: ([\w-]+) -->\n).*?(<!-- /figures -->)", re.DOTALL)
DEMO, FAMILY, WIDE = "workspace/demo", "workspace/family", "workspace/wide"
EARLY = "workspace/early"
MEASURED: dict[str, tuple[str, str]] = {
    "card": (
        "What the embedded model can do, on held-out compositions",
        "evaluate subject --seed 1 --samples {samples:1000} --json",
    ),
    "demo": (
        "The demo's figures, beside their baselines",
        f"report --workspace {DEMO} --json",
    ),
    "explanations": (
        "How true the explanations of 9,216 features of scenes are (16 ×)",
        f"evaluate explanations --workspace {WIDE} --seed 1 --json",
    ),
    "attribution": (
        "Attribution beside exact ablation, on the demo's dictionary",
        f"evaluate attribution --workspace {DEMO} --seed 1 --samples {{samples:100}} --json",
    ),
    "steering": (
        "Object features put into an empty picture",
        f"evaluate steering --workspace {DEMO} --seed 1 --samples {{samples:100}} "
        "--doses 3 4 6 8 --sizes 2 4 8 --no-behaviours --json",
    ),
    "behaviours": (
        "Behaviours, each found by itself and judged on held-out prompts",
        f"evaluate steering --workspace {DEMO} --seed 2 --samples 4 --doses 4 --sizes 8 "
        "--concept flag --json",
    ),
    "hallucination": (
        "Inventions, what mends them and what that breaks",
        f"evaluate hallucination --workspace {DEMO} --seed 1 --samples {{samples:600}} --json",
    ),
    "word": (
        "Read the word and ignore the picture, wished of dictionaries at layers 4 and 8",
        f"find 'read the word and ignore the picture' --workspace {EARLY} --json",
    ),
    "completeness": (
        "Known concepts that have a feature, by width",
        f"evaluate completeness --workspace {FAMILY} --seed 1 --json",
    ),
    "splitting": (
        "What features become in the next wider dictionary",
        f"evaluate splitting --workspace {FAMILY} --concept flag --threshold 0.4 --json",
    ),
    "shared": (
        "Features that fire on the word and on the picture",
        f"evaluate shared --workspace {DEMO} --json",
    ),
    "alignment": (
        "Features beside the neurons that follow them best",
        f"evaluate alignment --workspace {DEMO} --json",
    ),
}
"""By name: the title, and the semascope command that prints the figures as JSON; ``{samples:N}``
is N or what ``--samples`` says. ``make demo SERVE=0`` makes the demo's workspace; the family's:
``semascope train --widths 1x 4x 16x --tokens 220000 --settings lr_scale=0.667 --workspace
workspace/family; semascope gather --workspace workspace/family``; the wide one: ``semascope train
--corpus 'scenes?n=40000' --arch batchtopk --k 16 --latents 9216 --tokens 640000 --workspace
workspace/wide``, ``gather --samples 8000``, ``explain``, ``score``; the early one: ``semascope
train --sites resid_post.4 resid_post.8 --tokens 150000 --workspace workspace/early``, ``gather
--dictionary resid_post.8/main --samples 1500``."""
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
SAMPLES = re.compile(r"\{samples:(\d+)\}")


def main() -> int:
    """Measure what is asked for, then write every table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", nargs="*", default=[], choices=list(MEASURED))
    parser.add_argument("--check", action="store_true", help="only say whether tables are stale")
    parser.add_argument("--samples", help="how many of what is measured, instead of each's own")
    asked = parser.parse_args()
    if not asked.check:
        for name in MEASURED:
            if name in asked.measure:
                measure(name, asked.samples)
    stale = [path for path in documents() if refresh(path, write=not asked.check)]
    for path in stale:
        print(f"[figures] {'stale' if asked.check else 'written'}: {path.relative_to(ROOT)}")
    if not stale:
        print("[figures] every table says what was measured")
    return 1 if asked.check and stale else 0


def measure(name: str, samples: str | None) -> None:
    """Run one measurement and keep what it printed, with when and on what."""
    template = MEASURED[name][1]
    command = shlex.split(SAMPLES.sub(lambda m: samples or m[1], template))
    print(f"[figures] measuring {name}: semascope {shlex.join(command)}")
    ran = subprocess.run(
        [sys.executable, "-m", "semascope", *command], cwd=ROOT, stdout=subprocess.PIPE, check=False
    )
    if ran.returncode:
        raise SystemExit(f"[figures] {name} could not be measured; the table stays as it was.")
    write(name, command, json.loads(ran.stdout))


def write(name: str, command: list[str], printed: dict[str, Any]) -> None:
    """Keep what a command printed as a measurement."""
    record = {
        "title": MEASURED[name][0],
        "command": "semascope " + shlex.join(command),
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(),
        "figures": without(printed[PART[name]] if name in PART else printed),
    }
    keep(FIGURES / f"{name}.json", record)
    if name == "card":
        ship(record)


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
    replace(path, json.dumps(record, indent=2) + "\n")


def replace(path: Path, text: str) -> None:
    """Write a text file whole: nobody ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def machine() -> str:
    """Cores, memory and GPU, in words."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    words = f"{cores} cores ({_processor()}), {pages:.0f} GiB"
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
        replace(path, new)
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
    return f"{record['title']}.\n\n{body}\nMeasured{command}: {about}.\n"


def flat(figures: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested records as rows: ``seconds.train``."""
    rows: list[tuple[str, Any]] = []
    for key, value in figures.items():
        if key in ASIDE:
            continue
        if isinstance(value, Mapping) and {"value", "low", "high", "n"} <= set(value):
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
