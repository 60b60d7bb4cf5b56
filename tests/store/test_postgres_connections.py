"""To which PostgreSQL a store connects: a new URL, databases that it refuses, and causes by their names."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from gateway.errors import StoreUnavailable
from gateway.store.failures import CAUSES, DatabaseUnusable
from gateway.telemetry import logs
from gateway.telemetry.label_values import STORE_FAILURE_CAUSES
from tests.evidence.wallet_factory import claim_of, soon
from tests.ports import free_port
from tests.postgres_process import PostgresProcess
from tests.store.watched_postgres import Watch, Watched, default_logs, name_of, owner, watch
from tests.tcp_proxy import TcpProxy

__all__ = ["default_logs", "owner", "watch"]


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
    log, until = "", time.monotonic() + 10
    while (log := log + capsys.readouterr().err).count('"not available"') < 2:
        assert time.monotonic() < until
        await asyncio.sleep(0.01)
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
    lines = [json.loads(line) for line in (log + capsys.readouterr().err).splitlines()]
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
