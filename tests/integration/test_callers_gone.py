"""A call whose caller has gone, or whose deadline has passed, costs nothing more; what it has begun is recorded."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import signal
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.request import ProxyHandler, build_opener

import grpc
import psycopg
import pytest
from google.protobuf.message import Message

from bench.http2 import DATA, END_STREAM, HEADERS, RST_STREAM, trailers
from gateway.config.model import DEFAULT_FRONT, FrontKind
from gateway.v1 import events_pb2, wallet_pb2, wallet_pb2_grpc
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.integration.method_requests import _MADE, _STREAMS_OUT, answer_class, request_for
from tests.integration.test_wallet import reserve
from tests.postgres_process import PostgresMissing, PostgresProcess
from tests.raw_http2 import RawConnection
from tests.redis_process import RedisMissing, RedisProcess
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.timeout(180)

OTHERS = [one for one in FrontKind if one is not DEFAULT_FRONT]
V1 = "phoenix.gateway.v1."
WALLET = V1 + "WalletService"
MINT = V1 + "TokenService/MintLaunchJWT"
RECORD, READ = WALLET + "/RecordWalletOutcome", WALLET + "/GetWalletEvidence"
EACH = 4
"""Calls of each kind that are left alone."""
POOL = 4
"""Connections to PostgreSQL: so many transactions may have begun."""
LEFT_AFTER_S = 0.015
TRIES = 8
"""A busy machine may be late with an answer for which 10 ms are left, and then nobody can tell the caller why."""
DEADLINE_S = 0.3
CANCELLED = 40


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of call. `marked` makes a request with a text that no other one has. `stores`: the database gets it."""

    method: str
    marked: Callable[[str], Message]
    stores: bool


class Services:
    """What the gateway needs, and the gateway."""

    def __init__(
        self, sandbox: SandboxProcess, postgres: PostgresProcess, redis: RedisProcess, gateway: GatewayProcess
    ) -> None:
        self.sandbox, self.postgres, self.redis, self.gateway = sandbox, postgres, redis, gateway

    def kinds(self) -> list[Kind]:
        """Every unary method; those that keep something in the database with a mark."""
        stored = {**STORED, "WalletService/VerifyWallet": self._move}
        plain = [name for name in _MADE if name not in stored and name.rpartition("/")[2] not in _STREAMS_OUT]
        return [
            *(Kind(method=V1 + name, marked=made, stores=True) for name, made in stored.items()),
            *(Kind(method=V1 + name, marked=partial(_plain, V1 + name), stores=False) for name in plain),
        ]

    async def at_work(self, kind: Kind, calls: int) -> None:
        """Wait until the gateway has so many calls of a kind at work."""
        line = f'phoenix_gateway_calls_in_flight{{method="/{kind.method}"}} {calls}'
        for _ in range(2000):
            if line in (await asyncio.to_thread(self._metrics)).replace(".0", ""):
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"not {calls} calls of {kind.method}")

    async def all_delivered(self) -> None:
        """Wait until no durable event of an earlier test is left, which would reach Phoenix at any time."""
        async with await psycopg.AsyncConnection.connect(self.postgres.url, autocommit=True) as database:
            for _ in range(2000):
                queued = await database.execute("SELECT FROM durable_events WHERE state = 0 LIMIT 1")
                if await queued.fetchone() is None:
                    return
                await asyncio.sleep(0.01)
        raise AssertionError("durable events are not delivered")

    def _metrics(self) -> str:
        with build_opener(ProxyHandler({})).open(f"http://{self.gateway.admin_address}/metrics", timeout=10) as page:
            return str(page.read().decode())

    def _move(self, mark: str) -> Message:
        return reserve(self.sandbox, idempotency_key=mark)

    def delayed(self) -> int:
        """How many requests Phoenix has begun to read that a fault delays."""
        return sum(one["hits"] for one in self.sandbox.control("GET", "/faults")["faults"])

    def requests(self) -> Counter[str]:
        """What Phoenix was asked, but for health checks."""
        found = self.sandbox.control("GET", "/requests")["requests"]
        return Counter(f"{one['method']} {one['path']}" for one in found if not one["path"].endswith("/health"))


def _durable(mark: str) -> Message:
    event = events_pb2.Event(event_id=mark, leaderboard_id="xp", user_id="ada", score_delta=1)
    return events_pb2.SubmitEventRequest(event=event, delivery=events_pb2.DELIVERY_DURABLE)


STORED: Mapping[str, Callable[[str], Message]] = {
    "EventService/SubmitEvent": _durable,
    "WalletService/GetWalletEvidence": lambda mark: wallet_pb2.GetWalletEvidenceRequest(operation_id=mark),
    "WalletService/RecordWalletOutcome": lambda mark: wallet_pb2.RecordWalletOutcomeRequest(
        operation_id=mark, attempt=1, response_status=200, response_body=b"{}"
    ),
    "WalletService/SettleUnreadableWebhook": lambda mark: wallet_pb2.SettleUnreadableWebhookRequest(
        webhook_id=mark, request_body_sha256="0" * 64, response_status=200, note="n"
    ),
}


