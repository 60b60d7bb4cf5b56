"""What PostgreSQL does to connections when it fails over: they are replaced within the call, and nobody restarts."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from gateway.core.wallet_operation import same_move
from gateway.core.wallet_verdict import Disposition
from gateway.errors import StoreUnavailable
from gateway.evidence.durable import DurableWalletStore
from gateway.store.failures import CAUSES, DatabaseUnusable
from gateway.store.postgres import PostgresDatabase
from gateway.store.postgres_connection import PING_AFTER_S
from gateway.store.state import StoreState
from gateway.telemetry import logs
from gateway.telemetry.label_values import STORE_FAILURE_CAUSES
from tests.evidence.wallet_factory import claim_of, soon
from tests.postgres_process import PostgresProcess, free_port
from tests.tcp_proxy import TcpProxy

BACK_WITHIN_S = 5.0


class Watched:
    """A store with what it counted."""

    def __init__(self, url: str) -> None:
        self.causes: list[str] = []
        self.changes = 0
        self.database = PostgresDatabase(url, state=StoreState("postgresql", on_failure=self.causes.append))
        self.database.on_change(self._changed)
        self.store = DurableWalletStore(self.database, same_move=same_move)

    def _changed(self) -> None:
        self.changes += 1


Watch = Callable[[str], Awaitable[Watched]]


@pytest.fixture
async def watch() -> AsyncIterator[Watch]:
    """Opens stores that work."""
    opened: list[Watched] = []

    async def open_store(url: str) -> Watched:
        watched = Watched(url)
        opened.append(watched)
        await watched.store.start()
        await watched.store.check(soon())
        while any(task.get_name() == "evidence-indexes" for task in asyncio.all_tasks()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return watched

    yield open_store
    for watched in opened:
        await watched.store.stop()


@pytest.fixture
async def owner(postgres_server: PostgresProcess) -> AsyncIterator[Any]:
    """A session of the server's owner in another database."""
    connection = await asyncpg.connect(postgres_server.url)
    yield connection
    await connection.close()


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


async def end_sessions(owner: Any, url: str) -> None:
    await owner.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()",
        name_of(url),
    )


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


async def test_new_connections_use_the_new_url(
    watch: Watch, postgres_server: PostgresProcess, postgres_url: str
) -> None:
    """When `use_url` is done every call goes there, without a failed call."""
    async with TcpProxy(postgres_server.port) as old, TcpProxy(postgres_server.port) as new:
        watched = await watch(old.url_of(postgres_url))
        await watched.database.use_url(new.url_of(postgres_url))
        before = old.turns
        for n in range(5):
            await watched.store.claim(claim_of(f"a{n}"), soon())
        assert new.opened
        assert old.turns - before <= 2  # the goodbyes
        assert [] == watched.causes


