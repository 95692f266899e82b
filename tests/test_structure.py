"""The floors of docs/architecture.md, no import circles, and the sizes of files and folders."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SOURCE = REPOSITORY / "src" / "semascope"
FRONT_DOOR = "semascope"
"""``import semascope`` hands out names of the floors above, lazily; nothing else may."""
FLOORS = (
    {
        "errors",
        "files",
        "heat",
        "html",
        "svg",
        "config",
        "workspace",
        "wiring",
        "wellformed",
        "numbers",
        "statistics",
        "__init__",
    },
    {"subject", "corpus"},
    {"dictionary"},
    {"atlas"},
    {"evidence", "explain", "causal"},
    {"pipeline"},
    {"evaluate"},
    {"monitor"},
    {"api"},
    {"serve", "cli", "client", "__main__"},
)
"""From the ground up. A room imports from its own floor and from those under it."""

FULL_FOLDERS = {
    "src/semascope": "the rooms, and the single files that every room uses",
    "src/semascope/cli/commands": "one module a verb or group of verbs",
    "src/semascope/explain/scorers": "one module a scorer",
    "src/semascope/serve/explorer": "one module a kind of question that the page asks",
    "src/semascope/pipeline": "the stages have a folder; the rest is one run's parts",
    "src/semascope/subject": "what a caller uses lies at the top, the rest in sub-folders",
}
"""Folders of more than 16 modules and sub-folders, and why that reads well."""


def module(path: Path) -> str:
    parts = ("semascope", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module(path): path for path in SOURCE.rglob("*.py")}
PYTHON = {
    str(path.relative_to(REPOSITORY)): path
    for folder in ("src", "recipes", "benchmarks")
    for path in (REPOSITORY / folder).rglob("*.py")
}


@cache
def imported(name: str) -> frozenset[str]:
    """Modules of ours that a file imports anywhere: at its top, in functions and for types."""
    return frozenset(_imported(ast.parse(FILES[name].read_text()))) - {name, FRONT_DOOR}


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("semascope"):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in FILES else str(node.module)
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("semascope"))


def room(name: str) -> str:
    return (*name.split("."), "__init__")[1]


def floor(name: str) -> int:
    (number,) = (n for n, rooms in enumerate(FLOORS) if room(name) in rooms)
    return number


@pytest.mark.parametrize("name", sorted(FILES.keys() - {FRONT_DOOR}))
def test_a_room_imports_from_its_own_floor_and_below(name: str) -> None:
    """Without: the model's room learns of dictionaries, and nothing can be used alone."""
    for other in imported(name):
        assert floor(other) <= floor(name), f"{name} imports {other}, of a floor above"


def test_dictionaries_know_neither_models_nor_corpora() -> None:
    """Without: a dictionary can no longer be trained on activations from elsewhere."""
    for name in sorted(name for name in FILES if room(name) == "dictionary"):
        rooms = {room(other) for other in imported(name)}
        assert not rooms & {"subject", "corpus"}, name


def reachable(name: str) -> set[str]:
    """The modules that an import of ``name`` can lead to."""
    visited: set[str] = set()
    waiting = [*imported(name)]
    while waiting:
        other = waiting.pop()
        if other not in visited:
            visited.add(other)
            waiting.extend(imported(other))
    return visited


def circles() -> set[frozenset[str]]:
    """Sets of modules that each reach one another."""
    reach = {name: reachable(name) for name in FILES if name != FRONT_DOOR}
    return {
        frozenset(other for other in reach[name] if name in reach[other])
        for name in reach
        if name in reach[name]
    }


def test_no_modules_import_in_a_circle() -> None:
    """Without: files can be neither read nor tested one after the other.

    Imports within functions and under ``TYPE_CHECKING`` count: they hide a circle, no more.
    """
    present = circles()
    assert not present, "; ".join(" ↔ ".join(sorted(circle)) for circle in present)


def test_files_stay_short() -> None:
    """Without: files grow past what a reader can hold."""
    lengths = {name: len(path.read_text().splitlines()) for name, path in PYTHON.items()}
    too_long = {name: lines for name, lines in lengths.items() if lines > 400}
    assert not too_long


def test_functions_stay_short() -> None:
    """Without: functions grow past what a reader can hold."""
    too_long = {}
    for name, path in PYTHON.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > 60:
                    too_long[f"{name}:{node.name}"] = lines
    assert not too_long


def test_folders_show_what_is_in_them() -> None:
    """Without: a folder becomes a heap in which nobody finds a part by its name."""
    folders = {path.parent for path in SOURCE.rglob("*.py")}
    for folder in folders:
        entries = [p for p in folder.iterdir() if p.suffix == ".py" and p.stem != "__init__"]
        entries += [p for p in folder.iterdir() if p in folders]
        name = str(folder.relative_to(REPOSITORY))
        assert len(entries) <= 16 or name in FULL_FOLDERS, f"{name} holds {len(entries)} entries"


ARRAY = re.compile(r"(np\.ndarray|NDArray\[.*\]|(torch\.)?Tensor)( \| None)?")
SHAPE = re.compile(r"\(\)|\((?:[^(),]|\(\w+\))+,[^)]*\)|\b(scalar|shape)\b")
"""``(n, d)``, ``(n,)``, or in words."""
NO_SHAPE = {
    "dictionary/coder.py:add_skip",
    "dictionary/architectures/gated.py:gate_reconstruction",
    "dictionary/forward_pass.py:add_skip",
    "dictionary/formats/common.py:thresholds",
    "dictionary/training/distributed.py:total",
    "dictionary/training/scaling.py:tensor",
    "dictionary/training/sharded.py:from_some",
    "explain/explainers/term_contrast.py:gain",
    "explain/scorers/specificity.py:grades",
}
"""Functions that keep their argument's shape, or whose protocol gives it; this may only shrink."""


def public_functions(node: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef]:
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef) and not child.name.startswith("_"):
            if isinstance(child, ast.FunctionDef):
                yield child
            else:
                yield from public_functions(child)


def test_public_functions_that_return_arrays_say_the_shape() -> None:
    """Without: a caller runs the function to learn what comes back."""
    lacking = set()
    for path in SOURCE.rglob("*.py"):
        for function in public_functions(ast.parse(path.read_text())):
            returns = ast.unparse(function.returns) if function.returns else ""
            text = ast.get_docstring(function) or ""
            if ARRAY.fullmatch(returns) and not SHAPE.search(text):
                lacking.add(f"{path.relative_to(SOURCE)}:{function.name}")
    assert lacking <= NO_SHAPE, sorted(lacking - NO_SHAPE)
