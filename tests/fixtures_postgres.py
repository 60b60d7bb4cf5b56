"""Fixtures: a real PostgreSQL. Import both into a conftest.py to use them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.postgres_process import PostgresMissing, PostgresProcess


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresProcess]:
    """A running PostgreSQL for the whole session; a test that kills it has it running again at its end."""
    try:
        server = PostgresProcess()
    except PostgresMissing as missing:
        pytest.skip(str(missing))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def postgres_url(postgres_server: PostgresProcess) -> str:
    """An empty database for one test."""
    return postgres_server.create_database(f"test_{uuid.uuid4().hex}")