def _plain(method: str, _mark: str) -> Message:
    return request_for(method)


@pytest.fixture(
    scope="module", params=[DEFAULT_FRONT.value, *(pytest.param(one.value, marks=pytest.mark.faults) for one in OTHERS)]
)
def services(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """A gateway over either front, with a PostgreSQL that logs every statement with its values."""
    try:
        postgres = PostgresProcess("log_min_messages=log", "log_statement=all")
        redis = RedisProcess(tmp_path_factory.mktemp("r"))
    except (PostgresMissing, RedisMissing) as missing:
        pytest.skip(str(missing))
    postgres.start()
    redis.start()
    try:
        with SandboxProcess() as sandbox:
            environ = {
                **of_sandbox(sandbox.urls, sandbox.environ),
                "GATEWAY_FRONT": request.param,
                "DATABASE_URL": postgres.url,
                "REDIS_URL": redis.url,
                "GATEWAY_CACHE_KEYS": base64.b64encode(secrets.token_bytes(32)).decode(),
            }
            with GatewayProcess(environ) as gateway:
                gateway.wait_serving(WALLET)
                yield Services(sandbox, postgres, redis, gateway)
    finally:
        redis.stop()
        postgres.stop()


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Freeze a process."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def connected(gateway: GatewayProcess) -> grpc.aio.Channel:
    """Return a channel with a connection of its own."""
    return grpc.aio.insecure_channel(gateway.address, options=[("grpc.use_local_subchannel_pool", 1)])


def call(channel: grpc.aio.Channel, kind: Kind, request: Message, timeout_s: float = 20.0) -> Any:
    """Begin a call."""
    make: Any = channel.unary_unary(
        f"/{kind.method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=answer_class(kind.method).FromString,
    )
    return make(request, timeout=timeout_s)


async def ended(calls: list[Any]) -> None:
    """Wait for the end of calls, whatever it is."""
    await asyncio.gather(*(one.code() for one in calls), return_exceptions=True)


async def pass_through(channel: grpc.aio.Channel, kinds: list[Kind]) -> None:
    """Make one call of each kind: whatever waits before it in a queue has been taken out of it then."""
    await ended([call(channel, kind, kind.marked(str(uuid.uuid4()))) for kind in kinds])


async def test_a_call_that_is_over_before_it_is_read_costs_nothing(services: Services) -> None:
    """Cancelled, or its deadline passed, while the gateway did not run: no request, no row, no statement."""
    kinds = services.kinds()
    async with AsyncExitStack() as stack:
        # A connection for each kind, whose calls and cancels the gateway reads at once.
        channels = [await stack.enter_async_context(connected(services.gateway)) for _ in kinds]
        await pass_through(channels[0], kinds)
        await services.all_delivered()
        left = [(kind, str(uuid.uuid4())) for kind in kinds for _ in range(EACH)]
        requests = [kind.marked(mark) for kind, mark in left]
        services.sandbox.control("DELETE", "/requests")
        with frozen(services.gateway.pid):
            calls = [
                call(channels[place // EACH], kind, request, 20.0 if place % 2 else DEADLINE_S)
                for place, ((kind, _), request) in enumerate(zip(left, requests, strict=True))
            ]
            await asyncio.sleep(LEFT_AFTER_S)
            for one in calls[1::2]:
                one.cancel()
            await ended(calls)
            await asyncio.sleep(0.2)  # the cancels and the deadlines are on their way
        stored = [kind for kind in kinds if kind.stores]
        await pass_through(channels[0], stored)
    asked = services.requests()
    assert {path: count for path, count in asked.items() if "/events" not in path} == {}
    assert sum(asked.values()) <= 1  # the event of the pass, which is delivered at any time
    log = services.postgres.log_text
    assert [kind.method for kind, mark in left if mark in log] == []


async def test_a_caller_that_leaves_while_the_store_hangs(services: Services) -> None:
    """Of what waits, nothing begins. An outcome is recorded all the same: the wallet has acted on it."""
    *kinds, outcome = sorted((one for one in services.kinds() if one.stores), key=lambda one: one.method == RECORD)
    async with connected(services.gateway) as channel:
        wallet: Any = wallet_pb2_grpc.WalletServiceStub(channel)
        moves = [reserve(services.sandbox, idempotency_key=str(uuid.uuid4())) for _ in range(EACH)]
        moved = [(await wallet.VerifyWallet(move, timeout=20)).operation_id for move in moves]
        left = [(kind, str(uuid.uuid4())) for kind in kinds for _ in range(2 * POOL)]
        requests = [kind.marked(mark) for kind, mark in left]
        services.postgres.pause()
        try:
            calls = [call(channel, kind, request) for (kind, _), request in zip(left, requests, strict=True)]
            calls += [call(channel, outcome, outcome.marked(operation_id)) for operation_id in moved]
            await services.at_work(outcome, EACH)
            for one in calls:
                one.cancel()
            await ended(calls)
            await services.at_work(outcome, 0)
        finally:
            services.postgres.resume()
        await pass_through(channel, kinds)
        log = services.postgres.log_text
        # Operations that arrive together are one transaction.
        begun = {(kind.method, mark if kind.method == READ else "") for kind, mark in left if mark in log}
        assert len(begun) <= POOL, begun
        asked = [wallet_pb2.GetWalletEvidenceRequest(operation_id=operation_id) for operation_id in moved]
        found = [(await wallet.GetWalletEvidence(one, timeout=20)).evidence for one in asked]
    assert [one.response.status for one in found] == [200] * EACH


@pytest.mark.parametrize("name", ["EventService/SubmitEvent", "LeaderboardService/GetUserRank"])
async def test_calls_that_are_cancelled_early_send_nothing_from_then_on(services: Services, name: str) -> None:
    """Once the gateway has no such call at work any more, what Phoenix has got is all that it gets.

    Calls that wait for a shared request or for a connection are among them: Phoenix is slow.
    """
    kind = Kind(method=V1 + name, marked=lambda mark: _for_one_user(V1 + name, mark), stores=False)
    fault = {"surface": "*", "path_prefix": "/v1/", "kind": "delay", "delay_ms": 300}
    await services.all_delivered()
    services.sandbox.control("POST", "/faults", fault)
    try:
        async with connected(services.gateway) as channel:
            await ended([call(channel, kind, kind.marked(str(uuid.uuid4())))])
            assert 1 == services.delayed()
            calls = []
            for number in range(CANCELLED):
                calls.append(call(channel, kind, kind.marked(str(uuid.uuid4()))))
                asyncio.get_running_loop().call_later(0.01 + 0.01 * number / CANCELLED, calls[-1].cancel)
            await ended(calls)
            mint = Kind(method=MINT, marked=partial(_plain, MINT), stores=False)
            await pass_through(channel, [mint])  # the gateway has read what came before it
            await services.at_work(kind, 0)
        services.delayed()  # a request that is on its way is read before the next answer
        before = services.delayed()
        await asyncio.sleep(1.0)
        print(f"{name}: of {CANCELLED} calls cancelled after 10 to 20 ms Phoenix got {before - 1}")
        assert before == services.delayed()
    finally:
        services.sandbox.control("DELETE", "/faults")


def _for_one_user(method: str, mark: str) -> Message:
    """Return a request that no other one waits with."""
    request: Any = request_for(method)
    if "user_id" in request.DESCRIPTOR.fields_by_name:
        request.user_id = mark
    made: Message = request
    return made


def test_every_deadline_exceeded_has_its_reason(services: Services) -> None:
    """While Phoenix, Redis and the database hang, over a client that would wait for longer than its deadline."""
    webhook = reserve(services.sandbox, idempotency_key=str(uuid.uuid4()))
    services.postgres.pause()
    services.redis.pause()
    bare = []
    try:
        with frozen(services.sandbox.pid):
            for name in _MADE:
                message = webhook if name.endswith("VerifyWallet") else request_for(V1 + name)
                messages = [message]
                if "delivery" in message.DESCRIPTOR.fields_by_name:
                    durable: Any = type(message)()
                    durable.CopyFrom(message)
                    durable.delivery = events_pb2.DELIVERY_DURABLE
                    messages.append(durable)
                bare += [
                    name for one in messages if not any(_tells_why(services.gateway, name, one) for _ in range(TRIES))
                ]
    finally:
        services.redis.resume()
        services.postgres.resume()
    assert bare == []


def _tells_why(gateway: GatewayProcess, name: str, message: Message) -> bool:
    """Whether a call that cannot succeed in time ends with trailers, and a failure among them with its reason."""
    with RawConnection(gateway.address) as connection:
        timeout = ("grpc-timeout", f"{round(DEADLINE_S * 1000)}m")
        connection.send(connection.call(1, f"/{V1}{name}", message.SerializeToString(), [timeout]))
        connection.read(
            lambda: any(
                one.stream == 1 and (one.kind == RST_STREAM or (one.kind in (HEADERS, DATA) and one.flags & END_STREAM))
                for one in connection.seen
            )
        )
        blocks = [trailers(one.payload) for one in connection.seen if one.kind == HEADERS and one.stream == 1]
    found = {key: value for block in blocks for key, value in block.items()}
    return "grpc-status" in found and (found["grpc-status"] == "0" or "grpc-status-details-bin" in found)
