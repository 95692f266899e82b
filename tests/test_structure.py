"""The floors of docs/architecture.md, and that no file imports in a circle."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "semascope"
FLOORS = (
    {
        "errors",
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


def module(path: Path) -> str:
    parts = ("semascope", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module(path): path for path in SOURCE.rglob("*.py")}


def imported(path: Path, *, everywhere: bool) -> Iterator[str]:
    """Modules of ours that a file imports: at its top, or ``everywhere`` in it, types included."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("semascope"):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in FILES else str(node.module)
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("semascope"))


def room(name: str) -> str:
    return (*name.split("."), "__init__")[1]


def floor(name: str) -> int:
    (found,) = (n for n, rooms in enumerate(FLOORS) if room(name) in rooms)
    return found


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_room_imports_from_its_own_floor_and_below(name: str) -> None:
    """Without: the model's room learns of dictionaries, and nothing can be used alone."""
    if name == "semascope":
        return  # the front door names what it hands out
    for other in imported(FILES[name], everywhere=True):
        assert floor(other) <= floor(name), f"{name} imports {other}, of a floor above"


def test_dictionaries_know_neither_models_nor_corpora() -> None:
    """Without: a dictionary can no longer be trained on activations from elsewhere."""
    for name in sorted(name for name in FILES if room(name) == "dictionary"):
        rooms = {room(other) for other in imported(FILES[name], everywhere=True)}
        assert not rooms & {"subject", "corpus"}, name


@pytest.mark.parametrize("everywhere", [False, True])
def test_no_file_imports_in_a_circle(everywhere: bool) -> None:
    """Without: files can be neither read nor tested one after the other.

    In ``api``, ``subject`` and ``corpus`` imports for types and those within functions count too.
    """
    graph = {
        name: {other for other in imported(path, everywhere=everywhere) if other != name}
        for name, path in FILES.items()
        if not everywhere or room(name) in {"api", "subject", "corpus"}
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join((*path[path.index(name) :], name))
        if name not in done:
            for other in sorted(graph.get(name, ())):
                visit(other, (*path, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())
