"""A gateway on PostgreSQL as people operate it: PgBouncer, read-only, packets swallowed, a distant server, a restart.

Nobody repeats a call here, although Phoenix would.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.v1 import events_pb2, events_pb2_grpc, wallet_pb2, wallet_pb2_grpc
from tests.fixtures_postgres import postgres_server, postgres_url
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.integration.event_calls import event
from tests.integration.test_wallet import reserve
from tests.pgbouncer_process import PgBouncerMissing, PgBouncerProcess
from tests.postgres_process import PostgresProcess
from tests.sandbox_process import SandboxProcess
from tests.tcp_proxy import TcpProxy

__all__ = ["postgres_server", "postgres_url"]
pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

WALLET = "phoenix.gateway.v1.WalletService"
NEW = wallet_pb2.WALLET_DISPOSITION_NEW
BACK_WITHIN_S = 5.0
DEADLINE_S = 5.0


class Caller:
    """A wallet and a sender of durable events. Its methods block."""

    def __init__(self, sandbox: SandboxProcess, gateway: GatewayProcess) -> None:
        self._sandbox = sandbox
        self._gateway = gateway
        self._channel = grpc.insecure_channel(gateway.address)
        self._wallet: Any = wallet_pb2_grpc.WalletServiceStub(self._channel)
        self._events: Any = events_pb2_grpc.EventServiceStub(self._channel)
        self._health: Any = health_pb2_grpc.HealthStub(self._channel)
        self._count = 0

    def move(self) -> bool:
        """Make one move. Return whether the wallet may make it; False: it answers 503."""
        answer = self._wallet.VerifyWallet(reserve(self._sandbox), timeout=DEADLINE_S)
        assert answer.disposition == NEW or answer.reply.status == 503
        return bool(answer.disposition == NEW)

    def queue(self) -> None:
        """Submit one durable event."""
        self._count += 1
        sent = event("u1", f"operated-{time.monotonic_ns()}-{self._count}")
        request = events_pb2.SubmitEventRequest(event=sent, delivery=events_pb2.DELIVERY_DURABLE)
        self._events.SubmitEvent(request, timeout=DEADLINE_S)

    def is_ready(self) -> bool:
        """What /readyz and the health service say about the wallet's service; they must agree, at some moment."""
        until = time.monotonic() + 1
        while True:
            told = bool(self._gateway.readiness()["services"][WALLET])
            served = self._health.Check(health_pb2.HealthCheckRequest(service=WALLET), timeout=5)
            if told == (served.status == health_pb2.HealthCheckResponse.SERVING):
                return told
            assert time.monotonic() < until, "they do not agree"  # it may have changed between the two

    def wait_ready(self, *, ready: bool = True, within_s: float = BACK_WITHIN_S) -> None:
        """Wait until both say so. Raises: AssertionError."""
        until = time.monotonic() + within_s
        while self.is_ready() != ready:
            assert time.monotonic() < until, f"WalletService did not become {'ready' if ready else 'not ready'}"
            time.sleep(0.05)


@asynccontextmanager
async def a_gateway(sandbox: SandboxProcess, url: str) -> AsyncIterator[tuple[GatewayProcess, Caller]]:
    """A gateway on this database, ready."""
    process = GatewayProcess({**of_sandbox(sandbox.urls, sandbox.environ), "DATABASE_URL": url})
    try:
        await asyncio.to_thread(process.start)
        caller = Caller(sandbox, process)
        await asyncio.to_thread(caller.wait_ready, within_s=20)
        yield process, caller
    finally:
        await asyncio.to_thread(process.__exit__, None)


