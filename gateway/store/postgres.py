"""PostgreSQL: for gateways on several machines.

Leases use the time of the database, so no host's clock decides who may take over. Every transaction has two limits: a
timeout here, and one at the server in case this process freezes while it holds locks. A connection that failed is
discarded and the transaction repeated, for a while and within its limit.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa

from gateway.core.clock_skew import certain_skew
from gateway.errors import StoreUnavailable
from gateway.resilience.clock import Clock
from gateway.store.database import T, Work
from gateway.store.failures import DatabaseUnusable, Failure, failure_of
from gateway.store.migrate import is_current
from gateway.store.pipeline import Pipelined, now_us_of
from gateway.store.postgres_attempt import EXCLUSIVE_LOCK, READ, SHARED_LOCK, Attempt, is_data_error, open_transaction
from gateway.store.postgres_upgrade import SchemaUpgrade, start_background
from gateway.store.postgres_url import address_of, read_url
from gateway.store.postgres_url_change import UrlChange
from gateway.store.state import StoreState
from gateway.telemetry.spans import DATABASE, child

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from gateway.store.postgres_connection import PostgresConnection

_READ = {"db.system.name": "postgresql", "db.operation.name": "read"}
_WRITE = {"db.system.name": "postgresql", "db.operation.name": "write"}
_REPEAT_FOR_S = 1.5
"""How long a call is repeated. Longer, and calls would pile up behind a database that is down."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.01, 0.25
MAX_AGE_S = 40
"""Then a connection is replaced, so that a change of DNS is taken up within a minute."""
_STOP_WITHIN_S = 2.0
_RETIRE_WITHIN_S = 30.0
"""Longest wait for transactions on connections of a former URL; longer than any call."""
_RETIRE_LOOK_S = 0.1
_FULL_FOR_S = 2.5
"""How long a write that found the disk full counts. Then the next write tells."""
_END_WITHIN_S = 1.0
"""How long a transaction whose caller has left may take to end. Then its connection is closed."""
_UNUSABLE = frozenset({"pooler", "option"})
"""Whoever wrote the URL has to correct it, so no gateway starts."""
_FINAL_CAUSES = frozenset({"login", "no_database", "rights", "encoding", "tls", "disk_full"}) | _UNUSABLE
"""Nothing changes these within a call."""


