"""What PostgreSQL does to connections when it fails over: they are replaced within the call, and nobody restarts."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from gateway.core.wallet_verdict import Disposition
from gateway.errors import StoreUnavailable
from gateway.store.postgres_connection import PING_AFTER_S
from tests.evidence.wallet_factory import claim_of, soon
from tests.postgres_process import PostgresProcess
from tests.store.watched_postgres import Watch, Watched, default_logs, end_sessions, name_of, owner, watch
from tests.tcp_proxy import TcpProxy

__all__ = ["default_logs", "owner", "watch"]

BACK_WITHIN_S = 5.0


async def test_ended_sessions_are_not_noticed(watch: Watch, postgres_url: str, owner: Any) -> None:
    """pg_terminate_backend on every session: the next call succeeds on a new connection."""
    watched = await watch(postgres_url)
    assert Disposition.NEW is (await watched.store.claim(claim_of("a"), soon())).disposition
    await end_sessions(owner, postgres_url)
    assert Disposition.NEW is (await watched.store.claim(claim_of("b"), soon(3))).disposition
    assert watched.causes
    assert 0 == watched.changes


async def test_read_only_and_back(
    watch: Watch, postgres_url: str, owner: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sessions that cannot write are discarded. Nothing but the end of the fault is needed, and the health is true."""
    watched = await watch(postgres_url)
    await owner.execute(f"ALTER DATABASE {name_of(postgres_url)} SET default_transaction_read_only = on")
    await end_sessions(owner, postgres_url)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await watched.store.claim(claim_of("a"), soon(1))
    with pytest.raises(StoreUnavailable):
        await watched.store.check(soon(1))
    assert {"read_only"} <= set(watched.causes)
    assert 1 == watched.changes
    await owner.execute(f"ALTER DATABASE {name_of(postgres_url)} RESET default_transaction_read_only")
    began = time.monotonic()
    assert Disposition.NEW is (await watched.store.claim(claim_of("a"), soon(BACK_WITHIN_S))).disposition
    await watched.store.check(soon(1))
    assert time.monotonic() - began < BACK_WITHIN_S
    assert 2 == watched.changes
    assert 1 == capsys.readouterr().out.count("the store does not work")


async def test_a_session_that_becomes_read_only(watch: Watch, postgres_url: str) -> None:
    """An open session that turns read-only is discarded by the call that finds it, and the call succeeds."""
    watched = await watch(postgres_url)

    def turn(connection: sa.Connection, _now_us: int) -> None:
        connection.exec_driver_sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")

    await watched.database.write(turn, 5)
    assert Disposition.NEW is (await watched.store.claim(claim_of("a"), soon(3))).disposition
    await watched.database.write(turn, 5)
    await watched.store.check(soon(3))
    assert {"read_only"} == set(watched.causes)


async def test_a_column_added_under_prepared_statements(watch: Watch, postgres_url: str, owner: Any) -> None:
    """A newer gateway migrates: the older one's prepared statements stop working, and its calls do not."""
    watched = await watch(postgres_url)
    for n in range(6):
        await watched.store.claim(claim_of(f"a{n}"), soon())
    other = await asyncpg.connect(postgres_url)
    await other.execute("ALTER TABLE wallet_operations ALTER COLUMN attempt TYPE bigint")
    await other.close()
    for n in range(6):
        assert Disposition.NEW is (await watched.store.claim(claim_of(f"b{n}"), soon(3))).disposition
    assert 0 == watched.changes


async def test_no_free_connection(watch: Watch, postgres_url: str, owner: Any) -> None:
    """While the database takes no further session, a call waits; it succeeds once there is room."""
    watched = await watch(postgres_url)
    await owner.execute(f"ALTER DATABASE {name_of(postgres_url)} CONNECTION LIMIT 0")
    # A superuser may always connect: the limit needs an ordinary user.
    await owner.execute("DROP ROLE IF EXISTS limited")
    await owner.execute("CREATE ROLE limited LOGIN SUPERUSER")
    limited = Watched(postgres_url.replace("postgres@", "limited@"))
    await limited.store.start()
    await limited.store.claim(claim_of("a"), soon())
    await owner.execute("ALTER ROLE limited NOSUPERUSER")
    await end_sessions(owner, postgres_url)
    asyncio.get_running_loop().call_later(
        0.4, lambda: asyncio.ensure_future(owner.execute("ALTER ROLE limited SUPERUSER"))
    )
    assert Disposition.NEW is (await limited.store.claim(claim_of("b"), soon(4))).disposition
    assert "limit" in limited.causes
    await limited.store.stop()
    assert 0 == watched.changes


