"""PostgreSQL: for gateways on several machines.

Leases use the time of the database, so no host's clock decides who may take over. Every transaction has two limits: a
timeout here, and one at the server in case this process freezes while it holds locks. The upgrade of the schema may
take minutes: the first call that needs it starts it as a task of its own.

BEGIN, the limits, the lock and the time travel with the first statement, and the last ones with the COMMIT. A
connection that failed is discarded and the transaction repeated, for a while and within its limit.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa

from gateway.core.clock_skew import certain_skew
from gateway.errors import StoreUnavailable
from gateway.resilience.clock import Clock
from gateway.store.database import T, Work
from gateway.store.failures import DatabaseUnusable, Failure, failure_of, origin_of, sqlstate_of
from gateway.store.indexes import are_complete, become_builder, build_missing
from gateway.store.migrate import is_current, migrate
from gateway.store.pipeline import TIME_SETTING, Pipelined, now_us_of
from gateway.store.postgres_url import address_of, read_url
from gateway.store.schema import metadata
from gateway.store.state import StoreState
from gateway.store.upgrade_waits import UpgradeWaits
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from gateway.store.postgres_connection import PostgresConnection

_REPEAT_FOR_S = 1.5
"""How long a call is repeated. Longer, and calls would pile up behind a database that is down."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.01, 0.25
MAX_AGE_S = 40
"""Then a connection is replaced, so that a change of DNS is taken up within a minute."""
_STOP_WITHIN_S = 2.0
_RETIRE_WITHIN_S = 30.0
"""Longest wait for transactions on connections of a former URL; longer than any call."""
_RETIRE_LOOK_S = 0.1
_CHECK_WITHIN_S = 10.0
_FULL_FOR_S = 2.5
"""How long a write that found the disk full counts. Then the next write tells."""
_LOCK_WITHIN_S = 2.0
"""Longest wait for the lock to change a table, because all claims wait behind it. Then the change is tried again."""
UPGRADE_WITHIN_S = 900.0
"""Time limit of an upgrade of the schema, its waits for locks included. The next call begins another one."""
_INDEXES_AGAIN_S = 5.0
# Advisory locks of this application: fixed numbers that no other application uses.
_MIGRATION_LOCK = 0x5067_7765_7601
_WRITE_LOCK = 0x5067_7765_7602
# The server rolled the transaction back and the connection works: run it again. Deadlock, serialization failure.
_UNDONE = frozenset({"40P01", "40001"})
_QUERY_CANCELED = "57014"
"""The limit at the server passed: the transaction is rolled back and the connection works."""
_END_WITHIN_S = 1.0
"""How long a transaction whose caller has left may take to end. Then its connection is closed."""
_LOCK_TIMED_OUT = "55P03"
_OUTCOME_UNKNOWN = ("08", "57P0", "40003")
"""The connection failed, the session ended, and "statement completion unknown"."""
_FINAL_CAUSES = frozenset({"login", "no_database", "rights", "pooler", "encoding", "tls", "disk_full"})
"""Nothing changes these within a call."""

_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
# Every query here has an index. A cached plan from when the tables were empty would always read whole tables, and jit
# would compile it. All settings end with the transaction: behind a pooler the session is not ours.
_BOUND = """
SELECT set_config('statement_timeout', %(limit_ms)s, true),
       set_config('lock_timeout', %(limit_ms)s, true),
       set_config('idle_in_transaction_session_timeout', %(limit_ms)s, true),
       set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true),
       CASE WHEN current_setting('synchronous_commit') = 'off'
            THEN set_config('synchronous_commit', 'on', true) END
"""
# Separate statements, so that the timeouts above apply while they wait. The time is read after the wait.
_NOW = f"set_config('{TIME_SETTING}', ((extract(epoch FROM clock_timestamp()) * 1000000)::bigint)::text, true)"
_SHARED_LOCK = f"SELECT pg_advisory_xact_lock_shared({_WRITE_LOCK}), {_NOW}"
_EXCLUSIVE_LOCK = f"SELECT pg_advisory_xact_lock({_WRITE_LOCK}), {_NOW}"
_READ = f"SELECT {_NOW}"
_SET_TIME = f"SELECT set_config('{TIME_SETTING}', %(now_us)s, true)"
_UPGRADE_LIMITS = f"""
SELECT set_config('statement_timeout', '{UPGRADE_WITHIN_S:g}s', true),
       set_config('lock_timeout', '{_LOCK_WITHIN_S:g}s', true),
       set_config('idle_in_transaction_session_timeout', '60s', true)
"""
_TAKE_MIGRATION_LOCK = f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"

