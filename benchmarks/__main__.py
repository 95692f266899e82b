"""``make bench``: run the benchmarks, all or those named, each in a process of its own."""

from __future__ import annotations

import argparse
import json
import pkgutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recipes.figures import FIGURES, ROOT, keep, machine

import benchmarks

CALL = "import json, {module} as b; print(json.dumps([b.__doc__, b.main()]))"


def main() -> int:
    """Run, keep what was measured, say where it lies; 1 where one failed."""
    names = [module.name for module in pkgutil.iter_modules(benchmarks.__path__)]
    names = [name for name in names if not name.startswith("_")]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(names)}")
    wanted = parser.parse_args().names or names
    unknown = [name for name in wanted if name not in names]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are: {', '.join(names)}")
    return 1 if sum(not bench(name) for name in wanted) else 0


def bench(name: str) -> bool:
    """One benchmark, apart from the others so that its memory is its own."""
    print(f"[bench] {name}", flush=True)
    code = CALL.format(module=f"benchmarks.{name}")
    ran = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False)
    if ran.returncode:
        print(f"[bench] {name} failed", file=sys.stderr)
        return False
    about, measured = json.loads(ran.stdout.splitlines()[-1])
    if set(measured) == {"skipped"}:
        print(f"[bench] {name}: {measured['skipped']}")
        return True
    for path in kept(name, about, measured):
        print(f"[bench] {path.relative_to(ROOT)}")
    return True


def kept(name: str, about: str, measured: dict[str, Any]) -> list[Path]:
    """Write what was measured where ``make figures`` finds it; further tables beside it."""
    tables = measured.pop("tables", {})
    paths = {FIGURES / f"bench-{name}.json": record(about, measured)}
    for table, (title, rows) in tables.items():
        if rows:
            paths[FIGURES / f"bench-{name}-{table}.json"] = record(title, {"rows": rows})
    for path, value in paths.items():
        keep(path, value)
    return list(paths)


def record(about: str, measured: dict[str, Any]) -> dict[str, Any]:
    """What ``make figures`` reads: a title, and figures, or columns with rows."""
    out = {
        "title": about.splitlines()[0].rstrip("."),
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(),
    }
    rows = measured.get("rows")
    if not rows:
        return {**out, "figures": measured}
    columns = list(rows[0])
    beside = {key: value for key, value in measured.items() if key != "rows"}
    return {
        **out,
        **beside,
        "columns": columns,
        "rows": [[row.get(c) for c in columns] for row in rows],
    }


if __name__ == "__main__":
    sys.exit(main())
