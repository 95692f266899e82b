"""What the README and the docs tell people to type is understood, and what they import is there."""

import ast
import importlib
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from recipes.measured import MADE, MEASURED

from semascope import cli

HOUSE = Path(__file__).parents[1]
PAGES = [
    *(HOUSE / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((HOUSE / "docs").glob("*.md")),
    *sorted(HOUSE.glob("recipes/*/README.md")),
]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, *kinds: str) -> list[str]:
    return [text for kind, text in FENCE.findall(page.read_text()) if kind in kinds]


def typed() -> Iterator[tuple[str, str]]:
    """(page, command) of every semascope command that somebody could copy."""
    for page in PAGES:
        for block in blocks(page, "sh", "bash", "console"):
            for line in re.sub(r"\\\n\s*", "", block).splitlines():
                bare = re.sub(r"\s+#.*", "", line.strip().removeprefix("$ "))
                for part in re.split(r"\s*(?:&&|;)\s*", bare):
                    if part.startswith("semascope "):
                        yield page.name, part
    for workspace, commands in MADE.items():
        for command in commands:
            yield workspace, f"semascope {command} --workspace {workspace}"
    for name, (_, command) in MEASURED.items():
        yield f"figures/{name}", "semascope " + re.sub(r"\{samples:(\d+)\}", r"\1", command)


@pytest.mark.parametrize(("page", "command"), sorted(set(typed())))
def test_a_command_of_the_docs_is_understood(
    page: str, command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Parsed to the last flag by the verb that it names; nothing is run."""
    monkeypatch.chdir(tmp_path)
    args = shlex.split(command)[1:]
    if args == ["--help"]:
        return
    entry, rest = cli.find(args)
    assert entry is not None, f"{page}: there is no verb in {command!r}"
    module, _, name = entry.path.partition(":")
    verb = getattr(importlib.import_module(f"semascope.cli.commands.{module}"), name)
    ran: list[object] = []
    monkeypatch.setattr(verb, "run", lambda self: ran.append(self) or 0)
    assert cli.perform(entry, rest) == 0, f"{page}: {command!r}"
    assert len(ran) == 1, f"{page}: {command!r}"


def snippets() -> Iterator[tuple[str, str]]:
    """(page, block) of Python that imports something; the others list signatures."""
    for page in PAGES:
        for block in blocks(page, "python"):
            if re.search(r"^(from|import) ", block, re.MULTILINE):
                yield page.name, block


@pytest.mark.parametrize(("page", "block"), sorted(snippets()))
def test_python_of_the_docs_imports_what_is_there(page: str, block: str) -> None:
    """Every import resolves, and every call of what was imported takes what it is given."""
    tree, known = ast.parse(block), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("semascope"):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                known[alias.asname or alias.name] = getattr(module, alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and callable(called := _called(node.func, known)):
            given = {str(k.arg): None for k in node.keywords if k.arg}
            inspect.signature(called).bind(*[None] * len(node.args), **given)


def _called(node: ast.expr, known: dict[str, object]) -> object:
    """What an imported name, or an attribute of one, is; None for anything else."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Attribute) and (owner := _called(node.value, known)) is not None:
        return getattr(owner, node.attr)
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOUSE)))
def test_links_and_pictures_of_the_docs_are_there(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    targets = re.findall(r"\]\(([^)\s#]+)", text) + re.findall(r'(?:src|href)="([^"#]+)"', text)
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


def test_make_targets_of_the_docs_are_there() -> None:
    targets = set(re.findall(r"^([\w-]+):", (HOUSE / "Makefile").read_text(), re.MULTILINE))
    said = {t for page in PAGES for t in re.findall(r"`make ([\w-]+)", page.read_text())}
    assert said
    assert said <= targets


SOURCE = HOUSE / "src" / "semascope"
FILE = re.compile(r"(?<![\w./<>{:-])[\w.-]+(?:/[\w.-]+)+\.(?:py|toml)\b|\bsrc/semascope[\w/.]*\w")
DOTTED = re.compile(r"(?<![\w/.-])semascope(?:\.[A-Za-z_]\w*)+")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOUSE)))
def test_source_files_that_the_docs_name_are_there(page: Path) -> None:
    """Without: a reader looks for a file that was moved."""
    roots = (HOUSE, SOURCE, page.parent)
    missing = [
        name
        for name in FILE.findall(page.read_text())
        if not any((root / name).exists() for root in roots)
    ]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOUSE)))
def test_dotted_names_of_the_docs_are_there(page: Path) -> None:
    """Without: a reader imports a name that was changed."""
    missing = [name for name in DOTTED.findall(page.read_text()) if not _resolves(name)]
    assert not missing


def _resolves(name: str) -> bool:
    """Whether a dotted name is a file, a module, or an attribute of one."""
    if (HOUSE / name).exists() or name.endswith(".toml"):
        return True
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            target: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        return all((target := getattr(target, part, None)) is not None for part in parts[length:])
    return False
