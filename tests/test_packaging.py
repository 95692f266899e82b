"""What people install: the lock, the declared dependencies, and the wheel."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

HOUSE = Path(__file__).parents[1]
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
LOCKS = ("run", "dev", "all", "page", "oldest")
PYTHONS = ("3.11", "3.12", "3.13")
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;]+)( ; [^\\]+)? \\$", re.MULTILINE)
ON_ITS_OWN = {"torch"}  # installed after the lock, see .ci/lock
IMPORTED_AS = {"PIL": "pillow", "sklearn": "scikit-learn", "umap": "umap-learn"}
"""Modules whose package has another name."""


def pins(name: str) -> dict[str, list[tuple[Version, str]]]:
    """Of a lock: package -> (version, marker), one for each set of platforms."""
    found: dict[str, list[tuple[Version, str]]] = {}
    for package, version, marker in PIN.findall((HOUSE / "locks" / f"{name}.txt").read_text()):
        found.setdefault(canonicalize_name(package), []).append((Version(version), marker))
    return found


def declared(*extras: str) -> list[Requirement]:
    listed = list(PROJECT["dependencies"])
    for extra in extras:
        listed += PROJECT["optional-dependencies"][extra]
    return [r for r in map(Requirement, listed) if canonicalize_name(r.name) != "semascope"]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_hashes_and_no_address(name: str) -> None:
    """Without: a fresh machine installs what nobody tested, or asks a host that only we reach."""
    text = (HOUSE / "locks" / f"{name}.txt").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    assert not re.search(r"https?://|file:|--(extra-)?index-url|--find-links", "\n".join(lines))
    starts = [n for n, line in enumerate(lines) if not line.startswith(" ")]
    assert starts
    for n in starts:
        assert PIN.match(lines[n]), lines[n]
        assert lines[n + 1].lstrip().startswith("--hash=sha256:"), lines[n]
    assert not {p for p in pins(name) if p == "torch" or p.startswith("nvidia-")}


@pytest.mark.parametrize(
    ("name", "extras"),
    [
        ("run", ("embed",)),
        ("dev", ("dev", "embed", "postgres", "video")),
        ("oldest", ("dev", "embed", "postgres", "video")),
        ("all", tuple(PROJECT["optional-dependencies"])),
    ],
)
def test_a_lock_fits_the_declared_ranges(name: str, extras: tuple[str, ...]) -> None:
    """Without: pyproject.toml moves and `make lock` is forgotten."""
    held = pins(name)
    for need in declared(*extras):
        package = canonicalize_name(need.name)
        if package in ON_ITS_OWN:
            continue
        assert package in held, f"{name}: run `make lock`, {package} is missing"
        for version, _ in held[package]:
            assert version in need.specifier, f"{name}: run `make lock`, {package} {version}"


def test_every_lock_holds_the_same_versions() -> None:
    """Without: the demo runs on other versions than the tests."""
    whole = pins("all")
    for name in ("run", "dev", "page"):
        for package, entries in pins(name).items():
            assert set(entries) <= set(whole.get(package, entries)), package


def test_the_lock_has_one_version_for_each_python() -> None:
    """Without: 3.11 works, and 3.12 or 3.13 gets nothing, or two versions of a package."""
    from packaging.markers import Marker, default_environment

    for package, entries in pins("all").items():
        for python in PYTHONS:
            place = {**default_environment(), "python_version": python}
            place |= {"python_full_version": f"{python}.0", "sys_platform": "linux"}
            fits = [v for v, m in entries if not m or Marker(m.strip(" ;")).evaluate(place)]
            assert len(fits) <= 1, f"{package} on {python}: {fits}"


def test_ranges_of_what_moves_have_a_floor_and_a_ceiling() -> None:
    """Without: a release that renames an argument breaks users before it breaks our tests."""
    for need in declared():
        operators = {part.operator for part in need.specifier}
        assert ">=" in operators, f"{need.name} has no floor"
        if need.name in {"torch", "transformers", "numpy", "pydantic"}:
            assert "<" in operators, f"{need.name} has no ceiling"


def imported() -> set[str]:
    """Top-level names that the package imports, relative to nothing."""
    names: set[str] = set()
    for path in (HOUSE / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(str(node.module).partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"semascope"}


def test_every_import_is_declared() -> None:
    """Without: the package runs here, where a tool brings the library, and fails at a user's."""
    extras = [e for e in PROJECT["optional-dependencies"] if e != "dev"]
    known = {canonicalize_name(need.name) for need in declared(*extras)}
    for name in sorted(imported()):
        package = canonicalize_name(IMPORTED_AS.get(name, name))
        assert package in known, f"{name} is imported and not declared"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked by pip into a folder of its own, outside the repository."""
    try:
        importlib.metadata.version("hatchling")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(
            "hatchling, which builds the wheel, is not installed: pip install -r .ci/build.txt"
        )
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(HOUSE)]
    subprocess.run([*pip, *build], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    target = folder / "site"
    unpack = ["install", "--no-deps", "--no-compile", "--target", str(target), str(wheel)]
    subprocess.run([*pip, *unpack], check=True, capture_output=True)
    return target


def test_the_wheel_runs_a_small_demo_elsewhere(installed: Path, tmp_path: Path) -> None:
    """Without: a file that the package needs is in the repository and not in the wheel."""
    place = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}

    def semascope(*words: str) -> str:
        command = [sys.executable, "-m", "semascope", *words]
        done = subprocess.run(command, cwd=tmp_path, env=place, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = "import semascope; print(semascope.__file__)"
    command = [sys.executable, "-c", where]
    loaded = subprocess.run(command, cwd=tmp_path, env=place, capture_output=True, text=True)
    assert Path(loaded.stdout.strip()).is_relative_to(installed), loaded
    run = "--train.subject tiny:llava --train.site resid_post.1 --train.latents 32 --train.k 4"
    rest = "--train.tokens 1500 --gather.samples 40 --no-serve --workspace made"
    assert semascope("demo", *run.split(), *rest.split()).strip() == str(tmp_path / "made")
    assert "fvu" in semascope("report", "--workspace", "made", "--json")
    assert (installed / "semascope" / "subject" / "sprite_llava" / "weights.safetensors").is_file()
