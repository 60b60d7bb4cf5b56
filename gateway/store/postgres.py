"""PostgreSQL: for gateways on several machines.

Leases use the time of the database, so no host's clock decides who may take over. Every transaction has two limits: a
timeout here, and one at the server in case this process freezes while it holds locks. Only the upgrade of the schema
has no limit: the first call that needs it starts it as a task of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from gateway.errors import StoreUnavailable
from gateway.resilience.clock import Clock
from gateway.store.database import T, Work
from gateway.store.indexes import build_missing
from gateway.store.migrate import is_current, migrate
from gateway.store.schema import metadata
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

_TRIES = 3
_REPEAT_AFTER_S = 0.01
_STOP_WITHIN_S = 2.0
_CHECK_WITHIN_S = 5.0
_LOCK_WITHIN_S = 2.0
"""Longest wait for the lock to change a table, because all claims wait behind it. Then the change is tried again."""
_INDEXES_AGAIN_S = 5.0
# Advisory locks of this application: fixed numbers that no other application uses.
_MIGRATION_LOCK = 0x5067_7765_7601
_WRITE_LOCK = 0x5067_7765_7602
# Every query here has an index. A cached plan from when the tables were empty would always read whole tables, and jit
# would compile it.
_SESSION = {"application_name": "phoenix-gateway", "enable_seqscan": "off", "jit": "off"}
# Deadlock and serialization failure: the server rolled the transaction back; run it again.
_RETRYABLE = frozenset({"40P01", "40001"})
_LOCK_TIMED_OUT = "55P03"

_BOUND = sa.text("""
SELECT set_config('statement_timeout', :limit_ms, true),
       set_config('lock_timeout', :limit_ms, true),
       set_config('idle_in_transaction_session_timeout', :limit_ms, true),
       CASE WHEN current_setting('synchronous_commit') = 'off'
            THEN set_config('synchronous_commit', 'on', true) END
""")
# Separate statements, so that the timeouts above apply while they wait. The time is read after the wait.
_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us"
_SHARED_LOCK = sa.text(f"SELECT pg_advisory_xact_lock_shared({_WRITE_LOCK}), {_NOW}")
_EXCLUSIVE_LOCK = sa.text(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK}), {_NOW}")
_READ = sa.text(f"SELECT {_NOW}")
_NO_TIME_LIMITS = sa.text("""
SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true),
       set_config('idle_in_transaction_session_timeout', '60s', true)
