"""Four gateways at once: one winner per move, one key fetch per cooldown, on SQLite and on PostgreSQL with Redis."""

from __future__ import annotations

import base64
import json
import math
import secrets
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import pytest

from gateway.v1 import wallet_pb2, wallet_pb2_grpc
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.integration.event_calls import redis_misses
from tests.integration.test_wallet import outcome, reserve
from tests.postgres_process import PostgresProcess
from tests.redis_process import RedisProcess
from tests.sandbox_process import SandboxProcess

REPLICAS = 4
ROUNDS = 3
WALLET = "phoenix.gateway.v1.WalletService"


class Fleet:
    """Gateways that share a store, and a channel to each."""

    def __init__(self, gateways: list[GatewayProcess], channels: list[grpc.Channel]) -> None:
        self.gateways = gateways
        self.wallets = [wallet_pb2_grpc.WalletServiceStub(channel) for channel in channels]

    def verify_everywhere(
        self, requests: list[wallet_pb2.VerifyWalletRequest], at_once: int = 64
    ) -> list[wallet_pb2.VerifyWalletResponse]:
        """Send the requests over all replicas in turn, many at once; a gRPC failure fails the test."""

        def send(number: int) -> wallet_pb2.VerifyWalletResponse:
            return self.wallets[number % len(self.wallets)].VerifyWallet(requests[number], timeout=20)

        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(send, range(len(requests))))


@pytest.fixture(scope="module")
def own_sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as process:
        yield process


