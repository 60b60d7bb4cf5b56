"""One connection to PostgreSQL: statements wait for each other and cross the network together.

It keeps no session state, so that it works behind PgBouncer in transaction mode: settings and locks end with their
transaction, and named prepared statements are used only where the server itself answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg import pq, waiting

from gateway.store.failures import DatabaseUnusable, failure_of
from gateway.store.outdated_sessions import each_host, end_if_outdated

if TYPE_CHECKING:
    from psycopg.abc import Params, PQGen

T = TypeVar("T")
PREPARE_AFTER = 3
"""How often a statement runs before it gets a name: its text is parsed and planned once."""
PING_AFTER_S = 2.0
"""A connection that was used more recently is not asked whether it still works."""
PING_WITHIN_S = 1.0
_ROLLBACK_WITHIN_S = 1.0
_LOOK_EVERY_S = 5.0
"""psycopg wakes up this often while it waits for the socket."""
_ABOUT = (
    "SELECT pg_backend_pid(), current_setting('transaction_read_only') = 'on', pg_is_in_recovery(),"
    " current_setting('server_encoding')"
)


class ReadOnlySession(psycopg.OperationalError):
    """A new session that cannot write: the server is a standby, or was set to read-only."""

    sqlstate = "25006"

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class CommitRefused(psycopg.OperationalError):
    """COMMIT was answered by ROLLBACK: nothing was committed."""

    sqlstate = "25P02"


class CallerLeft(Exception):
    """Nobody waits for the transaction any more: it sends nothing further."""


class PostgresConnection(psycopg.AsyncConnection[Any]):
    """A connection in autocommit mode. The transactions of postgres.py send BEGIN and COMMIT as statements."""

    def __init__(self, pgconn: pq.abc.PGconn, *arguments: Any, **options: Any) -> None:
        super().__init__(pgconn, *arguments, **options)
        self.cursor_factory = _Cursor
        self.is_deferring = False
        self.is_left = False
        """Whether the caller of the present transaction has left."""
        self.is_pooled = False
        """Whether a pooler answers in place of the server, so that the session may change with each transaction."""
        self.opened_at = self.used_at = time.monotonic()
        self.source: object = None
        """The parameters it was opened with."""
        self._waiting: list[tuple[_Cursor, Any, Any, bool]] = []
        self._timed: _Cursor | None = None
        self._now_us: int | None = None

    def queue(self, query: str, parameters: Mapping[str, Any] | None = None, *, tells_time: bool = False) -> None:
        """Send a statement with the next one. Args: `tells_time`: its last column is the transaction's time."""
        cursor = _Cursor(self)
        self._waiting.append((cursor, query, parameters, False))
        if tells_time:
            self._timed, self._now_us = cursor, None

    def wait_with(self, cursor: _Cursor, query: Any, parameters: Any, *, many: bool) -> None:
        """Keep a statement of SQLAlchemy's until the next one that has an answer."""
        self._waiting.append((cursor, query, parameters, many))

    async def flush(self) -> None:
        """Send what waits, in one go, and wait for the answers. The last statement may have one itself.

        Raises: CallerLeft, with nothing sent.
        """
        if self.is_left:
            raise CallerLeft
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._pipeline = _WholePipeline(self)
            async with self.pipeline():
                for cursor, query, parameters, many in waiting:
                    await cursor.send(query, parameters, many=many)
            self.used_at = time.monotonic()

    def now_us(self) -> int:
        """Return the transaction's time; ask for it if that has not happened yet. Call it where SQLAlchemy may wait."""
        if self._now_us is None:
            if self._waiting:
                sa.util.await_only(self.flush())
            assert self._timed is not None
            row = sa.util.await_only(self._timed.fetchone())
            assert row is not None
            self._now_us = int(row[-1])
        return self._now_us

    def steady_us(self) -> int:
        """Return the time of leases: that of the database, as `now_us`."""
        return self.now_us()

    async def commit_all(self) -> None:
        """Send what waits, and COMMIT. Raises: CommitRefused if the server rolled back."""
        cursor = _Cursor(self)
        self._waiting.append((cursor, "COMMIT", None, False))
        await self.flush()
        if cursor.statusmessage != "COMMIT":
            raise CommitRefused("COMMIT was answered by ROLLBACK")

    async def roll_back(self) -> bool:
        """End the transaction and forget what waits. Return whether the connection can be used again."""
        self._waiting.clear()
        try:
            async with asyncio.timeout(_ROLLBACK_WITHIN_S):
                await self.rollback()
        except (psycopg.Error, OSError, TimeoutError):
            return False
        return self.info.transaction_status is pq.TransactionStatus.IDLE

    async def works(self) -> bool:
        """Tell whether the server still answers."""
        try:
            async with asyncio.timeout(PING_WITHIN_S):
                await self.execute("SELECT 1")
        except (psycopg.Error, OSError, TimeoutError):
            return False
        self.used_at = time.monotonic()
        return True

    async def wait(self, gen: PQGen[T], interval: float = _LOOK_EVERY_S, *arguments: Any, **options: Any) -> T:
        """Wait as psycopg does, but close the connection when cancelled.

        psycopg would ask the server to cancel the statement, and wait for a server that may never answer. Here the
        server's own timeout ends it.
        """
        try:
            return await waiting.wait_async(gen, self.pgconn.socket, interval, *arguments, **options)
        except asyncio.CancelledError:
            self.pgconn.finish()
            raise

    @classmethod
    async def open(cls, parameters: Mapping[str, str]) -> Self:
        """Connect, and look at what answers. Raises: psycopg.Error, OSError, DatabaseUnusable."""
        try:
            connection = await cls.connect(**parameters, autocommit=True, prepare_threshold=None)  # type: ignore[arg-type]
        except psycopg.OperationalError as error:
            if "target_session_attrs" not in parameters or failure_of(error).cause != "read_only":
                raise
            connection = await cls._open_any(parameters)
            connection.source = parameters
            return connection
        try:
            cursor = await connection.execute(_ABOUT)
            row = await cursor.fetchone()
            assert row is not None
            pid, is_read_only, is_standby, encoding = row
            if encoding != "UTF8":
                raise DatabaseUnusable(
                    "encoding",
                    f"the database has the encoding {encoding}; the gateway needs UTF8",
                    "create a database with ENCODING 'UTF8' TEMPLATE template0",
                )
            connection.is_pooled = pid != connection.info.backend_pid
            if is_read_only:
                if connection.is_pooled and not is_standby:
                    await end_if_outdated(connection)
                raise ReadOnlySession("it is a standby" if is_standby else "default_transaction_read_only is on")
        except BaseException:
            connection.pgconn.finish()
            raise
        connection.prepare_threshold = None if connection.is_pooled else PREPARE_AFTER
        connection.source = parameters
        return connection

    @classmethod
    async def _open_any(cls, parameters: Mapping[str, str]) -> Self:
        """Connect to the first host that can write as it says itself: libpq may have believed a pooler."""
        hosts = list(each_host(parameters))
        for one in hosts[:-1]:
            try:
                return await cls.open(one)
            except (psycopg.Error, OSError):
                continue
        return await cls.open(hosts[-1])


