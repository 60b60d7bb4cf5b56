"""A transaction whose caller leaves ends soon, sends no further statement, and keeps its connection."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from gateway.errors import StoreUnavailable
from gateway.store.postgres import PostgresDatabase
from tests.fixtures_postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

LIMIT_S = 20.0


def session_of(connection: sa.Connection, _now_us: int) -> int:
    return int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


async def left_after_first_statement(database: PostgresDatabase) -> list[str]:
    """Leave a transaction while its first statement is on its way; return the statements that had an answer."""
    begun = asyncio.Event()
    answered: list[str] = []

    def work(connection: sa.Connection, _now_us: int) -> None:
        begun.set()
        for name in ("first", "second"):
            connection.exec_driver_sql("SELECT pg_sleep(0.3)")
            answered.append(name)

    call = asyncio.create_task(database.write(work, LIMIT_S))
    await begun.wait()
    call.cancel()
    await asyncio.wait({call})
    assert call.cancelled()
    return answered


async def test_the_connection_is_used_again(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that leaves does not cost a new session."""
    monkeypatch.setattr("gateway.store.postgres._END_WITHIN_S", 20.0)  # a busy machine
    database = PostgresDatabase(postgres_url, connections=1)
    before = await database.read(session_of, LIMIT_S)
    answered = await left_after_first_statement(database)
    assert await database.read(session_of, LIMIT_S) == before
    assert answered == ["first"]
    await database.stop()


async def test_a_caller_that_waits_for_a_connection_begins_nothing(postgres_url: str) -> None:
    """It leaves the line at once."""
    database = PostgresDatabase(postgres_url, connections=1)
    await database.read(session_of, LIMIT_S)
    begun: list[str] = []
    holding = asyncio.Event()

    def work(name: str, connection: sa.Connection) -> None:
        begun.append(name)
        holding.set()
        connection.exec_driver_sql("SELECT pg_sleep(0.2)")

    holds = asyncio.create_task(database.read(lambda connection, _now: work("holds", connection), LIMIT_S))
    await holding.wait()
    waits = asyncio.create_task(database.read(lambda connection, _now: work("waits", connection), LIMIT_S))
    await asyncio.sleep(0)
    waits.cancel()
    await holds
    await database.read(session_of, LIMIT_S)
    assert begun == ["holds"]
    await database.stop()


async def test_a_limit_that_passes(postgres_url: str) -> None:
    """The caller hears it at its limit; the server ends the statement, and the session goes on."""
    database = PostgresDatabase(postgres_url, connections=1)
    before = await database.read(session_of, LIMIT_S)
    with pytest.raises(StoreUnavailable):
        await database.read(lambda connection, _now: connection.exec_driver_sql("SELECT pg_sleep(30)"), 0.3)
    assert await database.read(session_of, LIMIT_S) == before
    await database.stop()
