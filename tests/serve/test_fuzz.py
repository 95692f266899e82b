"""The interface under requests drawn from its own schema: whatever comes, never a 500."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

schemathesis = pytest.importorskip(
    "schemathesis", reason="schemathesis is not installed: pip install schemathesis"
)

from hypothesis import HealthCheck, Phase, settings  # noqa: E402

from semascope.serve.app import make_app  # noqa: E402
from semascope.serve.testing import DrawnExplorer  # noqa: E402


@pytest.fixture(scope="module")
def interface(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("fuzzed")
    app = make_app(DrawnExplorer(folder, width=12), static=Path(folder) / "none")
    return schemathesis.openapi.from_asgi("/openapi.json", app)


schema = schemathesis.pytest.from_fixture("interface")


@schema.parametrize()
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_request_breaks_the_server(case: Any) -> None:
    answer = case.call()
    assert answer.status_code < 500, f"{answer.status_code}: {answer.content[:400]!r}"
