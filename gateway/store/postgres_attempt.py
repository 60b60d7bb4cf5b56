"""One attempt of a transaction on one connection to PostgreSQL: its first statements, its end, and what an error means.

BEGIN, the limits, the lock and the time travel with the first statement of the work, and the last ones with the COMMIT.
All settings end with the transaction: behind a pooler the session is not ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import sqlalchemy as sa

from gateway.store.database import T, Work
from gateway.store.failures import DatabaseUnusable, origin_of, sqlstate_of
from gateway.store.pipeline import TIME_SETTING, Pipelined

if TYPE_CHECKING:
    from gateway.store.postgres_connection import PostgresConnection

# An advisory lock of this application: a fixed number that no other application uses.
_WRITE_LOCK = 0x5067_7765_7602
UNDONE = frozenset({"40P01", "40001"})
"""The server rolled the transaction back and the connection works: run it again. Deadlock, serialization failure."""
_QUERY_CANCELED = "57014"
"""The limit at the server passed: the transaction is rolled back and the connection works."""
_OUTCOME_UNKNOWN = ("08", "57P0", "40003")
"""The connection failed, the session ended, and "statement completion unknown"."""

BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
# Every query here has an index. A cached plan from when the tables were empty would always read whole tables, and jit
# would compile it.
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
SHARED_LOCK = f"SELECT pg_advisory_xact_lock_shared({_WRITE_LOCK}), {_NOW}"
EXCLUSIVE_LOCK = f"SELECT pg_advisory_xact_lock({_WRITE_LOCK}), {_NOW}"
READ = f"SELECT {_NOW}"
_SET_TIME = f"SELECT set_config('{TIME_SETTING}', %(now_us)s, true)"

Opening = Callable[["PostgresConnection"], None]
"""Queues the first statements of a transaction."""


def open_transaction(driver: PostgresConnection, first: str, until: float, now_us: int | None = None) -> None:
    """Queue the first statements. Args: `first`: READ or a lock; `until`: the limit at the server, monotonic; `now_us`:
    the time of the transaction in place of the server's.
    """
    driver.queue(BEGIN)
    driver.queue(_BOUND, {"limit_ms": str(max(1, int((until - time.monotonic()) * 1000)))})
    driver.queue(first, tells_time=True)
    if now_us is not None:
        driver.queue(_SET_TIME, {"now_us": str(now_us)}, tells_time=True)


class Attempt:
    """One run of a transaction on one connection."""

    def __init__(self, opening: Opening) -> None:
        """Args: `opening`: queues its first statements."""
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
                is_data_error(error) or sqlstate_of(error) in UNDONE | {_QUERY_CANCELED}
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


def is_data_error(error: Exception) -> bool:
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
