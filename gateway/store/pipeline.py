"""Statements that go to the database together, so that a distant PostgreSQL is asked two or three times and not ten.

A statement without an answer is deferred: it leaves with the next statement that has one, or with the COMMIT. The
order of the statements stays the same, so the rules are the same on SQLite, where nothing is deferred. An error of a
deferred statement is raised by the statement that it left with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Generic, Protocol, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

T = TypeVar("T")
TIME_SETTING = "gateway.now_us"
"""PostgreSQL: a setting that ends with the transaction and holds its time."""
TIME_FUNCTION = "gateway_now_us"
"""SQLite: a function of the connection that returns it."""
STEADY_FUNCTION = "gateway_steady_us"
"""SQLite: the same for the time of leases. PostgreSQL has one time for both."""


class TimedDriver(Protocol):
    """What the driver's connection adds, on both databases."""

    def now_us(self) -> int:
        """Return the time of the transaction; on PostgreSQL it is asked for if that has not happened yet."""
        ...

    def steady_us(self) -> int:
        """Return the time of leases: the same on PostgreSQL; on SQLite see steady_time.py."""
        ...


class PipeliningDriver(TimedDriver, Protocol):
    """The driver's connection to PostgreSQL."""

    is_deferring: bool
    """While true, statements wait in place of being sent."""


class transaction_time(FunctionElement[int]):  # noqa: N801 - written like the function of SQL that it is
    """The time of the transaction in SQL, in microseconds. A statement with it can be sent before the time is known."""

    type = sa.BigInteger()
    inherit_cache = True
    name = "transaction_time"


class lease_time(FunctionElement[int]):  # noqa: N801 - as above
    """The time of the transaction for leases: it does not jump when the host's clock is set."""

    type = sa.BigInteger()
    inherit_cache = True
    name = "lease_time"


@compiles(transaction_time, "postgresql")
@compiles(lease_time, "postgresql")
def _time_of_postgresql(_element: Any, _compiler: Any, **_options: Any) -> str:
    return f"CAST(current_setting('{TIME_SETTING}') AS bigint)"


@compiles(transaction_time, "sqlite")
def _time_of_sqlite(_element: Any, _compiler: Any, **_options: Any) -> str:
    return f"{TIME_FUNCTION}()"


@compiles(lease_time, "sqlite")
def _steady_time_of_sqlite(_element: Any, _compiler: Any, **_options: Any) -> str:
    return f"{STEADY_FUNCTION}()"


class Pipelined(Generic[T]):
    """Work for `Database.write` that asks for the time itself (`now_us_of`), so that its first statements go out with
    the BEGIN.
    """

    def __init__(self, work: Callable[[sa.Connection], T]) -> None:
        self._work = work
        self.may_be_committed = False
        """Whether an earlier run may be committed, its answer being lost. Work that is not repeatable looks here."""

    def __call__(self, connection: sa.Connection, _now_us: int = 0) -> T:
        return self._work(connection)


def now_us_of(connection: sa.Connection) -> int:
    """Return the time of the transaction, in microseconds. Sends what is deferred if the time is not known yet."""
    return cast(TimedDriver, connection.connection.driver_connection).now_us()


def steady_us_of(connection: sa.Connection) -> int:
    """Return the time of the transaction for leases, in microseconds. Never stored as the time of a thing."""
    return cast(TimedDriver, connection.connection.driver_connection).steady_us()


def defer(
    connection: sa.Connection,
    statement: sa.Executable,
    parameters: dict[str, Any] | Sequence[dict[str, Any]] | None = None,
) -> None:
    """Execute a statement whose answer nobody needs: now, or together with the next one.

    An INSERT must be `inline()`: SQLAlchemy would otherwise ask for the key of the new row.
    """
    if connection.dialect.name != "postgresql":
        connection.execute(statement, parameters)
        return
    driver = cast(PipeliningDriver, connection.connection.driver_connection)
    driver.is_deferring = True
    try:
        connection.execute(statement, parameters)
    finally:
        driver.is_deferring = False


def defer_rows(connection: sa.Connection, insert: sa.Insert, rows: Sequence[dict[str, Any]]) -> None:
    """Execute an INSERT of rows that all have the same columns, as `defer` does.

    On SQLite the driver gets text and values: with SQLAlchemy, a row costs twice as much. `insert` must be made once,
    and no type of its columns may change a value on its way to the driver.
    """
    if connection.dialect.name != "sqlite":
        defer(connection, insert, rows)
        return
    text, names = _text_of(insert, connection.dialect, tuple(rows[0]))
    connection.exec_driver_sql(text, [tuple([row[name] for name in names]) for row in rows])


@lru_cache(maxsize=64)
def _text_of(insert: sa.Insert, dialect: sa.Dialect, columns: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return the INSERT as text for the driver, and the names of its parameters in order."""
    compiled = insert.compile(dialect=dialect, column_keys=list(columns))
    assert isinstance(compiled, SQLCompiler)
    return str(compiled), tuple(compiled.positiontup or ())
