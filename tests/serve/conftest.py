"""A server over drawn data, in the test's own process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from semascope.serve.app import make_app
from semascope.serve.testing import DrawnExplorer


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> DrawnExplorer:
    return DrawnExplorer(tmp_path_factory.mktemp("media"))


@pytest.fixture
def client(drawn: DrawnExplorer, tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(make_app(drawn, static=tmp_path / "none")) as client:
        yield client