""")
_SHORT_LOCK_TIMEOUT = sa.text(f"SELECT set_config('lock_timeout', '{_LOCK_WITHIN_S:g}s', true)")
_TAKE_MIGRATION_LOCK = sa.text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")


class PostgresDatabase:
    """A pool of connections that are opened when needed."""

    def __init__(self, url: str, *, connections: int = 4, clock: Clock | None = None) -> None:
        """Take a libpq URL. `clock`: for tests, the time of leases instead of the database's time."""
        self._url = url
        self._connections = connections
        self._clock = clock
        self._pool: AsyncEngine | None = None
        self._migrated = False
        self._upgrading: asyncio.Task[None] | None = None
        self._indexing: asyncio.Task[None] | None = None

    async def write(self, work: Work[T], limit_s: float, *, exclusive: bool = False) -> T:
        """Run `work` in a transaction, concurrently with other gateways unless `exclusive`."""
        until = time.monotonic() + limit_s
        await self._ensure_schema(until)
        return await self._run(work, _EXCLUSIVE_LOCK if exclusive else _SHARED_LOCK, until)

    async def read(self, work: Work[T], limit_s: float) -> T:
        """Run `work` on committed data."""
        until = time.monotonic() + limit_s
        await self._ensure_schema(until)
        return await self._run(work, _READ, until)

    async def stop(self) -> None:
        """Close the pool. A running upgrade is rolled back; an unfinished index is built at the next start."""
        for task in (self._upgrading, self._indexing):
            if task is not None:
                task.cancel()
                await asyncio.wait({task}, timeout=_STOP_WITHIN_S)
        engine, self._pool = self._pool, None
        if engine is not None:
            try:
                async with asyncio.timeout(_STOP_WITHIN_S):
                    await engine.dispose()
            except TimeoutError:
                pass

    async def _run(self, work: Work[T], first: sa.TextClause, until: float) -> T:
        is_done = False  # the commit follows

        def bounded(connection: sa.Connection) -> T:
            nonlocal is_done
            connection.execute(_BOUND, {"limit_ms": str(_remaining_ms(until))})
            now_us = connection.execute(first).one().now_us
            result = work(connection, now_us if self._clock is None else round(self._clock.now() * 1_000_000))
            is_done = True
            return result

        for attempt in range(1, _TRIES + 1):
            try:
                async with asyncio.timeout(until - time.monotonic()), self._engine().begin() as connection:
                    return await connection.run_sync(bounded)
            except Exception as error:
                if _is_data_error(error):
                    raise
                # A lost connection is usually one that the pool kept over a restart of the server.
                if attempt == _TRIES or not _is_retryable(error) or time.monotonic() >= until:
                    raise StoreUnavailable(may_be_committed=is_done) from error
            # Wait, so that the winner of a deadlock gets the lock first.
            await asyncio.sleep(_REPEAT_AFTER_S * attempt)
        raise AssertionError("unreachable")

    async def _ensure_schema(self, until: float) -> None:
        if self._migrated:
            return
        if self._upgrading is None or self._upgrading.done():
            self._upgrading = _start_background(self._upgrade(), "evidence-upgrade")
        try:
            async with asyncio.timeout(until - time.monotonic()):
                await asyncio.shield(self._upgrading)
        except Exception as error:
            raise StoreUnavailable(may_be_committed=False) from error

    async def _upgrade(self) -> None:
        """Bring the schema up to date without a time limit, then complete the indexes."""
        async with asyncio.timeout(_CHECK_WITHIN_S), self._engine().begin() as connection:
            is_done = await connection.run_sync(_check_schema)
        while not is_done:
            try:
                async with self._engine().begin() as connection:
                    await connection.run_sync(_migrate_once)
                is_done = True
            except sa.exc.DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) not in _RETRYABLE | {_LOCK_TIMED_OUT}:
                    raise
                await asyncio.sleep(_LOCK_WITHIN_S)  # let the waiting transactions go first
        self._migrated = True
        self._indexing = _start_background(self._complete_indexes(), "evidence-indexes")

    async def _complete_indexes(self) -> None:
        """Build the indexes on a separate connection, because this may take minutes and the pool is small."""
        engine = self._new_engine(isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        while True:
            try:
                async with engine.connect() as connection:
                    if await connection.run_sync(build_missing, metadata.tables.values()):
                        return
            except Exception as error:  # noqa: BLE001 - after any error the gateway serves without the index
                log().warning("indexes could not be completed and are tried again", trouble=type(error).__name__)
            await asyncio.sleep(_INDEXES_AGAIN_S)

    def _engine(self) -> AsyncEngine:
        if self._pool is None:
            self._pool = self._new_engine(
                isolation_level="READ COMMITTED", pool_size=self._connections, max_overflow=0, pool_use_lifo=True
            )
        return self._pool

    def _new_engine(self, **options: Any) -> AsyncEngine:
        from sqlalchemy.ext.asyncio import create_async_engine

        return create_async_engine(
            "postgresql+asyncpg://", async_creator=self._connect, hide_parameters=True, **options
        )

    async def _connect(self) -> Any:
        import asyncpg

        return await asyncpg.connect(self._url, server_settings=_SESSION)


def _start_background(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Start a task that belongs to no call. If no call waits for it, its error is ignored."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    return task


def _check_schema(connection: sa.Connection) -> bool:
    connection.execute(_BOUND, {"limit_ms": str(round(_CHECK_WITHIN_S * 1000))})
    return is_current(connection)


def _migrate_once(connection: sa.Connection) -> None:
    connection.execute(_NO_TIME_LIMITS)
    connection.execute(_TAKE_MIGRATION_LOCK)
    if not is_current(connection):
        connection.execute(_SHORT_LOCK_TIMEOUT)
        migrate(connection)


def _remaining_ms(until: float) -> int:
    return max(1, int((until - time.monotonic()) * 1000))


def _is_data_error(error: Exception) -> bool:
    """Tell whether an operation's data caused the error, while the database works."""
    if not isinstance(error, sa.exc.StatementError):
        return not isinstance(error, sa.exc.SQLAlchemyError | OSError) and not _is_driver_error(error)
    if not isinstance(error, sa.exc.DBAPIError):
        return True
    cause = error.orig.__cause__ if error.orig is not None else None
    state = getattr(error.orig, "sqlstate", None) or ""
    # 22 data, 23 constraint, 54 too large. If the driver refuses a value itself, there is no state.
    return state[:2] in ("22", "23", "54") or (isinstance(cause, ValueError) and not error.connection_invalidated)


def _is_driver_error(error: Exception) -> bool:
    return type(error).__module__.startswith("asyncpg.")


def _is_retryable(error: Exception) -> bool:
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _RETRYABLE
