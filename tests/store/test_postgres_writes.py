"""What crosses the network to PostgreSQL: whole pipelines, so that a lost connection cannot leave one begun."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from gateway.errors import StoreUnavailable
from gateway.store.pipeline import defer
from gateway.store.postgres import PostgresDatabase
from gateway.store.postgres_url import read_url
from tests.fixtures_postgres import postgres_server, postgres_url
from tests.tcp_proxy import TcpProxy

__all__ = ["postgres_server", "postgres_url"]

SYNC = b"S\x00\x00\x00\x04"
TERMINATE = b"X\0\0\0\x04"
"""The end of another connection."""
LIMIT_S = 20.0


@pytest.fixture
async def relay(postgres_url: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A URL that leads through a relay, and what the client has sent, as it was read."""
    target = int(read_url(postgres_url)["port"])
    sent: list[bytes] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: list[bytes] | None) -> None:
        while data := await reader.read(1 << 20):
            if kept is not None:
                kept.append(data)
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(copy(reader, far_writer, sent), copy(far_reader, writer, None))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield postgres_url.replace(f":{target}/", f":{port}/"), sent
    server.close()


async def test_statements_leave_together_with_their_end(relay: tuple[str, list[bytes]]) -> None:
    """A server that got statements without a Sync would wait for it, and hold their locks, without any limit."""
    url, sent = relay
    database = PostgresDatabase(url, connections=1)

    def work(connection: sa.Connection, _now_us: int) -> None:
        connection.exec_driver_sql("CREATE TEMPORARY TABLE IF NOT EXISTS numbers (number int)")
        for number in range(20):
            defer(connection, sa.text(f"INSERT INTO numbers VALUES ({number})"))
        connection.execute(sa.text("INSERT INTO numbers VALUES (:number)"), [{"number": one} for one in range(20)])
        connection.exec_driver_sql("SELECT count(*) FROM numbers")

    await database.write(work, LIMIT_S)
    while any(task.get_name() == "evidence-indexes" for task in asyncio.all_tasks()):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    for _ in range(4):  # from the fourth time on, the statements are prepared
        await database.write(work, LIMIT_S)
    before = len(sent)
    await database.write(work, LIMIT_S)
    assert len(sent) > before
    assert [data[-20:] for data in sent[before:] if not data.endswith(SYNC) and data != TERMINATE] == []
    await database.stop()


async def test_the_server_ends_a_transaction_of_a_connection_that_the_network_forgot(postgres_url: str) -> None:
    """At the limit of the transaction, and its locks with it."""
    async with TcpProxy(int(read_url(postgres_url)["port"])) as proxy:
        one = PostgresDatabase(proxy.url_of(postgres_url), connections=1)
        two = PostgresDatabase(postgres_url, connections=1)

        def lose_connection(connection: sa.Connection, _now_us: int) -> None:
            connection.exec_driver_sql("UPDATE held SET number = 1")
            proxy.swallow_idle()
            connection.exec_driver_sql("UPDATE held SET number = 2")

        def create(connection: sa.Connection, _now_us: int) -> None:
            connection.exec_driver_sql("CREATE TABLE held AS SELECT 0 AS number")

        def read(connection: sa.Connection, _now_us: int) -> int:
            return int(connection.exec_driver_sql("SELECT number FROM held FOR UPDATE").scalar_one())

        await two.write(create, LIMIT_S)
        with pytest.raises(StoreUnavailable):
            await one.write(lose_connection, 1.0)
        assert await two.write(read, LIMIT_S) == 0
        await one.stop()
        await two.stop()
