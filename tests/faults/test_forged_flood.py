"""Thousands of forged webhooks at four gateways with one Redis: one key fetch per cooldown, no refused genuine call.

The flood keeps more calls waiting than the limit. At the same time, genuine calls are sent through every
gateway without a pause, and the key rotates in the middle. Small in `make test`, 100,000 webhooks each in
`make test-faults`.
"""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import pytest

from bench.messages import read_messages, write_messages
from gateway.v1 import wallet_pb2, wallet_pb2_grpc
from tests.gateway_process import ROOT, GatewayProcess, of_sandbox
from tests.integration.event_calls import redis_misses
from tests.integration.test_wallet import reserve
from tests.integration.webhook_verdicts import rsa_pem
from tests.postgres_process import PostgresProcess
from tests.redis_process import RedisProcess
from tests.sandbox_process import SandboxProcess

REPLICAS = 4
SMALL, FULL = 4_000, 100_000
ROUNDS = 3
WALLET = "phoenix.gateway.v1.WalletService"
VERIFY = f"/{WALLET}/VerifyWallet"
V = wallet_pb2.WalletVerdict
_FORGERIES = ("bit", "body", "operator_key")


TROUBLES: dict[str, dict[str, Any]] = {
    "well": {},
    "hanging": {"kind": "hang"},
    "500": {"kind": "status", "status": 500},
    "html": {"kind": "status", "status": 200, "body": "<html><body>Welcome</body></html>"},
    "rsa": {"kind": "status", "status": 200, "body": rsa_pem()},
    "100 MB": {"kind": "huge", "megabytes": 100},
}


@dataclass(slots=True, kw_only=True)
class Genuine:
    """Sends genuine calls through one gateway until it is stopped, and remembers what they got."""

    sandbox: SandboxProcess
    wallet: wallet_pb2_grpc.WalletServiceStub
    verdicts: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the call that is on its way."""
        self._stop.set()
        assert self._thread is not None
        self._thread.join(30)

    def _run(self) -> None:
        on_its_way = reserve(self.sandbox)
        while not self._stop.is_set():
            # Signed one call before it is sent: a rotation in between finds it on its way.
            request, on_its_way = on_its_way, reserve(self.sandbox)
            began = time.monotonic()
            try:
                answer = self.wallet.VerifyWallet(request, timeout=20)
            except grpc.RpcError as error:
                self.failures[error.code().name] += 1  # no verdict: the wallet answers 503
                continue
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self.verdicts[V.Name(answer.verdict).removeprefix("WALLET_VERDICT_")] += 1
            self.statuses[answer.reply.status] += 1


class Fleet:
    """Four gateways, their Phoenix and their calls."""

    def __init__(
        self, gateways: list[GatewayProcess], channels: list[grpc.Channel], sandbox: SandboxProcess, cooldown_s: float
    ) -> None:
        self.cooldown_s = cooldown_s
        self.gateways = gateways
        self.sandbox = sandbox
        self.wallets = [wallet_pb2_grpc.WalletServiceStub(channel) for channel in channels]

    def keys(self) -> dict[str, Any]:
        """The sandbox's record of its key."""
        shown: dict[str, Any] = self.sandbox.control("GET", "/keys")
        return shown

    def flood(self, count: int, folder: Path, streams: int) -> list[subprocess.Popen[str]]:
        """Start to send this many forged webhooks, with a separate load generator for each gateway."""
        forged = [reserve(self.sandbox, forge=_FORGERIES[number % 3]).SerializeToString() for number in range(60)]
        requests = folder / "forged"
        share = count // REPLICAS
        write_messages(requests, (forged[number % len(forged)] for number in range(share)))
        return [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "bench.load_generator", "--port", gateway.address.rpartition(":")[2]),
                    *("--path", VERIFY, "--requests", str(requests), "--seconds", "600"),
                    *("--connections", "10", "--streams", str(streams // 10)),
                    *("--answers", str(folder / f"answers-{number}")),
                ],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number, gateway in enumerate(self.gateways)
        ]