_Opening = Callable[["PostgresConnection"], None]
"""Queues the first statements of a transaction."""


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
        self._migrated = False
        self._upgrading: asyncio.Task[None] | None = None
        self._indexing: asyncio.Task[None] | None = None
        self._retiring: asyncio.Task[None] | None = None
        self._left: set[asyncio.Task[Any]] = set()
        """Transactions whose callers left; the set keeps the tasks."""

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

    def use_url(self, url: str) -> None:
        """Open new connections with this URL from now on. The others end once their transaction is over.

        Raises: UrlRefused, and keeps the former URL.
        """
        self._parameters = read_url(url)
        engine, self._pool = self._pool, None
        if engine is not None:
            self._retiring = _start_background(_retire(engine), "database-retire")

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
            if failure.cause == "pooler":
                raise DatabaseUnusable(failure.cause, failure.what, failure.advice) from None
            self._failed(failure)

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

    async def check(self, limit_s: float) -> bool:
        """Return whether the schema is up to date. Raises: StoreUnavailable, also while nothing can be written."""
        until = time.monotonic() + limit_s
        await self._ensure_schema(until)
        if self._full_disk() is not None:
            raise StoreUnavailable(may_be_committed=False)
        sent_at = time.time()
        is_current, server_time = await self._run(Pipelined(_is_current_and_writable), _READ, until)
        self._clock_ahead_s = certain_skew(server_time, server_time, sent_at, time.time())
        return is_current

    def on_change(self, notice: Callable[[], None]) -> None:
        """Call `notice` whenever the database stops or begins to work."""
        self._state.on_change = notice

    async def stop(self) -> None:
        """Close the pool. A running upgrade is rolled back; an unfinished index is built at the next start."""
        for task in (self._upgrading, self._indexing, self._retiring, *self._left):
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
            attempt = _Attempt(lambda driver: self._open_transaction(driver, first, until))
            try:
                result = await self._try(attempt, work, until)
            except Exception as error:
                if _is_data_error(error):
                    raise
                # A later attempt that certainly failed does not undo an earlier one whose answer was lost.
                may_be_committed = may_be_committed or attempt.may_be_committed(error)
                if may_be_committed and isinstance(work, Pipelined):
                    work.may_be_committed = True
                failure = failure_of(error)
                if failure.cause == "timeout" and last is not None:
                    failure = last  # the cause; the time ran out while it was tried again
                last = failure
                if failure.cause == "disk_full" and first != _READ:
                    self._full = failure, time.monotonic()
                self._state.counted(failure)
                # Every work may run again, also where the answer to the COMMIT was lost (see Work).
                is_final = failure.cause in _FINAL_CAUSES or failure.code.startswith("42")
                if is_final or time.monotonic() + wait_s >= repeat_until:
                    self._failed(failure)
                    raise StoreUnavailable(may_be_committed=may_be_committed) from error
            else:
                if first != _READ:
                    self._full = None
                self._state.works()
                return result
            # Wait, so that the winner of a deadlock gets the lock first.
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    async def _try(self, attempt: _Attempt, work: Work[T], until: float) -> T:
        """Run one attempt. If the caller leaves or its time is over, a transaction that has begun sends nothing more.

        Its connection is kept if the server answers soon, because a new one costs more than the end of a transaction.
        """
        trying = _start_background(self._connect_and_run(attempt, work), "database-transaction")
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

    async def _connect_and_run(self, attempt: _Attempt, work: Work[T]) -> T:
        async with self._engine().connect() as connection:
            return await connection.run_sync(attempt.run, work)

    def _full_disk(self) -> Failure | None:
        """Return why a write failed lately, if none succeeded since. Reads go on while a disk is full."""
        if self._full is None or time.monotonic() - self._full[1] > _FULL_FOR_S:
            return None
        return self._full[0]

    def _open_transaction(self, driver: PostgresConnection, first: str, until: float) -> None:
        driver.queue(_BEGIN)
        driver.queue(_BOUND, {"limit_ms": str(_remaining_ms(until))})
        driver.queue(first, tells_time=True)
        if self._clock is not None:
            driver.queue(_SET_TIME, {"now_us": str(round(self._clock.now() * 1_000_000))}, tells_time=True)

    async def _ensure_schema(self, until: float) -> None:
        if self._migrated:
            return
        if self._upgrading is None or self._upgrading.done():
            self._upgrading = _start_background(self._upgrade(), "evidence-upgrade")
        try:
            async with asyncio.timeout(until - time.monotonic()):
                await asyncio.shield(self._upgrading)
        except Exception as error:
            self._state.counted(failure_of(error))
            self._failed(failure_of(error))
            raise StoreUnavailable(may_be_committed=False) from error

    async def _upgrade(self) -> None:
        """Bring the schema up to date, then complete the indexes. Raises: TimeoutError after UPGRADE_WITHIN_S."""
        until = time.monotonic() + _CHECK_WITHIN_S
        async with asyncio.timeout(_CHECK_WITHIN_S), self._engine().connect() as connection:
            check = _Attempt(lambda driver: self._open_transaction(driver, _READ, until))
            is_done = await connection.run_sync(check.run, Pipelined(is_current))
        if not is_done:
            async with asyncio.timeout(UPGRADE_WITHIN_S):
                await self._migrate()
        self._migrated = True
        self._indexing = _start_background(self._complete_indexes(), "evidence-indexes")

    async def _migrate(self) -> None:
        """Migrate as soon as no other session holds the locks; say which ones do."""
        address = address_of(self._parameters)
        waits = UpgradeWaits(address=address, within_s=UPGRADE_WITHIN_S, upgrade_lock=_MIGRATION_LOCK)
        while True:
            try:
                async with self._engine().connect() as connection:
                    await connection.run_sync(_Attempt(_open_migration).run, Pipelined(_migrate_once))
                return
            except Exception as error:
                if sqlstate_of(error) not in _UNDONE | {_LOCK_TIMED_OUT}:
                    raise
            async with self._engine().connect() as connection:
                await connection.run_sync(waits.look)
            await asyncio.sleep(_LOCK_WITHIN_S)  # let the waiting transactions go first

    async def _complete_indexes(self) -> None:
        """Build the indexes on separate connections, because this may take minutes and the pool is small."""
        engine = self._new_engine(poolclass=sa.NullPool)
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


