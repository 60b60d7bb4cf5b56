"""Stores on both databases: every test that takes `make_store` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

import pytest

from gateway.core.wallet_operation import same_move
from gateway.evidence.chain.sequencer import Sequencer
from gateway.evidence.durable import DurableWalletStore
from gateway.evidence.store import SameMove
from gateway.store.database import Database
from gateway.store.group_commit import CommitSettings
from tests.evidence.chain.chain_setup import Exporter, public_key_of, sequencer
from tests.manual_clock import ManualClock


class MakeStore(Protocol):
    """Opens one more store on the test's database, started."""

    def __call__(
        self, settings: CommitSettings | None = None, same_move: SameMove = same_move
    ) -> Awaitable[DurableWalletStore]: ...


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
