"""Upgrades the schema in PostgreSQL, and builds missing indexes, while calls wait or go on.

The first call that needs the schema starts the upgrade as a task of its own, because it may take minutes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from gateway.store.database import T
from gateway.store.failures import sqlstate_of
from gateway.store.indexes import are_complete, become_builder, build_missing
from gateway.store.migrate import is_current, migrate
from gateway.store.pipeline import Pipelined
from gateway.store.postgres_attempt import BEGIN, UNDONE, Attempt
from gateway.store.schema import metadata
from gateway.store.upgrade_waits import UpgradeWaits
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from gateway.store.postgres_connection import PostgresConnection

_LOCK_WITHIN_S = 2.0
"""Longest wait for the lock to change a table, because all claims wait behind it. Then the change is tried again."""
UPGRADE_WITHIN_S = 900.0
"""Time limit of an upgrade of the schema, its waits for locks included. The next call begins another one."""
_CHECK_WITHIN_S = 10.0
_INDEXES_AGAIN_S = 5.0
# An advisory lock of this application: a fixed number that no other application uses.
_MIGRATION_LOCK = 0x5067_7765_7601
_LOCK_TIMED_OUT = "55P03"

_UPGRADE_LIMITS = f"""
SELECT set_config('statement_timeout', '{UPGRADE_WITHIN_S:g}s', true),
       set_config('lock_timeout', '{_LOCK_WITHIN_S:g}s', true),
       set_config('idle_in_transaction_session_timeout', '60s', true)
"""
_TAKE_MIGRATION_LOCK = f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"


class SchemaUpgrade:
    """The upgrade of one database."""

    def __init__(
        self,
        pool: Callable[[], AsyncEngine],
        unpooled: Callable[[], AsyncEngine],
        address: Callable[[], str],
        open_read: Callable[[PostgresConnection, float], None],
    ) -> None:
        """Args: `pool`: the connections of calls; `unpooled`: others, for indexes; `address`: for people; `open_read`:
        queues the first statements of a read with its limit.
        """
        self._pool = pool
        self._unpooled = unpooled
        self._address = address
        self._open_read = open_read
        self._is_done = False
        self.upgrading: asyncio.Task[None] | None = None
        self.indexing: asyncio.Task[None] | None = None

    async def ensure(self, until: float) -> None:
        """Wait until the schema is current. Raises: TimeoutError, and what an attempt raises."""
        if self._is_done:
            return
        if self.upgrading is None or self.upgrading.done():
            self.upgrading = start_background(self._upgrade(), "evidence-upgrade")
        async with asyncio.timeout(until - time.monotonic()):
            await asyncio.shield(self.upgrading)

    async def _upgrade(self) -> None:
        """Bring the schema up to date, then complete the indexes. Raises: TimeoutError after UPGRADE_WITHIN_S."""
        until = time.monotonic() + _CHECK_WITHIN_S
        async with asyncio.timeout(_CHECK_WITHIN_S), self._pool().connect() as connection:
            check = Attempt(lambda driver: self._open_read(driver, until))
            is_done = await connection.run_sync(check.run, Pipelined(is_current))
        if not is_done:
            async with asyncio.timeout(UPGRADE_WITHIN_S):
                await self._migrate()
        self._is_done = True
        self.indexing = start_background(self._complete_indexes(), "evidence-indexes")

    async def _migrate(self) -> None:
        """Migrate as soon as no other session holds the locks; say which ones do."""
        waits = UpgradeWaits(address=self._address(), within_s=UPGRADE_WITHIN_S, upgrade_lock=_MIGRATION_LOCK)
        while True:
            try:
                async with self._pool().connect() as connection:
                    await connection.run_sync(Attempt(_open_migration).run, Pipelined(_migrate_once))
                return
            except Exception as error:
                if sqlstate_of(error) not in UNDONE | {_LOCK_TIMED_OUT}:
                    raise
            async with self._pool().connect() as connection:
                await connection.run_sync(waits.look)
            await asyncio.sleep(_LOCK_WITHIN_S)  # let the waiting transactions go first

    async def _complete_indexes(self) -> None:
        """Build the indexes on separate connections, because this may take minutes and the pool is small."""
        engine = self._unpooled()
        while True:
            try:
                async with engine.connect() as builder:
                    if await builder.run_sync(are_complete, metadata.tables.values()):
                        return
                    async with engine.connect() as guard:
                        if await guard.run_sync(become_builder):
                            await builder.run_sync(build_missing, metadata.tables.values())
                            return
            except Exception as error:  # noqa: BLE001 - after any error the gateway serves without the index
                log().warning("indexes could not be completed and are tried again", trouble=type(error).__name__)
            await asyncio.sleep(_INDEXES_AGAIN_S)


def start_background(work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Start a task that may outlive its call. If no call waits for it, its error is ignored."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    return task


def _open_migration(driver: PostgresConnection) -> None:
    driver.queue(BEGIN)
    driver.queue(_UPGRADE_LIMITS)
    driver.queue(_TAKE_MIGRATION_LOCK)


def _migrate_once(connection: sa.Connection) -> None:
    if not is_current(connection):
        migrate(connection)
