"""At ten times capacity, workers and replicas together: the store, Redis and Phoenix do no more work than at the peak.

The work is counted where it is done: transactions in PostgreSQL, commands in Redis, requests at the sandbox. SQLite
counts none. The peak is what callers reach that each wait for their answer.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import asyncpg
import grpc
import pytest

from gateway.v1 import events_pb2, events_pb2_grpc, wallet_pb2, wallet_pb2_grpc
from tests.fixtures_postgres import postgres_server, postgres_url
from tests.gateway_process import ROOT, GatewayProcess, of_sandbox, reason_of
from tests.integration.test_wallet import reserve
from tests.redis_process import RedisProcess
from tests.sandbox_process import SandboxProcess

__all__ = ["postgres_server", "postgres_url"]
pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

PHASE_S = 6.0
TIMES = 10
CLOSED = 40
"""Callers at the peak that each wait for their answer."""
MORE_MUST = 1.5
"""The peak of a machine that others use differs by as much; without admission there would be several times the work."""
OUTCOMES = 20
BEGINS_WITHIN_S = 30.0
VERIFY = "/phoenix.gateway.v1.WalletService/VerifyWallet"
SUBMIT = "/phoenix.gateway.v1.EventService/SubmitEvent"


@dataclass(frozen=True, kw_only=True)
class Work:
    """Work per second at each place, and the calls that were answered."""

    answered: float
    phoenix: float
    redis: float
    store: float


class Place:
    """Two replicas with two workers each, or one on SQLite; what they use."""

    def __init__(
        self, sandbox: SandboxProcess, gateways: Sequence[GatewayProcess], redis: RedisProcess | None, database: str
    ) -> None:
        self.sandbox, self.gateways, self._redis, self._database = sandbox, gateways, redis, database

    async def counted(self) -> tuple[int, int, int]:
        """Return the requests at Phoenix, the commands at Redis, the transactions in PostgreSQL so far."""
        counts = (await self.sandbox.control_async("GET", "/counts"))["counts"]
        phoenix = sum(one["count"] for one in counts)
        commands = 0
        if self._redis is not None:
            info = self._redis.command("INFO", "stats").decode()
            commands = int(info.split("total_commands_processed:")[1].split("\r")[0])
        transactions = 0
        if self._database:
            connection = await asyncpg.connect(self._database)
            transactions = await connection.fetchval(
                "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
            )
            await connection.close()
        return phoenix, commands, transactions


@pytest.fixture(params=["sqlite", "postgres", "postgres-redis"])
def place(request: pytest.FixtureRequest, sandbox: SandboxProcess) -> Iterator[Place]:
    """Workers alone on SQLite; workers and replicas on PostgreSQL."""
    sandbox.control("POST", "/settings", {"record": False})
    url = request.getfixturevalue("postgres_url") if "postgres" in request.param else ""
    redis = request.getfixturevalue("redis_server") if "redis" in request.param else None
    settings = {
        **of_sandbox(sandbox.urls, sandbox.environ),
        "GATEWAY_FRONT": "http2",
        "GATEWAY_WORKERS": "2",
        **({"DATABASE_URL": url} if url else {}),
        **({"REDIS_URL": redis.url, "GATEWAY_CACHE_KEYS": _key()} if redis else {}),
    }
    with ExitStack() as stack:
        gateways = [stack.enter_context(GatewayProcess(settings)) for _ in range(2 if url else 1)]
        yield Place(sandbox, gateways, redis, url)


@pytest.mark.parametrize("delivery", ["direct", "durable"])
async def test_no_more_work_than_at_the_peak(place: Place, delivery: str, tmp_path: Path) -> None:
    """Per second, at Phoenix, Redis and the store; and what is answered is answered."""
    request = _request(delivery)
    await _peak(place, request, 1.0)
    before, began = await place.counted(), time.monotonic()
    calls = await _peak(place, request, PHASE_S)
    peak = _work(before, await place.counted(), calls, time.monotonic() - began)
    file = tmp_path / "request"
    file.write_bytes(request.SerializeToString())
    before, began = await place.counted(), time.monotonic()
    answered = sum(phase["ok"] for phase in await _flood(place, file, TIMES * peak.answered, SUBMIT))
    over = _work(before, await place.counted(), answered, time.monotonic() - began)
    print(f"peak {peak}, at {TIMES} times {over}")
    assert over.phoenix <= MORE_MUST * peak.phoenix + 20
    assert over.redis <= MORE_MUST * peak.redis + 50
    assert over.store <= MORE_MUST * peak.store + 50
    assert over.answered > 0


async def test_outcomes_are_recorded_while_claims_are_refused(place: Place, tmp_path: Path) -> None:
    """Webhooks come at ten times the peak, of the same caller: every outcome is recorded all the same."""
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(gateway.address)) for gateway in place.gateways
        ]
        wallets: list[Any] = [wallet_pb2_grpc.WalletServiceStub(channel) for channel in channels]
        moves = [reserve(place.sandbox, idempotency_key=str(uuid.uuid4())) for _ in range(OUTCOMES)]
        claimed = [(await wallets[0].VerifyWallet(move, timeout=20)).operation_id for move in moves]
        until = time.monotonic() + PHASE_S / 2
        answered = 0

        async def caller(wallet: Any) -> None:
            nonlocal answered
            while time.monotonic() < until:
                await wallet.VerifyWallet(moves[0], timeout=20)
                answered += 1

        await asyncio.gather(*(caller(wallets[number % len(wallets)]) for number in range(CLOSED)))
        file = tmp_path / "webhook"
        file.write_bytes(moves[0].SerializeToString())
        flood = asyncio.create_task(_flood(place, file, TIMES * answered / (PHASE_S / 2), VERIFY))
        await asyncio.to_thread(_wait_refuses, place.gateways[0])

        async def outcome(wallet: Any, operation_id: str) -> str:
            request = wallet_pb2.RecordWalletOutcomeRequest(
                operation_id=operation_id, attempt=1, response_status=200, response_body=b"{}"
            )
            try:
                await wallet.RecordWalletOutcome(request, timeout=20)
            except grpc.aio.AioRpcError as error:
                return reason_of(error) or error.code().name
            return "OK"

        ended = await asyncio.gather(
            *(outcome(wallets[number % len(wallets)], one) for number, one in enumerate(claimed))
        )
        phases = await flood
        refused, due = (sum(phase[name] for phase in phases) for name in ("refused", "due"))
        print(f"{refused} of {due} claims refused, {2 * answered / PHASE_S:.0f}/s at the peak; {Counter(ended)}")
        assert refused > 0
        assert {"OK": OUTCOMES} == Counter(ended)


def _wait_refuses(gateway: GatewayProcess) -> None:
    """Return when the gateway has refused calls for too much load."""
    until = time.monotonic() + BEGINS_WITHIN_S
    while time.monotonic() < until:
        with build_opener(ProxyHandler({})).open(f"http://{gateway.admin_address}/metrics", timeout=20) as page:
            if "RESOURCE_EXHAUSTED" in page.read().decode():
                return
        time.sleep(0.05)
    raise AssertionError("the gateway refuses nothing")


def _request(delivery: str) -> events_pb2.SubmitEventRequest:
    event = events_pb2.Event(leaderboard_id="xp", user_id="ada", score_delta=1)
    kind = events_pb2.DELIVERY_DURABLE if delivery == "durable" else events_pb2.DELIVERY_UNSPECIFIED
    return events_pb2.SubmitEventRequest(event=event, delivery=kind)


def _work(before: tuple[int, int, int], after: tuple[int, int, int], answered: int, seconds: float) -> Work:
    phoenix, redis, store = ((late - early) / seconds for early, late in zip(before, after, strict=True))
    return Work(answered=answered / seconds, phoenix=phoenix, redis=redis, store=store)


async def _peak(place: Place, request: events_pb2.SubmitEventRequest, seconds: float) -> int:
    """Keep CLOSED calls in flight; return how many were answered."""
    until = time.monotonic() + seconds
    answered = 0

    async def caller(stub: Any) -> None:
        nonlocal answered
        while time.monotonic() < until:
            await stub.SubmitEvent(request, timeout=20)
            answered += 1

    async with asyncio.TaskGroup() as group:
        channels = [grpc.aio.insecure_channel(gateway.address) for gateway in place.gateways]
        for number in range(CLOSED):
            group.create_task(caller(events_pb2_grpc.EventServiceStub(channels[number % len(channels)])))
    for channel in channels:
        await channel.close()
    return answered


async def _flood(place: Place, file: Path, rate: float, path: str) -> list[dict[str, Any]]:
    """Send at this rate, whatever happens; return the outcome at each gateway."""
    share = rate / len(place.gateways)
    floods = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.open_loop", "--target", gateway.address.rpartition(":")[2]),
            *("--path", path, "--request", str(file), "--phase", f"{share}:{PHASE_S}"),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        for gateway in place.gateways
    ]
    outputs = [(await flood.communicate())[0] for flood in floods]
    return [phase for output in outputs for phase in json.loads(output)["phases"]]


def _key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()
