"""SQLite in one file: for one machine with one or more processes.

WAL with synchronous=FULL: a commit is on disk before it is acknowledged. A process writes with one thread and one
connection, and reads with another thread and connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from gateway.errors import StoreUnavailable
from gateway.resilience.atomic_file import sync_folder
from gateway.resilience.clock import Clock
from gateway.resilience.worker_thread import WorkerEnded, WorkerThread
from gateway.store.database import T, Work
from gateway.store.failures import Failure, file_failure_of, origin_of
from gateway.store.migrate import is_current, migrate
from gateway.store.pipeline import STEADY_FUNCTION, TIME_FUNCTION
from gateway.store.state import StoreState
from gateway.store.steady_time import SteadyTime, boot_id
from gateway.telemetry.spans import DATABASE, child

_STOP_WITHIN_S = 2.0
_REPEAT_AFTER_S = 0.01
_TRIAL_BYTES = 64 * 1024
_LITTLE_SPACE_BYTES = 1024 * 1024
# fullfsync: on macOS, only this flushes the disk itself; no effect elsewhere. temp_store: a statement that changes
# many pages keeps a journal, by default as a file in /tmp: evidence outside its folder, on a disk that may be full.
_PRAGMAS = ("synchronous=FULL", "fullfsync=ON", "checkpoint_fullfsync=ON", "temp_store=MEMORY")
_Identity = tuple[int, int]
_READ = {"db.system.name": "sqlite", "db.operation.name": "read"}
_WRITE = {"db.system.name": "sqlite", "db.operation.name": "write"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """A connection and its write-ahead log. SQLite removes the log when the last connection closes."""

    connection: sa.Connection
    log: _Identity


class _Connection(sqlite3.Connection):
    """Knows the times of its transaction (see pipeline.py)."""

    time_us = 0
    lease_time_us = 0

    def now_us(self) -> int:
        return self.time_us

    def steady_us(self) -> int:
        return self.lease_time_us


class SqliteDatabase:
    """The file and its `-wal` file. If one is removed or replaced while open, nothing is acknowledged until a restart,
    because SQLite's writes to a removed file are lost.
    """

    def __init__(self, path: Path, clock: Clock, *, state: StoreState | None = None, boot: str | None = None) -> None:
        """Args: `boot`: see steady_time.py; None: that of this host."""
        self._path = path
        self._state = state or StoreState("sqlite")
        self._log = path.with_name(path.name + "-wal")
        self._clock = clock
        self._steady = SteadyTime(clock, boot_id() if boot is None else boot)
        self._writer = WorkerThread("evidence-writer")
        self._reader = WorkerThread("evidence-reader")
        self._engine = sa.create_engine("sqlite://", creator=self._connect, poolclass=sa.NullPool, hide_parameters=True)
        sa.event.listen(self._engine, "begin", _begin)
        self._writing: _Open | None = None
        self._reading: _Open | None = None
        self._file: _Identity | None = None
        self._migrated = False

    @property
    def system(self) -> str:
        """sqlite."""
        return "sqlite"

    @property
    def has_many_writers(self) -> bool:
        """False: one at a time."""
        return False

    @property
    def failure(self) -> Failure | None:
        """Why it does not work; None while it works."""
        return self._state.failure

    @property
    def clock_ahead_s(self) -> float | None:
        """None: a file has no clock."""
        return None

    async def write(self, work: Work[T], limit_s: float, *, exclusive: bool = False) -> T:
        """Run `work` in BEGIN IMMEDIATE. SQLite has one writer at a time, so every write is exclusive."""
        until = time.monotonic() + limit_s
        try:
            with child(DATABASE, attributes=_WRITE):
                result = await self._writer.run(lambda: self._write(work, until))
        except WorkerEnded as ended:
            raise StoreUnavailable from ended
        except StoreUnavailable as unavailable:
            self._failed(unavailable)
            raise
        self._state.works()
        return result

    async def read(self, work: Work[T], limit_s: float) -> T:
        """Run `work` on the newest commit, concurrently with a writer."""
        if not self._migrated:
            await self.write(lambda _connection, _now: None, limit_s)
        until = time.monotonic() + limit_s
        try:
            with child(DATABASE, attributes=_READ):
                async with asyncio.timeout(limit_s):
                    return await self._reader.run(lambda: self._read(work, until))
        except StoreUnavailable as unavailable:
            self._failed(unavailable)
            raise
        except TimeoutError:
            raise StoreUnavailable("The gateway's store did not answer within the deadline.") from None
        except WorkerEnded as ended:
            raise StoreUnavailable from ended

    async def check_usable(self, _limit_s: float) -> None:
        """Do nothing: upgrade.py has looked at the file."""

    async def check(self, limit_s: float) -> bool:
        """Return whether the schema is up to date. Raises: StoreUnavailable, also while nothing can be written.

        It writes only if a write failed before, or the disk is nearly full: an idle gateway does not wear a disk out.
        """
        if self.failure is not None or _is_nearly_full(self._path.parent):
            await self.write(self._try_write, limit_s)
        return await self.read(lambda connection, _now: is_current(connection), limit_s)

    def on_change(self, notice: Callable[[], None]) -> None:
        """Call `notice` whenever the file stops or begins to work."""
        self._state.on_change = notice

    async def stop(self) -> None:
        """Close both connections. A thread that hangs in disk I/O is left running."""

        def close_writer() -> None:
            _close(self._writing)
            self._writing = None

        def close_reader() -> None:
            _close(self._reading)
            self._reading = None

        for thread, close in ((self._reader, close_reader), (self._writer, close_writer)):
            try:
                async with asyncio.timeout(_STOP_WITHIN_S):
                    await thread.run(close)
            except (TimeoutError, WorkerEnded):
                pass
            await thread.stop(_STOP_WITHIN_S)

    def _failed(self, unavailable: StoreUnavailable) -> None:
        failure = file_failure_of(unavailable.__cause__ or unavailable)
        self._state.counted(failure)
        self._state.failed(failure, address=self._path.name)

    def _try_write(self, connection: sa.Connection, _now_us: int) -> None:
        """Write to the disk, and to the SQLite file: its first page, unchanged. Raises: OSError."""
        if (trouble := self._trouble_of_disk()) is not None:
            raise trouble
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        connection.exec_driver_sql(f"PRAGMA user_version={int(version)}")

    def _trouble_of_disk(self) -> OSError | None:
        """Write a file as large as a batch of operations. Return why that fails: SQLite does not tell a quota."""
        trial = self._path.with_name(f"{self._path.name}-trial-{os.getpid()}")
        try:
            with trial.open("wb", buffering=0) as file:
                if file.write(bytes(_TRIAL_BYTES)) < _TRIAL_BYTES:
                    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
        except OSError as error:
            return error
        finally:
            with contextlib.suppress(OSError):
                trial.unlink()
        return None

    def _write(self, work: Work[T], until: float) -> T:
        is_done = False  # the commit follows
        try:
            if self._writing is None:
                self._create_file()
                self._writing = self._opened(until, reads=False)
            connection = self._writing.connection
            self._check_files(self._writing)
            _wait_for_lock(connection, until)
            with connection.begin():
                if not self._migrated and not is_current(connection):
                    migrate(connection)
                self._steady.agree(connection)
                result = work(connection, self._begun(connection))
                is_done = True
            self._migrated = True
            self._steady.agreed()
            self._check_files(self._writing)
        except BaseException as error:
            _close(self._writing)
            self._writing = None
            if isinstance(error, sa.exc.DBAPIError | sqlite3.Error | OSError) and not _is_data_error(error):
                is_vague = getattr(origin_of(error), "sqlite_errorname", "").startswith("SQLITE_IOERR")
                cause = (self._trouble_of_disk() if is_vague else None) or error
                raise StoreUnavailable(may_be_committed=is_done) from cause
            raise
        return result

    def _read(self, work: Work[T], until: float) -> T:
        try:
            if self._reading is None:
                self._reading = self._opened(until, reads=True)
            self._check_files(self._reading)
            _wait_for_lock(self._reading.connection, until)
            with self._reading.connection.begin():
                return work(self._reading.connection, self._begun(self._reading.connection))
        except (sa.exc.DBAPIError, sqlite3.Error, OSError) as error:
            _close(self._reading)
            self._reading = None
            raise StoreUnavailable from error

    def _begun(self, connection: sa.Connection) -> int:
        """Set the times of a transaction, and return that of the day."""
        driver = _driver(connection)
        driver.time_us = round(self._clock.now() * 1_000_000)
        driver.lease_time_us = self._steady.now_us()
        return driver.time_us

    def _create_file(self) -> None:
        """Create the file with access for its owner only: it contains players' data."""
        if self._file is not None:
            return  # a file that disappeared is never created again: it had the record of the moves that were made
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            pass
        else:
            sync_folder(self._path.parent)

    def _check_files(self, opened: _Open) -> None:
        """Raise OSError unless the file and its log are still the opened ones."""
        if _identity(self._path) != self._file or _identity(self._log) != opened.log:
            raise FileNotFoundError("the database file was replaced while it was open; restart the gateway")

    def _connect(self) -> sqlite3.Connection:
        # isolation_level None: this module sends BEGIN and COMMIT itself.
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=0, factory=_Connection
        )
        connection.create_function(TIME_FUNCTION, 0, connection.now_us)
        connection.create_function(STEADY_FUNCTION, 0, connection.steady_us)
        return connection

    def _opened(self, until: float, *, reads: bool) -> _Open:
        if self._file is not None and _identity(self._path) != self._file:
            raise FileNotFoundError("the database file was replaced while it was open; restart the gateway")
        connection = self._engine.connect().execution_options(evidence_reads=reads)
        try:
            driver = _driver(connection)
            while True:
                # The change to WAL needs exclusive access and does not always wait when it is refused.
                _wait_for_lock(connection, until)
                try:
                    if driver.execute("PRAGMA journal_mode=WAL").fetchone() != ("wal",):
                        raise OSError("the file system does not support SQLite's WAL; use a local disk")
                    for pragma in _PRAGMAS:
                        driver.execute(f"PRAGMA {pragma}")
                    driver.execute("SELECT count(*) FROM sqlite_master").fetchone()  # creates the log file
                    break
                except sqlite3.OperationalError as error:
                    if not _is_busy(error) or time.monotonic() + _REPEAT_AFTER_S > until:
                        raise
                time.sleep(_REPEAT_AFTER_S)
            if reads:
                driver.execute("PRAGMA query_only=ON")
            self._file = self._file or _identity(self._path)
            return _Open(connection=connection, log=_identity(self._log))
        except BaseException:
            connection.close()
            raise


def _is_nearly_full(folder: Path) -> bool:
    try:
        status = os.statvfs(folder)
    except OSError:
        return False  # the transaction finds out
    return status.f_bavail * status.f_frsize < _LITTLE_SPACE_BYTES


def _begin(connection: sa.Connection) -> None:
    reads = connection.get_execution_options()["evidence_reads"]
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _wait_for_lock(connection: sa.Connection, until: float) -> None:
    remaining_ms = max(1, int((until - time.monotonic()) * 1000))
    _driver(connection).execute(f"PRAGMA busy_timeout={remaining_ms}")


def _driver(connection: sa.Connection) -> _Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, _Connection)
    return driver


def _close(opened: _Open | None) -> None:
    if opened is not None:
        try:
            opened.connection.close()
        except (sa.exc.SQLAlchemyError, sqlite3.Error):
            pass  # the connection is broken and is discarded


def _identity(path: Path) -> _Identity:
    found = path.stat()
    return (found.st_dev, found.st_ino)


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _is_data_error(error: BaseException) -> bool:
    """Tell whether an operation's data caused the error, while the database works."""
    return isinstance(error, sa.exc.DataError | sa.exc.IntegrityError | sa.exc.InterfaceError | sa.exc.ProgrammingError)
