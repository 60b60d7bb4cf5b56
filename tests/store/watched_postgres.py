"""A store on PostgreSQL with what it counted, and its server's owner, who ends sessions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import pytest
import structlog

from gateway.core.wallet_operation import same_move
from gateway.evidence.durable import DurableWalletStore
from gateway.store.postgres import PostgresDatabase
from gateway.store.state import StoreState
from tests.evidence.wallet_factory import soon
from tests.postgres_process import PostgresProcess


class Watched:
    """A store with what it counted."""

    def __init__(self, url: str) -> None:
        self.causes: list[str] = []
        self.changes = 0
        self.database = PostgresDatabase(url, state=StoreState("postgresql", on_failure=self.causes.append))
        self.database.on_change(self._changed)
        self.store = DurableWalletStore(self.database, same_move=same_move)

    def _changed(self) -> None:
        self.changes += 1


Watch = Callable[[str], Awaitable[Watched]]


@pytest.fixture
async def watch() -> AsyncIterator[Watch]:
    """Opens stores that work."""
    opened: list[Watched] = []

    async def open_store(url: str) -> Watched:
        watched = Watched(url)
        opened.append(watched)
        await watched.store.start()
        await watched.store.check(soon())
        while any(task.get_name() == "evidence-indexes" for task in asyncio.all_tasks()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return watched

    yield open_store
    for watched in opened:
        await watched.store.stop()


@pytest.fixture
async def owner(postgres_server: PostgresProcess) -> AsyncIterator[Any]:
    """A session of the server's owner in another database."""
    connection = await asyncpg.connect(postgres_server.url)
    yield connection
    await connection.close()


@pytest.fixture(autouse=True)
def default_logs() -> Iterator[None]:
    """Log as structlog does by default, before and after: `logs.configure` of a test holds for the whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
    logging.captureWarnings(False)
    root.handlers[:], root.level = handlers, level


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


async def end_sessions(owner: Any, url: str) -> None:
    await owner.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()",
        name_of(url),
    )
