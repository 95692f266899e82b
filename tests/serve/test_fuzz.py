"""The interface under requests drawn from its own schema: whatever comes, never a 500."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from semascope.serve.app import make_app
from semascope.serve.testing import DrawnExplorer

schemathesis = pytest.importorskip(
    "schemathesis", reason="schemathesis is not installed: pip install 'semascope[fuzz]'"
)
FEW = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
def test_no_request_breaks_the_server(tmp_path: Path) -> None:
    """Every route; and not all of what is drawn is refused, or nothing would be tested."""
    app = make_app(DrawnExplorer(tmp_path, width=12), static=tmp_path / "none")
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    seen: Counter[int] = Counter()
    routes = 0
    for found in schema.get_all_operations():
        operation, routes = found.ok(), routes + 1

        @given(case=operation.as_strategy())
        @FEW
        def probe(case: Any) -> None:
            answer = case.call()
            seen[answer.status_code] += 1
            said = f"{case.method} {case.path}: {answer.status_code} {answer.content[:400]!r}"
            assert answer.status_code < 500, said

        probe()
    assert routes >= 35 and seen[200] > routes, seen
