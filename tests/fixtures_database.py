"""Fixtures: an empty database, once on SQLite and once on PostgreSQL for each test that takes it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.resilience.clock import SystemClock
from gateway.store.database import Database
from gateway.store.postgres import PostgresDatabase
from gateway.store.sqlite import SqliteDatabase
from tests.manual_clock import ManualClock
from tests.migrated_sqlite import write_migrated


@pytest.fixture
def clock() -> ManualClock:
    """The time that leases go by in databases of `make_database`."""
    return ManualClock()


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty database is: a file's path, or a URL."""
    if request.param == "sqlite":
        return str(tmp_path / "data" / "evidence.sqlite3")
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def make_database(place: str, clock: ManualClock) -> Callable[[], Database]:
    """Opens the test's database again, with the manual clock."""
    return lambda: open_place(place, clock)


@pytest.fixture
async def database(make_database: Callable[[], Database]) -> AsyncIterator[Database]:
    """The test's database, open."""
    opened = make_database()
    yield opened
    await opened.stop()


def open_place(place: str, clock: ManualClock | None = None) -> Database:
    """The database at a path or URL; real time without `clock`."""
    if place.startswith("postgresql://"):
        return PostgresDatabase(place, clock=clock)
    return SqliteDatabase(write_migrated(Path(place)), clock or SystemClock())