class PostgresDatabase:
    """A pool of connections that are opened when needed."""

    def __init__(
        self, url: str, *, connections: int = 4, clock: Clock | None = None, state: StoreState | None = None
    ) -> None:
        """Take a URL as postgres_url.py reads it. `clock`: for tests, the time of leases instead of the database's.

        Raises: UrlRefused.
        """
        self._parameters: Mapping[str, str] = read_url(url)
        self._connections = connections
        self._clock = clock
        self._state = state or StoreState("postgresql")
        self._pool: AsyncEngine | None = None
        self._clock_ahead_s: float | None = None
        self._full: tuple[Failure, float] | None = None
        self._schema = SchemaUpgrade(
            self._engine,
            lambda: self._new_engine(poolclass=sa.NullPool),
            lambda: address_of(self._parameters),
            lambda driver, until: self._open_transaction(driver, READ, until),
        )
        self._change = UrlChange(lambda: self._parameters, lambda: self.failure is not None)
        self._retiring: asyncio.Task[None] | None = None
        self._left: set[asyncio.Task[Any]] = set()
        """Transactions whose callers left; the set keeps the tasks."""

    @property
    def system(self) -> str:
        """postgresql."""
        return "postgresql"

    @property
    def has_many_writers(self) -> bool:
        """True: each writes on a connection of its own."""
        return True

    @property
    def failure(self) -> Failure | None:
        """Why it does not work; None while it works."""
        return self._full_disk() or self._state.failure

    @property
    def clock_ahead_s(self) -> float | None:
        """By how many seconds our wall clock is ahead of the server's, as the last check found."""
        return self._clock_ahead_s

    def use_url(self, url: str) -> asyncio.Task[None]:
        """Open new connections with this URL, once it works. The others end when their transaction is over.

        Returns: the task that ends then. Raises: UrlRefused, and keeps the former URL.
        """
        return self._change.begin(read_url(url), self._use)

    def _use(self, parameters: Mapping[str, str]) -> None:
        self._parameters = parameters
        engine, self._pool = self._pool, None
        if engine is not None:
            self._retiring = start_background(_retire(engine), "database-retire")

    async def check_usable(self, limit_s: float) -> None:
        """Connect once. Raises: DatabaseUnusable if this database can never work; a passing failure is only logged."""
        from gateway.store.postgres_connection import PostgresConnection

        try:
            async with asyncio.timeout(limit_s):
                connection = await PostgresConnection.open(self._parameters)
                await connection.close()
        except DatabaseUnusable:
            raise
        except Exception as error:  # noqa: BLE001 - a gateway starts while its database is down
            failure = failure_of(error)
            if failure.cause in _UNUSABLE:
                raise DatabaseUnusable(failure.cause, failure.what, failure.advice) from None
            self._failed(failure)

    async def write(self, work: Work[T], limit_s: float, *, exclusive: bool = False) -> T:
        """Run `work` in a transaction, concurrently with other gateways unless `exclusive`."""
        until = time.monotonic() + limit_s
        with child(DATABASE, attributes=_WRITE):
            await self._ensure_schema(until)
            return await self._run(work, EXCLUSIVE_LOCK if exclusive else SHARED_LOCK, until)

    async def read(self, work: Work[T], limit_s: float) -> T:
        """Run `work` on committed data."""
        until = time.monotonic() + limit_s
        with child(DATABASE, attributes=_READ):
            await self._ensure_schema(until)
            return await self._run(work, READ, until)

    async def check(self, limit_s: float) -> bool:
        """Return whether the schema is up to date. Raises: StoreUnavailable, also while nothing can be written."""
        until = time.monotonic() + limit_s
        await self._ensure_schema(until)
        if self._full_disk() is not None:
            raise StoreUnavailable(may_be_committed=False)
        sent_at = time.time()
        is_current, server_time = await self._run(Pipelined(_is_current_and_writable), READ, until)
        self._clock_ahead_s = certain_skew(server_time, server_time, sent_at, time.time())
        return is_current

    def on_change(self, notice: Callable[[], None]) -> None:
        """Call `notice` whenever the database stops or begins to work."""
        self._state.on_change = notice

    async def stop(self) -> None:
        """Close the pool. A running upgrade is rolled back; an unfinished index is built at the next start."""
        self._change.stop()
        for task in (self._schema.upgrading, self._schema.indexing, self._retiring, *self._left):
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

    async def _run(self, work: Work[T], first: str, until: float) -> T:
        repeat_until = min(until, time.monotonic() + _REPEAT_FOR_S)
        wait_s = _FIRST_WAIT_S
        last: Failure | None = None
        may_be_committed = False
        while True:
            attempt = Attempt(lambda driver: self._open_transaction(driver, first, until))
            try:
                result = await self._try(attempt, work, until)
            except Exception as error:
                if is_data_error(error):
                    raise
                # A later attempt that certainly failed does not undo an earlier one whose answer was lost.
                may_be_committed = may_be_committed or attempt.may_be_committed(error)
                if may_be_committed and isinstance(work, Pipelined):
                    work.may_be_committed = True
                failure = failure_of(error)
                if failure.cause == "timeout" and last is not None:
                    failure = last  # the cause; the time ran out while it was tried again
                last = failure
                if failure.cause == "disk_full" and first != READ:
                    self._full = failure, time.monotonic()
                self._state.counted(failure)
                # Every work may run again, also where the answer to the COMMIT was lost (see Work).
                is_final = failure.cause in _FINAL_CAUSES or failure.code.startswith("42")
                if is_final or time.monotonic() + wait_s >= repeat_until:
                    self._failed(failure)
                    raise StoreUnavailable(may_be_committed=may_be_committed) from error
            else:
                if first != READ:
                    self._full = None
                self._state.works()
                return result
            # Wait, so that the winner of a deadlock gets the lock first.
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    async def _try(self, attempt: Attempt, work: Work[T], until: float) -> T:
        """Run one attempt. If the caller leaves or its time is over, a transaction that has begun sends nothing more.

        Its connection is kept if the server answers soon, because a new one costs more than the end of a transaction.
        """
        trying = start_background(self._connect_and_run(attempt, work), "database-transaction")
        try:
            async with asyncio.timeout(until - time.monotonic()):
                return await asyncio.shield(trying)
        finally:
            if not trying.done():
                self._left.add(trying)
                trying.add_done_callback(self._left.discard)
                if attempt.leave():
                    asyncio.get_running_loop().call_later(_END_WITHIN_S, trying.cancel)
                else:
                    trying.cancel()

    async def _connect_and_run(self, attempt: Attempt, work: Work[T]) -> T:
        async with self._engine().connect() as connection:
            return await connection.run_sync(attempt.run, work)

    def _full_disk(self) -> Failure | None:
        """Return why a write failed lately, if none succeeded since. Reads go on while a disk is full."""
        if self._full is None or time.monotonic() - self._full[1] > _FULL_FOR_S:
            return None
        return self._full[0]

    def _open_transaction(self, driver: PostgresConnection, first: str, until: float) -> None:
        now_us = None if self._clock is None else round(self._clock.now() * 1_000_000)
        open_transaction(driver, first, until, now_us)

    async def _ensure_schema(self, until: float) -> None:
        try:
            await self._schema.ensure(until)
        except Exception as error:
            self._state.counted(failure_of(error))
            self._failed(failure_of(error))
            raise StoreUnavailable(may_be_committed=False) from error

    def _failed(self, failure: Failure) -> None:
        self._state.failed(failure, address=address_of(self._parameters))

    def _engine(self) -> AsyncEngine:
        if self._pool is None:
            self._pool = self._new_engine(
                pool_size=self._connections, max_overflow=0, pool_use_lifo=True, pool_recycle=MAX_AGE_S
            )
            sa.event.listen(self._pool.sync_engine, "checkout", self._on_checkout)
        return self._pool

    def _new_engine(self, **options: Any) -> AsyncEngine:
        from sqlalchemy.ext.asyncio import create_async_engine

        logging.getLogger("psycopg").setLevel(logging.ERROR)  # its warnings repeat errors that are raised as well
        return create_async_engine(
            "postgresql+psycopg://",
            async_creator=self._connect,
            hide_parameters=True,
            isolation_level="AUTOCOMMIT",  # the transactions here send BEGIN and COMMIT themselves
            use_native_hstore=False,
            **options,
        )

    async def _connect(self) -> PostgresConnection:
        from gateway.store.postgres_connection import PostgresConnection

        return await PostgresConnection.open(self._parameters)

    def _on_checkout(self, connection: Any, _record: Any, _proxy: Any) -> None:
        """Replace a connection that was opened with another URL, or that broke while it was idle."""
        from gateway.store.postgres_connection import PING_AFTER_S

        driver = cast("PostgresConnection", connection.driver_connection)
        if driver.source is not self._parameters:
            raise sa.exc.DisconnectionError
        if time.monotonic() - driver.used_at > PING_AFTER_S and not sa.util.await_only(driver.works()):
            raise sa.exc.InvalidatePoolError  # the others were idle for longer


async def _retire(engine: AsyncEngine) -> None:
    """Close the connections of a former URL once nobody uses them any more."""
    until = time.monotonic() + _RETIRE_WITHIN_S
    pool = cast("sa.pool.QueuePool", engine.sync_engine.pool)
    while pool.checkedout() and time.monotonic() < until:  # noqa: ASYNC110 - a pool tells nobody when it is idle
        await asyncio.sleep(_RETIRE_LOOK_S)
    await engine.dispose()


def _is_current_and_writable(connection: sa.Connection) -> tuple[bool, float]:
    """Return whether the schema is current, and the server's time. Raises: ReadOnlySession."""
    if connection.exec_driver_sql("SELECT current_setting('transaction_read_only') = 'on'").scalar_one():
        from gateway.store.postgres_connection import ReadOnlySession

        raise ReadOnlySession("the session became read-only")
    return is_current(connection), now_us_of(connection) / 1_000_000
