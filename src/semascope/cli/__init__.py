"""The command line: ``semascope VERB``, verbs in the order of the data flow.

``semascope --help`` is the tour. A verb's module is imported only when the verb is used, so help
never waits for torch. Flags, their help and their defaults come from the frozen models of
``semascope.config`` and ``semascope.cli.*``; a flag that is not given is what the workspace
recorded, where it recorded one.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from semascope.cli.base import Verb, workspace_of
from semascope.cli.errors import guarded
from semascope.cli.verbs import GROUPS, VERBS, Entry, tour
from semascope.errors import SemascopeError

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = ["main"]

QUIET = ("transformers", "huggingface_hub", "httpx", "httpx2", "sentence_transformers", "datasets")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help", "help"):
        print(tour())
        return 0
    if args[0] in ("-V", "--version"):
        from semascope import __version__

        print(f"semascope {__version__}")
        return 0
    entry, rest = find(args)
    if entry is None:
        return 0 if rest else _unknown(args)
    return perform(entry, rest)


def find(args: Sequence[str]) -> tuple[Entry | None, list[str]]:
    """The verb that the arguments begin with, and what follows it.

    A group alone, or with --help, prints the tour of the group: no entry, and its name.
    """
    for words in (2, 1):
        entry = VERBS.get(" ".join(args[:words]))
        if entry is not None:
            return entry, list(args[words:])
    if args[0] in GROUPS and (len(args) == 1 or args[1] in ("-h", "--help")):
        print(tour(args[0]))
        return None, [args[0]]
    return None, []


def perform(entry: Entry, rest: Sequence[str]) -> int:
    """Parse a verb's flags and do it."""
    _quiet()
    folder = workspace_of(rest)
    again = " ".join(["semascope", entry.name, *map(_quoted, rest)])
    return guarded(lambda: _do(entry, rest), again, folder)


def _do(entry: Entry, rest: Sequence[str]) -> int:
    import tyro
    from pydantic import ValidationError

    module, _, name = entry.path.partition(":")
    kind: type[Verb] = getattr(importlib.import_module(f"semascope.cli.commands.{module}"), name)
    default = kind.recorded(workspace_of(rest))
    asked = any(word in ("-h", "--help") for word in rest)
    try:
        verb: Verb | None = tyro.cli(
            kind,
            args=list(rest),
            default=default,
            prog=f"semascope {entry.name}",
            description=(kind.__doc__ or entry.line),
        )
    except SystemExit as stop:
        if asked and not stop.code:
            print(f"Example, as it stands:\n  {entry.example}")
        return int(stop.code or 0) if isinstance(stop.code, int | None) else 2
    except ValidationError as error:  # tyro before 1.0.17 lets it through
        return _refused(entry, error)
    assert verb is not None  # its default is None where the verb's own defaults apply
    return verb.run()


def _refused(entry: Entry, error: ValidationError) -> int:
    """Say which flags have values that make no sense."""
    for one in error.errors():
        flag = "-".join(str(part) for part in one["loc"]).replace("_", "-")
        print(f"semascope {entry.name}: --{flag}: {one['msg']}.", file=sys.stderr)
    return SemascopeError.exit_code


def _unknown(args: Sequence[str]) -> int:
    """Say which verb was probably meant."""
    said = " ".join(args[:2]) if args[0] in GROUPS else args[0]
    near = get_close_matches(said, [*VERBS, *GROUPS], n=1, cutoff=0.5)
    hint = f" Did you mean: semascope {near[0]}?" if near else ""
    print(
        f"semascope: there is no verb '{said}'.{hint} The verbs: semascope --help",
        file=sys.stderr,
    )
    return SemascopeError.exit_code


def _quiet() -> None:
    """Libraries beneath speak only of errors; --verbose is an environment variable."""
    level = os.environ.get("SEMASCOPE_LOG", "WARNING").upper()
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)