class _Attempt:
    """One run of a transaction on one connection."""

    def __init__(self, opening: _Opening) -> None:
        self._opening = opening
        self._driver: PostgresConnection | None = None
        self._is_committing = False

    def leave(self) -> bool:
        """Roll back in place of the next statement. Return whether the transaction has begun."""
        if self._driver is not None:
            self._driver.is_left = True
        return self._driver is not None

    def run(self, connection: sa.Connection, work: Work[T]) -> T:
        """Run `work` between BEGIN and COMMIT. After an error the connection is rolled back, or discarded."""
        driver = cast("PostgresConnection", connection.connection.driver_connection)
        self._driver = driver
        try:
            self._opening(driver)
            result = work(connection, 0 if isinstance(work, Pipelined) else driver.now_us())
            self._is_committing = True
            sa.util.await_only(driver.commit_all())
            return result
        except BaseException as error:
            is_usable = isinstance(error, Exception) and (
                _is_data_error(error) or sqlstate_of(error) in _UNDONE | {_QUERY_CANCELED}
            )
            if not is_usable or not sa.util.await_only(driver.roll_back()):
                connection.invalidate()
            raise
        finally:
            self._driver = None
            driver.is_left = False

    def may_be_committed(self, error: BaseException) -> bool:
        """Tell whether the transaction may be committed although it failed."""
        # An error of a statement, the COMMIT included, rolls back. One that ends the session says nothing, and a pooler
        # may report the end of the server's session as an error of the statement.
        severity = getattr(getattr(origin_of(error), "diag", None), "severity_nonlocalized", None)
        state = sqlstate_of(error)
        is_undone = state == "25P02" or (severity == "ERROR" and not state.startswith(_OUTCOME_UNKNOWN))
        return self._is_committing and not is_undone


async def _retire(engine: AsyncEngine) -> None:
    """Close the connections of a former URL once nobody uses them any more."""
    until = time.monotonic() + _RETIRE_WITHIN_S
    pool = cast("sa.pool.QueuePool", engine.sync_engine.pool)
    while pool.checkedout() and time.monotonic() < until:  # noqa: ASYNC110 - a pool tells nobody when it is idle
        await asyncio.sleep(_RETIRE_LOOK_S)
    await engine.dispose()


def _start_background(work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Start a task that may outlive its call. If no call waits for it, its error is ignored."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    return task


def _open_migration(driver: PostgresConnection) -> None:
    driver.queue(_BEGIN)
    driver.queue(_UPGRADE_LIMITS)
    driver.queue(_TAKE_MIGRATION_LOCK)


def _migrate_once(connection: sa.Connection) -> None:
    if not is_current(connection):
        migrate(connection)


def _is_current_and_writable(connection: sa.Connection) -> tuple[bool, float]:
    """Return whether the schema is current, and the server's time. Raises: ReadOnlySession."""
    if connection.exec_driver_sql("SELECT current_setting('transaction_read_only') = 'on'").scalar_one():
        from gateway.store.postgres_connection import ReadOnlySession

        raise ReadOnlySession("the session became read-only")
    return is_current(connection), now_us_of(connection) / 1_000_000


def _remaining_ms(until: float) -> int:
    return max(1, int((until - time.monotonic()) * 1000))


def _is_data_error(error: Exception) -> bool:
    """Tell whether an operation's data or our own code caused the error, while the database works."""
    if isinstance(error, DatabaseUnusable | OSError | TimeoutError):
        return False
    from psycopg import Error

    origin = origin_of(error)
    if not isinstance(origin, Error):
        return not isinstance(error, sa.exc.SQLAlchemyError) or isinstance(error, sa.exc.StatementError)
    state = sqlstate_of(origin)
    # 22 data, 23 constraint, 54 too large. If the driver refuses a value itself, there is no state.
    return state[:2] in ("22", "23", "54") or (not state and type(origin).__name__ in ("DataError", "ProgrammingError"))