@pytest.fixture(scope="module")
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Four replicas with PostgreSQL, Redis and their own sandbox. The parameter is the cooldown in seconds."""
    with ExitStack() as stack:
        sandbox = stack.enter_context(SandboxProcess())
        postgres: PostgresProcess = request.getfixturevalue("postgres_server")
        redis = RedisProcess(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pgw-redis-"))))
        redis.start()
        stack.callback(redis.stop)
        settings = of_sandbox(sandbox.urls, sandbox.environ) | {
            "DATABASE_URL": postgres.create_database(f"flood_{uuid.uuid4().hex}"),
            "REDIS_URL": redis.url,
            "GATEWAY_CACHE_KEYS": base64.b64encode(secrets.token_bytes(32)).decode(),
            "GATEWAY_LOG_LEVEL": "warning",
            "PREDICTION_KEY_COOLDOWN": str(request.param),
        }
        gateways = [GatewayProcess(settings) for _ in range(REPLICAS)]
        for gateway in gateways:
            stack.enter_context(gateway)
            gateway.wait_serving(WALLET)
        channels = [stack.enter_context(grpc.insecure_channel(gateway.address)) for gateway in gateways]
        yield Fleet(gateways, channels, sandbox, request.param)


@pytest.mark.timeout(120 * ROUNDS)
@pytest.mark.parametrize("fleet", [2.0], indirect=True)
@pytest.mark.parametrize("trouble", ["well"])
def test_a_small_flood(fleet: Fleet, tmp_path: Path, trouble: str) -> None:
    """Some thousand; the key server's troubles one by one are in test_verdicts.py."""
    flooded(fleet, tmp_path, trouble, SMALL, streams=600, rotate_after=2)


@pytest.mark.faults
@pytest.mark.timeout(900 * ROUNDS)  # 100,000 forged calls on two cores
@pytest.mark.parametrize("fleet", [2.0], indirect=True)
@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_flood(fleet: Fleet, tmp_path: Path, trouble: str) -> None:
    """100,000, more at once than may wait, with each of the key server's troubles."""
    flooded(fleet, tmp_path, trouble, FULL, streams=2500, rotate_after=10)


def flooded(fleet: Fleet, folder: Path, trouble: str, count: int, *, streams: int, rotate_after: int) -> None:
    """Flood, rotate after this many fetches, and check every answer and every fetch.

    If the key server fails, genuine calls pass until then and are postponed afterwards. A gateway that Redis does not
    answer in time fetches alone, as it should: where that happened, fetches that come too soon are no fault yet.
    """
    for left in reversed(range(ROUNDS)):
        too_soon, missed = flood_once(fleet, folder, trouble, count, streams=streams, rotate_after=rotate_after)
        assert [] == too_soon or (missed and left)
        if not too_soon:
            break


