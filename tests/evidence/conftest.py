"""Stores on both databases: every test that takes `make_store` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Protocol

import pytest

from gateway.core.wallet_body import same_move
from gateway.evidence.chain.sequencer import Sequencer
from gateway.evidence.durable import DurableWalletStore
from gateway.evidence.store import SameMove
from gateway.resilience.clock import SystemClock
from gateway.store.database import Database
from gateway.store.group_commit import CommitSettings
from gateway.store.postgres import PostgresDatabase
from gateway.store.sqlite import SqliteDatabase
from tests.evidence.chain.chaining import Exporter, public_key_of, sequencer
from tests.manual_clock import ManualClock


class MakeStore(Protocol):
    """Opens one more store on the test's database, started."""

    def __call__(
        self, settings: CommitSettings | None = None, same_move: SameMove = same_move
    ) -> Awaitable[DurableWalletStore]: ...


@pytest.fixture
def clock() -> ManualClock:
    """The time that leases go by in stores of `make_store`."""
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
    """Opens the test's database once more, with the hand-moved clock."""
    return lambda: open_place(place, clock)


@pytest.fixture
async def make_store(make_database: Callable[[], Database]) -> AsyncIterator[MakeStore]:
    """Opens stores and stops them with the test."""
    stores: list[DurableWalletStore] = []

    async def make(settings: CommitSettings | None = None, same_move: SameMove = same_move) -> DurableWalletStore:
        store = DurableWalletStore(make_database(), same_move=same_move, settings=settings)
        stores.append(store)
        await store.start()
        return store

    yield make
    for store in stores:
        await store.stop()


def open_place(place: str, clock: ManualClock | None = None) -> Database:
    """The database at a path or URL; real time without `clock`."""
    if place.startswith("postgresql://"):
        return PostgresDatabase(place, clock=clock)
    return SqliteDatabase(Path(place), clock or SystemClock())


@pytest.fixture
async def database(make_database: Callable[[], Database]) -> AsyncIterator[Database]:
    opened = make_database()
    yield opened
    await opened.stop()


@pytest.fixture
async def store(make_database: Callable[[], Database]) -> AsyncIterator[DurableWalletStore]:
    """A store that keeps the platform's key."""
    opened = DurableWalletStore(make_database(), same_move=same_move, public_key_of=public_key_of)
    await opened.start()
    yield opened
    await opened.stop()


@pytest.fixture
def chain(database: Database, clock: ManualClock) -> Sequencer:
    return sequencer(database, clock)


@pytest.fixture
def exporter(store: DurableWalletStore, database: Database) -> Exporter:
    return Exporter(store, database)
