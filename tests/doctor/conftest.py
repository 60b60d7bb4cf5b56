"""Real stores and a sandbox for the doctor's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fixtures_postgres import postgres_server, postgres_url
from tests.sandbox_process import SandboxProcess

__all__ = ["postgres_server", "postgres_url"]


@pytest.fixture(scope="session")
def sandbox_process() -> Iterator[SandboxProcess]:
    """A separate sandbox for these tests, because they count its requests and another gateway would add some."""
    with SandboxProcess() as process:
        yield process
