"""The way to PostgreSQL, to Redis and to Phoenix is slow, narrow, silent or cut: each call ends in time, with a reason.

The faults are toxiproxy's. Every event that was acknowledged arrives once, and once the way is good all calls succeed.
"""

from __future__ import annotations

import base64
import secrets
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from gateway.v1 import events_pb2, leaderboards_pb2, leaderboards_pb2_grpc, tokens_pb2, tokens_pb2_grpc, wallet_pb2_grpc
from gateway.v1.events_pb2_grpc import EventServiceStub
from tests.fixtures_postgres import postgres_server
from tests.gateway_process import GatewayProcess, of_sandbox, reason_of
from tests.integration.test_wallet import reserve
from tests.postgres_process import PostgresProcess
from tests.redis_process import RedisMissing, RedisProcess
from tests.sandbox_process import SandboxProcess
from tests.toxiproxy import ToxicProxy, Toxiproxy
from tools.go_tools import NotBuilt

__all__ = ["postgres_server"]
pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

DEADLINE_S = 3.0
LATE_S = 20.0
"""A busy machine may be so late with an answer."""
BACK_WITHIN_S = 60.0
ROUNDS = 4
NO_ANSWER = "bare DEADLINE_EXCEEDED"
"""The client's own: a busy machine may be late with an answer for which 10 ms are left."""
REASONS = frozenset(
    {
        *("STORE_UNAVAILABLE", "OUTCOME_UNKNOWN", "PHOENIX_UNAVAILABLE", "PHOENIX_TIMEOUT", "CIRCUIT_OPEN"),
        *("DEADLINE_TOO_SHORT", "OVERLOADED"),
    }
)
TOXICS: dict[str, Callable[[ToxicProxy], None]] = {
    "latency": lambda way: way.spoil("latency", both_ways=True, latency=200, jitter=100),
    "bandwidth": lambda way: way.spoil("bandwidth", both_ways=True, rate=1),
    "silent": lambda way: way.spoil("timeout", timeout=0),
    "silent-then-closed": lambda way: way.spoil("timeout", timeout=300),
    "reset_peer": lambda way: way.spoil("reset_peer", timeout=20),
    "slow_close": lambda way: way.spoil("slow_close", delay=500),
    "limit_data": lambda way: way.spoil("limit_data", bytes=300),
    "slicer": lambda way: way.spoil("slicer", both_ways=True, average_size=3, size_variation=2, delay=500),
    "refused": lambda way: way.refuse(),
}


@dataclass
class Place:
    """A gateway with a proxy before each part. `acknowledged`: ids of events that it took."""

    sandbox: SandboxProcess
    gateway: GatewayProcess
    ways: dict[str, ToxicProxy]
    channel: grpc.Channel
    acknowledged: list[str] = field(default_factory=list)

    def all_calls(self) -> Counter[str]:
        """Make one call of each kind at the same time; return how they ended, the slow ones as such."""
        calls = (self._event, self._durable, self._rank, self._mint, self._move)
        with ThreadPoolExecutor(len(calls)) as pool:
            return Counter(pool.map(_ended, calls))

    def _event(self, delivery: Any = events_pb2.DELIVERY_DIRECT) -> None:
        event = events_pb2.Event(event_id=str(uuid.uuid4()), leaderboard_id="xp", user_id="ada", score_delta=1)
        request = events_pb2.SubmitEventRequest(event=event, delivery=delivery)
        EventServiceStub(self.channel).SubmitEvent(request, timeout=DEADLINE_S)
        self.acknowledged.append(event.event_id)

    def _durable(self) -> None:
        self._event(events_pb2.DELIVERY_DURABLE)

    def _rank(self) -> None:
        request = leaderboards_pb2.GetUserRankRequest(leaderboard_id="xp", user_id=str(uuid.uuid4()))
        leaderboards_pb2_grpc.LeaderboardServiceStub(self.channel).GetUserRank(request, timeout=DEADLINE_S)

    def _mint(self) -> None:
        request = tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession())
        tokens_pb2_grpc.TokenServiceStub(self.channel).MintLaunchJWT(request, timeout=DEADLINE_S)

    def _move(self) -> None:
        webhook = reserve(self.sandbox, idempotency_key=str(uuid.uuid4()))
        answer = wallet_pb2_grpc.WalletServiceStub(self.channel).VerifyWallet(webhook, timeout=DEADLINE_S)
        assert answer.reply.status in (0, 503), "a genuine webhook was refused"