@pytest.fixture(scope="module", params=[pytest.param("sqlite", marks=pytest.mark.faults), "postgresql"])
def fleet(
    request: pytest.FixtureRequest, own_sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """Four replicas: on one SQLite file without Redis, or on PostgreSQL with Redis."""
    with ExitStack() as stack:
        settings = of_sandbox(own_sandbox.urls, own_sandbox.environ)
        if request.param == "sqlite":
            settings["GATEWAY_DATA_DIR"] = str(tmp_path_factory.mktemp("shared"))
        else:
            postgres: PostgresProcess = request.getfixturevalue("postgres_server")
            redis = RedisProcess(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pgw-redis-"))))
            redis.start()
            stack.callback(redis.stop)
            settings["DATABASE_URL"] = postgres.create_database(f"fleet_{uuid.uuid4().hex}")
            settings["REDIS_URL"] = redis.url
            settings["GATEWAY_CACHE_KEYS"] = base64.b64encode(secrets.token_bytes(32)).decode()
        gateways = [GatewayProcess(settings) for _ in range(REPLICAS)]
        for gateway in gateways:
            stack.enter_context(gateway)
            gateway.wait_serving(WALLET)
        channels = [stack.enter_context(grpc.insecure_channel(gateway.address)) for gateway in gateways]
        yield Fleet(gateways, channels)


@pytest.mark.timeout(180)
def test_five_hundred_identical_calls_make_one_new(fleet: Fleet, own_sandbox: SandboxProcess) -> None:
    """One replica wins, every other call gets "in progress", and none fails."""
    request = reserve(own_sandbox)
    answers = fleet.verify_everywhere([request] * 500)
    found = Counter(wallet_pb2.WalletDisposition.Name(answer.disposition) for answer in answers)
    assert {"WALLET_DISPOSITION_NEW": 1, "WALLET_DISPOSITION_IN_PROGRESS": 499} == dict(found)
    assert 1 == len({answer.operation_id for answer in answers})


@pytest.mark.timeout(180)
def test_an_outcome_recorded_at_one_replica_is_replayed_by_all(fleet: Fleet, own_sandbox: SandboxProcess) -> None:
    """Whichever replica is asked answers with the same bytes."""
    request = reserve(own_sandbox)
    claimed = fleet.wallets[0].VerifyWallet(request)
    body = secrets.token_bytes(64)
    fleet.wallets[1].RecordWalletOutcome(outcome(claimed, response_body=body))
    replies = [wallet.VerifyWallet(request).reply for wallet in fleet.wallets]
    assert [(200, body)] * REPLICAS == [(reply.status, reply.body) for reply in replies]


@pytest.mark.timeout(180)
def test_a_forged_flood_costs_one_fetch_per_cooldown_and_no_good_call(
    fleet: Fleet, own_sandbox: SandboxProcess, request: pytest.FixtureRequest
) -> None:
    """The key rotates in the middle of a flood: no genuine call gets a 4xx.

    A gateway that Redis does not answer in time fetches alone, as it should: fetches are counted where none had to.
    """
    shared = "postgresql" in request.node.name
    left = ROUNDS if shared else 1
    while True:
        missed_before = redis_misses(fleet.gateways)
        fetches, took = flood_once(fleet, own_sandbox)
        left -= 1
        if redis_misses(fleet.gateways) == missed_before or not left:
            break
    # One fetch per cooldown (2 s) for the fleet, or for each process where nothing is shared; one may be in flight.
    assert fetches <= (took / 2 + 2) * (1 if shared else REPLICAS)


def flood_once(fleet: Fleet, own_sandbox: SandboxProcess) -> tuple[int, float]:
    """Flood and rotate, check every answer, and return how many fetches it took in how many seconds."""
    fetched_before = own_sandbox.control("GET", "/keys")["fetches"]
    began = time.monotonic()
    forged = [reserve(own_sandbox, forge="bit") for _ in range(10)]
    flood = [forged[number % len(forged)] for number in range(400)]
    good = [reserve(own_sandbox) for _ in range(40)]
    own_sandbox.control("POST", "/keys/rotate", {})
    newer = [reserve(own_sandbox) for _ in range(40)]
    mixed = [*flood[:200], *good, *newer, *flood[200:]]
    answers = fleet.verify_everywhere(mixed, at_once=240)
    took = time.monotonic() - began
    genuine = answers[200:280]
    assert [] == [answer.reply.status for answer in genuine if 400 <= answer.reply.status < 500]
    verified = [answer.verdict for answer in answers[240:280]]
    assert {wallet_pb2.WALLET_VERDICT_VERIFIED} == set(verified)
    fetches = own_sandbox.control("GET", "/keys")["fetches"] - fetched_before
    return fetches, took


@pytest.mark.timeout(180)
def test_any_replica_explains_what_another_one_refused(
    fleet: Fleet, own_sandbox: SandboxProcess, request: pytest.FixtureRequest
) -> None:
    """By the webhook's request id, through Redis."""
    if "postgresql" not in request.node.name:
        pytest.skip("these replicas share no Redis")
    forged = reserve(own_sandbox, forge="bit")
    webhook = next(one.value for one in forged.headers if one.name.lower() == "x-request-id")
    until, sent_at = time.monotonic() + 20, -math.inf
    while not (stories := explained(fleet.gateways[-1], webhook)):
        assert time.monotonic() < until
        if time.monotonic() - sent_at > 5:  # a story that Redis did not take in time is not shared later
            assert fleet.wallets[0].VerifyWallet(forged, timeout=20).reply.status == 401
            sent_at = time.monotonic()
        time.sleep(0.1)
    (story,) = stories
    assert (story["verdict"], story["process"].endswith(f"/{fleet.gateways[0].pid}")) == ("BAD_SIGNATURE", True)


def explained(gateway: GatewayProcess, wanted: str) -> list[dict[str, Any]]:
    with urlopen(f"http://{gateway.admin_address}/explain?id={wanted}", timeout=10) as answer:
        return list(json.loads(answer.read())["stories"])


@pytest.mark.timeout(180)
def test_a_killed_replica_leaves_the_move_to_another(
    own_sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Killed between claim and outcome: after the lease another replica reclaims, with a higher attempt."""
    settings = {
        **of_sandbox(own_sandbox.urls, own_sandbox.environ),
        "GATEWAY_DATA_DIR": str(tmp_path_factory.mktemp("killed")),
        "PREDICTION_WALLET_LEASE": "1",
    }
    request = reserve(own_sandbox)
    with GatewayProcess(settings) as first, GatewayProcess(settings) as second:
        first.wait_serving(WALLET)
        second.wait_serving(WALLET)
        with grpc.insecure_channel(first.address) as channel:
            claimed = wallet_pb2_grpc.WalletServiceStub(channel).VerifyWallet(request)
        first.stop(9)
        with grpc.insecure_channel(second.address) as channel:
            wallet = wallet_pb2_grpc.WalletServiceStub(channel)
            until = time.monotonic() + 10
            while (again := wallet.VerifyWallet(request)).disposition != wallet_pb2.WALLET_DISPOSITION_RECLAIMED:
                assert wallet_pb2.WALLET_DISPOSITION_IN_PROGRESS == again.disposition
                assert time.monotonic() < until
                time.sleep(0.1)
            assert (claimed.operation_id, 2) == (again.operation_id, again.attempt)
            with pytest.raises(grpc.RpcError):
                wallet.RecordWalletOutcome(outcome(claimed, operator_transaction_id=str(uuid.uuid4())))
            wallet.RecordWalletOutcome(outcome(again))