async def run(server: PostgresProcess, *statements: str) -> None:
    connection = await asyncpg.connect(server.url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def timed(call: Callable[[], object], times: int) -> float:
    """Return the median milliseconds of a call."""
    took: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        await asyncio.to_thread(call)
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


async def test_read_only_for_a_while(
    sandbox: SandboxProcess, postgres_server: PostgresProcess, postgres_url: str
) -> None:
    """503 and not ready while it lasts; within 5 s of its end all works, although the sessions were kept."""
    name = postgres_url.rpartition("/")[2]
    async with a_gateway(sandbox, postgres_url) as (process, caller):
        assert await asyncio.to_thread(caller.move)
        before = len(process.log_text.splitlines())
        await run(
            postgres_server,
            f"ALTER DATABASE {name} SET default_transaction_read_only = on",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )
        assert not await asyncio.to_thread(caller.move)
        await asyncio.to_thread(caller.wait_ready, ready=False)
        report = await asyncio.to_thread(process.readiness)
        assert (report["not_ready"], report["reasons"][WALLET]["kind"]) == (["database"], "read_only")
        for _ in range(4):
            assert not await asyncio.to_thread(caller.move)
            assert not await asyncio.to_thread(caller.is_ready)
        await run(postgres_server, f"ALTER DATABASE {name} RESET default_transaction_read_only")
        began = time.monotonic()
        assert await asyncio.to_thread(caller.move)
        await asyncio.to_thread(caller.wait_ready)
        assert time.monotonic() - began < BACK_WITHIN_S
        await asyncio.to_thread(caller.queue)
        lines = [json.loads(line) for line in process.log_text.splitlines()[before:]]
        told = [line for line in lines if line["event"] == "the store does not work"]
        assert ["read_only"] == [line["kind"] for line in told if line["kind"] != "ended"], told
        assert "25006" == told[-1]["code"]


async def test_packets_of_idle_connections_are_swallowed(
    sandbox: SandboxProcess, postgres_server: PostgresProcess, postgres_url: str
) -> None:
    """After silence every call succeeds within its deadline, and the gateway stays ready."""
    async with TcpProxy(postgres_server.port) as proxy, a_gateway(sandbox, proxy.url_of(postgres_url)) as (_, caller):
        proxy.swallow_after_s = 8
        for _ in range(3):
            began = time.monotonic()
            assert all(await asyncio.gather(*(asyncio.to_thread(caller.move) for _ in range(4))))
            await asyncio.to_thread(caller.queue)
            assert time.monotonic() - began < DEADLINE_S
            assert await asyncio.to_thread(caller.is_ready)
            await asyncio.sleep(10)


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_behind_pgbouncer(
    sandbox: SandboxProcess, postgres_server: PostgresProcess, postgres_url: str, mode: str
) -> None:
    """With its defaults: moves and events; PgBouncer restarted and the server's sessions ended in between."""
    try:
        pgbouncer = PgBouncerProcess(postgres_server, mode)
    except PgBouncerMissing as missing:
        pytest.skip(str(missing))
    with pgbouncer:
        async with a_gateway(sandbox, pgbouncer.url_of(postgres_url)) as (_, caller):
            for _ in range(8):
                assert await asyncio.to_thread(caller.move)
                await asyncio.to_thread(caller.queue)
            name = postgres_url.rpartition("/")[2]
            await run(
                postgres_server, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )
            assert all(await asyncio.gather(*(asyncio.to_thread(caller.move) for _ in range(8))))
            await asyncio.to_thread(caller.queue)
            await asyncio.to_thread(pgbouncer.restart)
            assert all(await asyncio.gather(*(asyncio.to_thread(caller.move) for _ in range(8))))
            assert await asyncio.to_thread(caller.is_ready)


async def test_a_parameter_that_pgbouncer_refuses_stops_the_start(
    sandbox: SandboxProcess, postgres_server: PostgresProcess, postgres_url: str
) -> None:
    """By name, and not with a gateway that answers every webhook 503."""
    try:
        pgbouncer = PgBouncerProcess(postgres_server, "transaction")
    except PgBouncerMissing as missing:
        pytest.skip(str(missing))
    with pgbouncer:
        url = pgbouncer.url_of(postgres_url) + "?options=-c%20geqo%3Doff"
        process = GatewayProcess({**of_sandbox(sandbox.urls, sandbox.environ), "DATABASE_URL": url})
        child = process.spawn()
        assert 1 == await asyncio.to_thread(child.wait, 60)
        assert "PgBouncer refuses a startup parameter" in process.log_text
        process.__exit__(None)


async def test_twenty_milliseconds_away(
    sandbox: SandboxProcess, postgres_server: PostgresProcess, postgres_url: str
) -> None:
    """A wallet call and a durable event cost three round trips more than next door, not ten."""
    async with TcpProxy(postgres_server.port) as proxy, a_gateway(sandbox, proxy.url_of(postgres_url)) as (_, caller):
        figures: dict[str, list[float]] = {"move": [], "queue": []}
        for delay_s in (0.0, 0.01):
            proxy.delay_s = delay_s
            for name, call in (("move", caller.move), ("queue", caller.queue)):
                await timed(call, 5)
                figures[name].append(await timed(call, 15))
        print({name: [round(one, 1) for one in values] for name, values in figures.items()})
        assert figures["move"][1] - figures["move"][0] < 3 * 20 + 15
        assert figures["queue"][1] - figures["queue"][0] < 3 * 20 + 15


async def test_a_restart_under_calls(sandbox: SandboxProcess) -> None:
    """Killed and recovered: not one answer is wrong, and all works within 5 s of the recovery."""
    server = PostgresProcess()
    await asyncio.to_thread(server.start)
    try:
        async with a_gateway(sandbox, server.url) as (_, caller):
            assert await asyncio.to_thread(caller.move)
            restart = asyncio.create_task(asyncio.to_thread(server.restart))
            while not restart.done():
                await asyncio.to_thread(caller.move)
            await restart
            began = time.monotonic()
            assert await asyncio.to_thread(caller.move)
            await asyncio.to_thread(caller.wait_ready)
            await asyncio.to_thread(caller.queue)
            assert time.monotonic() - began < BACK_WITHIN_S
    finally:
        await asyncio.to_thread(server.stop)
