"""Tiny subjects made once for all tests of this folder; tests must leave them as they were."""

from collections.abc import Callable
from functools import lru_cache

import pytest

from semascope.subject import Subject
from semascope.subject.testing import tiny


@pytest.fixture(scope="session")
def subject() -> Callable[[str], Subject]:
    return lru_cache(maxsize=None)(tiny)