def _ended(call: Callable[[], None]) -> str:
    began = time.monotonic()
    try:
        call()
        reason = "OK"
    except grpc.RpcError as error:
        known: Any = error
        reason = reason_of(error) or f"bare {known.code().name}"
    return reason if time.monotonic() - began < DEADLINE_S + LATE_S else f"late {reason}"


@pytest.fixture(scope="module")
def place(
    sandbox_process: SandboxProcess, postgres_server: PostgresProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """One gateway for all."""
    sandbox_process.control("POST", "/reset", {})
    sandbox_process.control("POST", f"/boards/{sandbox_process.environ['TENANT_ID']}/xp", {"scores": {"ada": 1}})
    with ExitStack() as stack:
        try:
            toxiproxy = stack.enter_context(Toxiproxy())
            redis = RedisProcess(tmp_path_factory.mktemp("r"))
        except (NotBuilt, RedisMissing) as missing:
            pytest.skip(str(missing))
        redis.start()
        stack.callback(redis.stop)
        urls = dict(sandbox_process.urls)
        ways = {"postgres": toxiproxy.before(postgres_server.port), "redis": toxiproxy.before(redis.port)}
        for surface in ("ingestion", "query"):
            way = ways[surface] = toxiproxy.before(int(urls[surface].rpartition(":")[2].partition("/")[0]))
            urls[surface] = way.through(urls[surface])
        settings = {
            **of_sandbox(urls, sandbox_process.environ),
            "DATABASE_URL": ways["postgres"].through(postgres_server.create_database(f"test_{uuid.uuid4().hex}")),
            "REDIS_URL": ways["redis"].through(redis.url),
            "GATEWAY_CACHE_KEYS": base64.b64encode(secrets.token_bytes(32)).decode(),
        }
        gateway = stack.enter_context(GatewayProcess(settings))
        gateway.wait_serving("phoenix.gateway.v1.WalletService")
        channel = stack.enter_context(grpc.insecure_channel(gateway.address))
        yield Place(sandbox_process, gateway, ways, channel)


@pytest.mark.parametrize(
    ("part", "toxic"),
    [
        *(("postgres", toxic) for toxic in TOXICS),
        *(("redis", toxic) for toxic in ("silent", "reset_peer", "bandwidth", "refused")),
        *(("ingestion", toxic) for toxic in ("silent", "reset_peer", "slow_close", "limit_data")),
        *(("query", toxic) for toxic in ("slicer", "limit_data", "silent-then-closed")),
    ],
)
def test_each_call_ends_in_time_with_a_reason(place: Place, part: str, toxic: str) -> None:
    """While the way is bad; and all succeed once it is good again, with nothing lost or doubled."""
    way = place.ways[part]
    try:
        TOXICS[toxic](way)
        ended = sum((place.all_calls() for _ in range(ROUNDS)), Counter[str]())
    finally:
        way.heal()
    print(f"{part} {toxic}: {dict(ended)}")
    assert ended.pop(NO_ANSWER, 0) <= ROUNDS
    assert set(ended) <= ({"OK"} if part == "redis" else {"OK", *REASONS})
    _wait(lambda: {"OK"} == set(place.all_calls()))
    _wait(lambda: _counted(place) == {1})


def _counted(place: Place) -> set[int]:
    """How often the events that were acknowledged count at Phoenix."""
    found = place.sandbox.control("POST", "/effects", {"event_ids": place.acknowledged})
    return set(found["effects"].values())


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + BACK_WITHIN_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.2)
