"""Behind a real PgBouncer with its defaults: session and transaction mode."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress

import asyncpg
import pytest
import sqlalchemy as sa

from gateway.core.wallet_operation import same_move
from gateway.core.wallet_verdict import Disposition
from gateway.errors import StoreUnavailable
from gateway.evidence.durable import DurableWalletStore
from gateway.evidence.record import ClaimResult
from gateway.outbox.store import EventQueue
from gateway.store.failures import DatabaseUnusable
from gateway.store.postgres import PostgresDatabase
from tests.evidence.chain.chain_setup import sequencer
from tests.evidence.wallet_factory import claim_of, outcome_of, soon
from tests.manual_clock import ManualClock
from tests.outbox.event_factory import admit, delivered, new_event, settle, take
from tests.pgbouncer_process import PgBouncerMissing, PgBouncerProcess
from tests.ports import free_port
from tests.postgres_process import PostgresProcess


@pytest.fixture(params=["session", "transaction"])
def pgbouncer(request: pytest.FixtureRequest, postgres_server: PostgresProcess) -> Iterator[PgBouncerProcess]:
    try:
        process = PgBouncerProcess(postgres_server, request.param)
    except PgBouncerMissing as missing:
        pytest.skip(str(missing))
    with process:
        yield process


async def test_two_gateways_behind_it(pgbouncer: PgBouncerProcess, postgres_url: str, clock: ManualClock) -> None:
    """Claims, outcomes, the chain and durable events, from two gateways that share few server connections."""
    url = pgbouncer.url_of(postgres_url)
    databases = [PostgresDatabase(url), PostgresDatabase(url)]
    stores = [DurableWalletStore(database, same_move=same_move) for database in databases]
    for store in stores:
        await store.start()
        await store.check(soon())
    keys = [f"key-{n}" for n in range(12)]
    claimed: list[ClaimResult] = []
    for _ in range(4):  # often enough that statements would get names
        claimed = await asyncio.gather(*(store.claim(claim_of(key), soon()) for key in keys for store in stores))
    assert 12 == len({result.operation_id for result in claimed})
    assert {Disposition.IN_PROGRESS} == {result.disposition for result in claimed}
    await asyncio.gather(*(stores[0].record_outcome(outcome_of(one.operation_id), soon()) for one in claimed[::2]))
    assert Disposition.REPLAY is (await stores[1].claim(claim_of("key-3"), soon())).disposition
    assert await sequencer(databases[1], clock).step()
    queues = [EventQueue(database) for database in databases]
    for queue in queues:
        queue.start()
    for n in range(6):
        await asyncio.gather(*(admit(queue, new_event(f"e{n}", f"u{n}")) for queue in queues))
    lease_id, taken = await take(queues[0])
    assert 6 == len(taken.events)
    assert 6 == await settle(queues[0], lease_id, *[delivered(event) for event in taken.events])
    for queue in queues:
        await queue.stop()
    for store in stores:
        await store.stop()


async def test_no_session_is_left_changed(pgbouncer: PgBouncerProcess, postgres_url: str) -> None:
    """What a transaction sets or locks ends with it: the next client finds its own defaults."""
    database = PostgresDatabase(pgbouncer.url_of(postgres_url))
    await database.write(lambda _connection, _now: None, 20)

    def left(connection: sa.Connection, _now_us: int) -> tuple[object, ...]:
        connection.exec_driver_sql("COMMIT")
        found = connection.exec_driver_sql(
            "SELECT current_setting('statement_timeout'), current_setting('enable_seqscan'), current_setting('jit'),"
            " (SELECT count(*) FROM pg_prepared_statements),"
            " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())"
        ).one()
        connection.exec_driver_sql("BEGIN")
        return tuple(found)

    assert ("0", "on", "on", 0, 0) == await database.write(left, 10)
    await database.stop()


async def test_a_parameter_that_it_refuses_is_named(pgbouncer: PgBouncerProcess, postgres_url: str) -> None:
    """`options` in the URL: no start, and the cause says PgBouncer."""
    database = PostgresDatabase(pgbouncer.url_of(postgres_url) + "?options=-c%20geqo%3Doff")
    with pytest.raises(DatabaseUnusable, match="PgBouncer"):
        await database.check_usable(5)
    await database.stop()


@pytest.mark.parametrize("options", ["?target_session_attrs=read-write", "?target_session_attrs=primary", "two hosts"])
async def test_what_a_pooler_says_of_its_first_session_is_not_believed(
    pgbouncer: PgBouncerProcess, postgres_server: PostgresProcess, postgres_url: str, options: str
) -> None:
    """PgBouncer began while the database was read-only. libpq refuses every session of it from then on."""
    owner = await asyncpg.connect(postgres_server.url)
    name = postgres_url.rpartition("/")[2]
    await owner.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    place = f"127.0.0.1:{pgbouncer.port}"
    both = {"two hosts": f"127.0.0.1:{free_port()},{place}"}
    url = pgbouncer.url_of(postgres_url).replace(place, both.get(options, place)) + options.removeprefix("two hosts")
    database = PostgresDatabase(url)
    with pytest.raises(StoreUnavailable):
        await database.write(lambda _connection, _now: None, 2)
    failure = database.failure
    assert failure is not None
    assert failure.cause == "read_only"
    await owner.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    until = time.monotonic() + 5
    while database.failure is not None:
        assert time.monotonic() < until
        with suppress(StoreUnavailable):
            await database.write(lambda _connection, _now: None, 5)
        await asyncio.sleep(0.05)
    await database.stop()
    await owner.close()


async def test_sessions_that_stay_read_only_are_dropped(
    pgbouncer: PgBouncerProcess, postgres_server: PostgresProcess, postgres_url: str
) -> None:
    """PgBouncer keeps them for an hour after the fault is over. While it lasts, none is ended in vain."""
    owner = await asyncpg.connect(postgres_server.url)
    name = postgres_url.rpartition("/")[2]
    database = PostgresDatabase(pgbouncer.url_of(postgres_url))

    def write(connection: sa.Connection, _now_us: int) -> None:
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS written (number int)")
        connection.exec_driver_sql("INSERT INTO written VALUES (1)")

    async def sessions() -> set[int]:
        rows = await owner.fetch("SELECT pid FROM pg_stat_activity WHERE datname = $1", name)
        return {row["pid"] for row in rows}

    await database.write(write, 20)
    while any(task.get_name() == "evidence-indexes" for task in asyncio.all_tasks()):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await owner.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await asyncio.gather(*(database.write(write, 1) for _ in range(3)))
    kept = await sessions()
    with pytest.raises(StoreUnavailable):
        await database.write(write, 1)
    assert kept
    assert kept <= await sessions()
    await owner.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    await asyncio.gather(*(database.write(write, 5) for _ in range(3)))
    assert not kept & await sessions()
    await database.stop()
    await owner.close()


async def test_a_missing_index_is_built(
    pgbouncer: PgBouncerProcess, postgres_server: PostgresProcess, postgres_url: str
) -> None:
    """Beside the traffic, although no session keeps a lock; nothing is left locked."""
    url = pgbouncer.url_of(postgres_url)
    first = PostgresDatabase(url)
    await first.write(lambda _connection, _now: None, 20)
    await first.stop()
    other = await asyncpg.connect(postgres_url)
    await other.execute("DROP INDEX ix_wallet_operations_received")
    databases = [PostgresDatabase(url), PostgresDatabase(url)]
    for database in databases:
        await database.write(lambda _connection, _now: None, 20)
    until = time.monotonic() + 20
    while not await other.fetchval("SELECT to_regclass('ix_wallet_operations_received') IS NOT NULL"):
        assert time.monotonic() < until
        await asyncio.sleep(0.05)
    for database in databases:
        await database.stop()
    assert 0 == await other.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
    await other.close()