class _WholePipeline(psycopg.AsyncPipeline):
    """Sends all its statements and the Sync in one write, and nothing after it.

    The server's limit for idle transactions applies from a Sync until the next message. psycopg writes each statement
    by itself, and a Flush after the Sync. A connection that the network forgets in between, or afterwards, keeps its
    locks until TCP notices, after two hours.
    """

    _is_whole = False

    def _enqueue_sync(self) -> None:
        self._is_whole = True
        super()._enqueue_sync()

    def _communicate_gen(self) -> PQGen[None]:
        if self._is_whole:
            while self.command_queue:
                self.command_queue.popleft()()
            yield from super()._communicate_gen()

    def _fetch_gen(self, *, flush: bool) -> PQGen[None]:
        yield from super()._fetch_gen(flush=flush and not self._is_whole)  # the Sync brings all answers


class _Cursor(psycopg.AsyncCursor[Any]):
    """Sends its statement together with those that wait on the connection."""

    _connection: PostgresConnection

    def __init__(self, connection: PostgresConnection, **options: Any) -> None:
        super().__init__(connection, **options)
        self._pipelining = connection

    async def execute(self, query: Any, params: Params | None = None, **options: Any) -> Self:
        await self._run(query, params, many=False)
        return self

    async def executemany(self, query: Any, params_seq: Iterable[Params], **options: Any) -> None:
        await self._run(query, list(params_seq), many=True)

    async def _run(self, query: Any, parameters: Any, *, many: bool) -> None:
        connection = self._pipelining
        if connection.is_deferring:  # on a cursor of its own: SQLAlchemy closes this one at once
            connection.wait_with(_Cursor(connection), query, parameters, many=many)
        else:
            connection.wait_with(self, query, parameters, many=many)
            await connection.flush()

    async def send(self, query: Any, parameters: Any, *, many: bool) -> None:
        """Send the statement itself. The connection calls it inside its pipeline."""
        if many:
            await super().executemany(query, parameters)
        else:
            await super().execute(query, parameters)
