"""What the project keeps under version control: sources, and data that somebody means to clone."""

import shutil
import subprocess
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
ROOT = {
    ".gitignore",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "NOTICE",
    "README.md",
    "hatch_build.py",
    "pyproject.toml",
}
LARGEST = 24 * 2**20  # bytes: the embedded model's weights are the largest file, 20 MiB


def tracked() -> list[Path]:
    git = shutil.which("git")
    if git is None or not (HOUSE / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        [git, "-C", str(HOUSE), "ls-files", "-z"], capture_output=True, text=True, check=True
    ).stdout
    return [HOUSE / name for name in listed.split("\0") if name]


def test_the_root_holds_only_what_belongs_there() -> None:
    assert {path.name for path in tracked() if path.parent == HOUSE} <= ROOT


def test_no_tracked_file_is_larger_than_the_weights_or_a_pickle() -> None:
    for path in tracked():
        assert path.suffix not in {".pkl", ".pickle"}, path
        assert not path.exists() or path.stat().st_size <= LARGEST, path
