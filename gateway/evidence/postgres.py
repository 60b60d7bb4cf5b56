"""Evidence in PostgreSQL: for gateways on several machines.

Times of leases are the database's, so no host's clock decides who may take a move over. Every
transaction is bounded on both sides: by a timeout here, and by one of the server's in case this process
freezes while it holds locks.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from gateway.errors import StoreUnavailable
from gateway.evidence.database import T, Work
from gateway.evidence.migrate import is_current, migrate
from gateway.resilience.clock import Clock

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

_TRIES = 3
_REPEAT_AFTER_S = 0.01
_STOP_WITHIN_S = 2.0
# Advisory locks of this application; any fixed numbers that nobody else uses.
_MIGRATION_LOCK = 0x5067_7765_7601
_WRITE_LOCK = 0x5067_7765_7602
# Every query here has an index. A plan made and kept while the tables were still empty would read them whole for
# good; jit would then compile it, too.
_SESSION = {"application_name": "phoenix-gateway", "enable_seqscan": "off", "jit": "off"}
# Deadlock and serialization failure: undone by the server, to be run again.
_RUN_AGAIN = frozenset({"40P01", "40001"})

_BOUND = sa.text("""
SELECT set_config('statement_timeout', :limit_ms, true),
       set_config('lock_timeout', :limit_ms, true),
       set_config('idle_in_transaction_session_timeout', :limit_ms, true),
       CASE WHEN current_setting('synchronous_commit') = 'off'
            THEN set_config('synchronous_commit', 'on', true) END
""")
# Statements of their own, so that the timeouts above hold while they wait; the time is that after the wait.
_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us"
_BESIDE_OTHERS = sa.text(f"SELECT pg_advisory_xact_lock_shared({_WRITE_LOCK}), {_NOW}")
_ALONE = sa.text(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK}), {_NOW}")
_READ = sa.text(f"SELECT {_NOW}")
_MIGRATE_ALONE = sa.text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")


class PostgresDatabase:
    """A pool of connections, opened when they are needed."""

    def __init__(self, url: str, *, connections: int = 4, clock: Clock | None = None) -> None:
        """Take a libpq URL. `clock`: the time of leases in place of the database's own, for tests."""
        self._url = url
        self._connections = connections
        self._clock = clock
        self._made: AsyncEngine | None = None
        self._migrated = False
        self._migrating = asyncio.Lock()

    async def write(self, work: Work[T], limit_s: float, *, exclusive: bool = False) -> T:
        """Run `work` in a transaction, beside those of other gateways unless `exclusive`."""
        until = time.monotonic() + limit_s
        await self._ensure_schema(until)
        return await self._run(work, _ALONE if exclusive else _BESIDE_OTHERS, until)

    async def read(self, work: Work[T], limit_s: float) -> T:
        """Run `work` on what is committed."""
        until = time.monotonic() + limit_s
        await self._ensure_schema(until)
        return await self._run(work, _READ, until)

    async def stop(self) -> None:
        """Close the pool."""
        engine, self._made = self._made, None
        if engine is not None:
            try:
                async with asyncio.timeout(_STOP_WITHIN_S):
                    await engine.dispose()
            except TimeoutError:
                pass

    async def _run(self, work: Work[T], first: sa.TextClause, until: float) -> T:
        def bounded(connection: sa.Connection) -> T:
            connection.execute(_BOUND, {"limit_ms": str(_remaining_ms(until))})
            now_us = connection.execute(first).one().now_us
            return work(connection, now_us if self._clock is None else round(self._clock.now() * 1_000_000))

        for attempt in range(1, _TRIES + 1):
            try:
                async with asyncio.timeout(until - time.monotonic()), self._engine().begin() as connection:
                    return await connection.run_sync(bounded)
            except Exception as error:
                if _is_fault_of_the_work(error):
                    raise
                # A lost connection is most often one that the pool kept over a restart of the server.
                if attempt == _TRIES or not _is_worth_repeating(error) or time.monotonic() >= until:
                    raise StoreUnavailable from error
            # Lets the winner of a deadlock take what this one gave up; at once again, it might be snatched from it.
            await asyncio.sleep(_REPEAT_AFTER_S * attempt)
        raise AssertionError("unreachable")

    async def _ensure_schema(self, until: float) -> None:
        if self._migrated:
            return
        try:
            async with asyncio.timeout(until - time.monotonic()), self._migrating:
                if not self._migrated:
                    async with self._engine().begin() as connection:
                        await connection.run_sync(_migrate_once, until)
                    self._migrated = True
        except Exception as error:
            raise StoreUnavailable from error

    def _engine(self) -> AsyncEngine:
        if self._made is None:
            from sqlalchemy.ext.asyncio import create_async_engine

            self._made = create_async_engine(
                "postgresql+asyncpg://",
                async_creator=self._connect,
                isolation_level="READ COMMITTED",
                pool_size=self._connections,
                max_overflow=0,
                pool_use_lifo=True,
                hide_parameters=True,
            )
        return self._made

    async def _connect(self) -> Any:
        import asyncpg

        return await asyncpg.connect(self._url, server_settings=_SESSION)


def _migrate_once(connection: sa.Connection, until: float) -> None:
    connection.execute(_BOUND, {"limit_ms": str(_remaining_ms(until))})
    if not is_current(connection):
        connection.execute(_MIGRATE_ALONE)
        if not is_current(connection):
            migrate(connection)


def _remaining_ms(until: float) -> int:
    return max(1, int((until - time.monotonic()) * 1000))


def _is_fault_of_the_work(error: Exception) -> bool:
    """Tell whether one operation of the work cannot be kept, while the database is well."""
    if not isinstance(error, sa.exc.StatementError):
        return not isinstance(error, sa.exc.SQLAlchemyError | OSError) and not _is_of_the_driver(error)
    if not isinstance(error, sa.exc.DBAPIError):
        return True
    cause = error.orig.__cause__ if error.orig is not None else None
    state = getattr(error.orig, "sqlstate", None) or ""
    # 22 data, 23 constraint, 54 too large; the driver's own refusal of a value has no state.
    return state[:2] in ("22", "23", "54") or (isinstance(cause, ValueError) and not error.connection_invalidated)


def _is_of_the_driver(error: Exception) -> bool:
    return type(error).__module__.startswith("asyncpg.")


def _is_worth_repeating(error: Exception) -> bool:
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _RUN_AGAIN