async def test_idle_flows_that_a_nat_forgot(watch: Watch, postgres_server: PostgresProcess, postgres_url: str) -> None:
    """Nothing comes back on connections that were idle: calls succeed in time, on new ones."""
    async with TcpProxy(postgres_server.port) as proxy:
        watched = await watch(proxy.url_of(postgres_url))
        await asyncio.gather(*(watched.store.check(soon()) for _ in range(4)))
        proxy.swallow_idle()
        await asyncio.sleep(PING_AFTER_S + 0.1)
        began = time.monotonic()
        results = await asyncio.gather(
            *(watched.store.claim(claim_of(f"a{n}"), soon(5)) for n in range(8)),
            *(watched.store.check(soon(5)) for _ in range(3)),
        )
        assert time.monotonic() - began < 4
        assert 8 == sum(result is not None and result.disposition is Disposition.NEW for result in results)


async def test_a_busy_connection_is_not_pinged(
    watch: Watch, postgres_server: PostgresProcess, postgres_url: str
) -> None:
    """Two round trips for a claim, and no third one to see whether the connection works."""
    async with TcpProxy(postgres_server.port) as proxy:
        watched = await watch(proxy.url_of(postgres_url))
        for n in range(5):
            await watched.store.claim(claim_of(f"a{n}"), soon())
        await asyncio.sleep(0.5)
        before = proxy.turns
        await watched.store.claim(claim_of("b"), soon())
        assert 2 == proxy.turns - before


async def test_connections_have_an_age(
    watch: Watch, postgres_server: PostgresProcess, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection in constant use is replaced, so that a host with a new address is found."""
    monkeypatch.setattr("gateway.store.postgres.MAX_AGE_S", 1)
    async with TcpProxy(postgres_server.port) as proxy:
        watched = await watch(proxy.url_of(postgres_url))
        before, until = proxy.opened, time.monotonic() + 3
        while time.monotonic() < until:
            await watched.store.check(soon())
            await asyncio.sleep(0.02)
        assert 2 <= proxy.opened - before <= 12
        assert [] == watched.causes


async def test_a_lost_commit_stays_in_doubt(watch: Watch, postgres_server: PostgresProcess, postgres_url: str) -> None:
    """The answer to COMMIT is lost, and every repeat certainly fails: the work may be committed all the same."""
    async with TcpProxy(postgres_server.port) as proxy:
        watched = await watch(proxy.url_of(postgres_url))
        runs = 0

        def work(_connection: sa.Connection, _now_us: int) -> None:
            nonlocal runs
            runs += 1
            if runs == 1:
                proxy.is_cut = True

        with pytest.raises(StoreUnavailable) as refused:
            await watched.database.write(work, 3)
        assert 1 == runs
        assert refused.value.may_be_committed


@pytest.mark.parametrize(
    ("state", "may_be_committed"), [("08006", True), ("57P01", True), ("40003", True), ("42501", False)]
)
async def test_an_error_of_the_connection_leaves_a_commit_in_doubt(
    watch: Watch, postgres_url: str, state: str, *, may_be_committed: bool
) -> None:
    """A pooler answers COMMIT with ERROR when the server's session ended. An error of the statement rolls back."""
    watched = await watch(postgres_url)
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(f"""
        CREATE TABLE refusing (id int);
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '{state}'; END $$;
        CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON refusing DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION refuse()""")
    await connection.close()
    with pytest.raises(StoreUnavailable) as refused:
        await watched.database.write(lambda opened, _: opened.exec_driver_sql("INSERT INTO refusing VALUES (1)"), 0.5)
    assert refused.value.may_be_committed is may_be_committed


async def test_a_full_disk_counts_although_reads_succeed(watch: Watch, postgres_url: str) -> None:
    """The next write that succeeds ends it."""

    def fill(connection: sa.Connection, _now_us: int) -> None:
        connection.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$")

    watched = await watch(postgres_url)
    with pytest.raises(StoreUnavailable):
        await watched.database.write(fill, 5.0)
    await watched.database.read(lambda connection, _now_us: connection.exec_driver_sql("SELECT 1").scalar_one(), 5.0)
    with pytest.raises(StoreUnavailable):
        await watched.database.check(5.0)
    assert watched.database.failure is not None
    assert watched.database.failure.cause == "disk_full"
    await watched.database.write(lambda connection, _now_us: None, 5.0)
    assert await watched.database.check(5.0)
    assert watched.database.failure is None