async def test_a_new_url_that_does_not_work_yet_leaves_the_known_one_in_use(
    watch: Watch, postgres_url: str, owner: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Secret is replaced before its database takes it, or by a mistake, and back: no call fails. The log says why."""
    monkeypatch.setattr("gateway.store.postgres_url_change.RETRY_S", 0.05)
    logs.configure("info", "json")
    watched = await watch(postgres_url)
    role = f"late_{time.monotonic_ns()}"
    late = postgres_url.replace("postgres@", f"{role}@")
    changing = watched.database.use_url(late)
    for n in range(5):
        await watched.store.claim(claim_of(f"a{n}"), soon())
        await asyncio.sleep(0.05)
    assert not changing.done()
    assert watched.database.use_url(postgres_url) is changing  # back
    await changing
    changing = watched.database.use_url(late)
    await watched.store.claim(claim_of("b"), soon())
    await owner.execute(f"CREATE ROLE {role} LOGIN SUPERUSER")
    await changing
    await watched.store.claim(claim_of("c"), soon())
    users = await owner.fetch(
        "SELECT usename FROM pg_stat_activity WHERE datname = $1 AND application_name = 'phoenix-gateway'"
        " AND state IS NOT NULL",
        name_of(postgres_url),
    )
    assert role in {row["usename"] for row in users}
    assert [] == watched.causes
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [line for line in lines if line.get("part") == "new DATABASE_URL"]
    assert [line["event"] for line in told] == ["not available", "available again"] * 2
    assert "refuses the user" in told[0]["trouble"]


async def test_a_new_url_is_used_at_once_where_the_known_one_does_not_work(
    watch: Watch, postgres_server: PostgresProcess, postgres_url: str
) -> None:
    """Both may be down: then the newer one is what the operator wants."""
    async with TcpProxy(postgres_server.port) as old:
        watched = await watch(old.url_of(postgres_url))
        old.is_cut = True
        with pytest.raises(StoreUnavailable):
            await watched.store.claim(claim_of("a"), soon(1))
        nowhere = postgres_url.replace(f":{postgres_server.port}/", f":{free_port()}/")
        async with asyncio.timeout(5):
            await watched.database.use_url(nowhere)


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


async def test_a_database_of_another_encoding_is_refused(owner: Any, postgres_server: PostgresProcess) -> None:
    """By the name of its encoding, before the start and for each call."""
    await owner.execute(f"CREATE DATABASE latin_{free_port()} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    name = await owner.fetchval("SELECT datname FROM pg_database WHERE datname LIKE 'latin%' LIMIT 1")
    watched = Watched(postgres_server.url_of(name))
    with pytest.raises(DatabaseUnusable, match="LATIN1"):
        await watched.database.check_usable(5)
    with pytest.raises(StoreUnavailable):
        await watched.database.write(lambda _connection, _now: None, 2)
    assert {"encoding"} == set(watched.causes)
    await watched.database.stop()


@pytest.mark.parametrize(
    ("options", "named"), [("-cno_such_setting%3D1", "no_such_setting"), ("-cjit%3Dperhaps", "jit"), ("nonsense", "")]
)
async def test_a_parameter_that_the_server_refuses_stops_the_start(postgres_url: str, options: str, named: str) -> None:
    """By its name, and by that of the option. Whoever wrote the URL has to correct it."""
    watched = Watched(f"{postgres_url}?options={options}")
    with pytest.raises(DatabaseUnusable, match=rf"options names in DATABASE_URL.*\b{named}"):
        await watched.database.check_usable(5)
    with pytest.raises(StoreUnavailable):
        await watched.database.write(lambda _connection, _now: None, 2)
    assert {"option"} == set(watched.causes)
    await watched.database.stop()


async def test_a_schema_that_does_not_exist_is_named(postgres_url: str) -> None:
    """As a cause that says where to look."""
    watched = Watched(f"{postgres_url}?options=-csearch_path=nowhere")
    with pytest.raises(StoreUnavailable):
        await watched.database.write(lambda _connection, _now: None, 2)
    assert {"schema"} == set(watched.causes)
    await watched.database.stop()


async def test_a_log_line_names_the_cause(capsys: pytest.CaptureFixture[str]) -> None:
    """One line for many failures, with host, cause and advice; the password is not in it."""

    port = free_port()
    logs.configure("info", "json")
    watched = Watched(f"postgresql://user:hunter2@127.0.0.1:{port}/db")
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await watched.database.write(lambda _connection, _now: None, 1)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if "the store does not work" in line]
    assert 1 == len(lines)
    assert ("refused", f"127.0.0.1:{port}") == (lines[0]["kind"], lines[0]["address"])
    assert {"advice", "trouble", "error_type", "code"} <= lines[0].keys()
    assert "hunter2" not in json.dumps(lines)
    await watched.database.stop()


def test_every_cause_has_a_series() -> None:
    """What the store names is what the metric counts; the rest is OTHER."""
    assert CAUSES - {"other"} == STORE_FAILURE_CAUSES


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