def flood_once(
    fleet: Fleet, folder: Path, trouble: str, count: int, *, streams: int, rotate_after: int
) -> tuple[list[str], float]:
    """Check everything but the times of the fetches. Return what is wrong with those, and what Redis missed."""
    sandbox = fleet.sandbox
    sandbox.control("DELETE", "/faults")
    wait_for_newest_key(fleet)
    genuine = [Genuine(sandbox=sandbox, wallet=wallet) for wallet in fleet.wallets]
    missed_before = redis_misses(fleet.gateways)
    fetched_before, began = fleet.keys()["fetches"], time.monotonic()
    loads = fleet.flood(count, folder, streams)
    try:
        for one in genuine:
            one.start()
        if TROUBLES[trouble]:
            sandbox.control(
                "POST", "/faults", {"surface": "prediction", "path_prefix": "/.well-known", **TROUBLES[trouble]}
            )
        wait_for_fetches(fleet, fetched_before + rotate_after)
        sandbox.control("POST", "/keys/rotate", {})
        outcomes = [json.loads(load.communicate(timeout=800)[0]) for load in loads]
        if not TROUBLES[trouble]:
            wait_for_newest_key(fleet)
    finally:
        for one in genuine:
            one.stop()
        for load in loads:
            load.kill()
            load.communicate()
    fetched = fleet.keys()["fetch_monotonic"][fetched_before:]
    fetches = len(fetched)
    took = time.monotonic() - began
    gaps = [later - earlier for earlier, later in pairwise(fetched)]
    missed = redis_misses(fleet.gateways) - missed_before
    refused = verdicts_in(folder)
    reported: dict[str, Any] = {
        "trouble": trouble,
        "forged": dict(refused),
        "seconds": round(took, 1),
        "fetches": fetches,
        "shortest_gap_s": round(min(gaps, default=0.0), 2),
        "redis_missed": missed,
        "genuine": dict(sum((one.verdicts for one in genuine), Counter())),
        "failed": dict(sum((one.failures for one in genuine), Counter())),
        "slowest_genuine_s": round(max(one.slowest_s for one in genuine), 2),
    }
    print(json.dumps(reported))

    # Every forged call is refused against a fresh key or postponed. None passes and none fails.
    assert [{}] * REPLICAS == [outcome["failures"] for outcome in outcomes]
    assert count == sum(refused.values())
    assert {"BAD_SIGNATURE", "KEY_UNAVAILABLE"} >= set(refused)
    assert TROUBLES[trouble] or refused["BAD_SIGNATURE"] > 0

    # One fetch a cooldown for all of them, however long each took; one may have been in flight at either end.
    assert fetches >= 2
    too_soon = [] if fetches <= took / fleet.cooldown_s + 2 else [f"{fetches} in {took:.1f} s"]
    # Arrivals, not departures: half a cooldown is left to the way there.
    too_soon += [f"{gap:.2f} s after the one before" for gap in gaps if gap < fleet.cooldown_s / 2]

    # No genuine call was refused or failed; good ones kept passing through every gateway.
    statuses: Counter[int] = sum((one.statuses for one in genuine), Counter())
    assert {0, 503} >= set(statuses), statuses
    assert {} == reported["failed"]
    assert [] == [one.verdicts for one in genuine if one.verdicts["VERIFIED"] == 0]

    # And when the key server is well again, what was signed with the new key passes everywhere.
    sandbox.control("DELETE", "/faults")
    wait_for_newest_key(fleet)
    return too_soon, missed


def verdicts_in(folder: Path) -> Counter[str]:
    """The verdicts of all answers to the flood; a BAD_SIGNATURE is a 401, anything else a 503."""
    found: Counter[str] = Counter()
    for number in range(REPLICAS):
        for message in read_messages(folder / f"answers-{number}"):
            answer = wallet_pb2.VerifyWalletResponse.FromString(message)
            name = V.Name(answer.verdict).removeprefix("WALLET_VERDICT_")
            assert (401 if name == "BAD_SIGNATURE" else 503) == answer.reply.status
            found[name] += 1
    return found


def wait_for_fetches(fleet: Fleet, count: int) -> None:
    """Wait until so many fetches have come."""
    until = time.monotonic() + 200
    while fleet.keys()["fetches"] < count:
        assert time.monotonic() < until
        time.sleep(0.1)


def wait_for_newest_key(fleet: Fleet) -> None:
    """Wait until every gateway verifies what the newest key signs; meanwhile it is put off, never refused."""
    until = time.monotonic() + 60
    for wallet in fleet.wallets:
        while (answer := wallet.VerifyWallet(reserve(fleet.sandbox), timeout=20)).verdict != V.WALLET_VERDICT_VERIFIED:
            assert 503 == answer.reply.status
            assert time.monotonic() < until
            time.sleep(0.2)
