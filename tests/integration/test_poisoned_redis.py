"""An attacker writes into Redis: two gateways ignore the entries, count them and ask Phoenix again.

Gateways, Redis, PostgreSQL and Phoenix are processes. The attacker knows all entry names but has no cache key.
"""

from __future__ import annotations

import base64
import itertools
import re
import secrets
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest
import redis

from gateway.core.ed25519 import SigningKey, generate_signing_key
from gateway.core.encoding import b64url_encode
from gateway.core.sealing import SealedFor, SealKeys
from gateway.core.secret import Secret
from gateway.core.types import UnixSeconds
from gateway.v1 import leaderboards_pb2, leaderboards_pb2_grpc, wallet_pb2, wallet_pb2_grpc
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.integration.test_wallet import reserve
from tests.postgres_process import PostgresProcess
from tests.redis_process import RedisMissing, RedisProcess
from tests.sandbox_process import SandboxProcess

WALLET = "phoenix.gateway.v1.WalletService"
COOLDOWN_S = 1.0
REFUSALS_OF_A_FORGERY = {"BAD_SIGNATURE", "KEY_UNAVAILABLE"}
READS_REFUSED = 'phoenix_gateway_cache_lookups_total{purpose="leaderboard",result="refused"}'


class Bench:
    """Two gateways, and an attacker in their Redis."""

    def __init__(
        self, sandbox: SandboxProcess, server: RedisProcess, settings: dict[str, str], stack: ExitStack
    ) -> None:
        self.sandbox = sandbox
        self.redis = redis.Redis(port=server.port)
        self._settings = settings
        self._stack = stack
        self.gateways = [self.start(), self.start()]

    def start(self) -> GatewayProcess:
        """One more replica."""
        gateway = self._stack.enter_context(GatewayProcess(self._settings))
        gateway.wait_serving(WALLET)
        return gateway

    def verify(self, gateway: GatewayProcess, request: wallet_pb2.VerifyWalletRequest) -> str:
        """The verdict's name."""
        with grpc.insecure_channel(gateway.address) as channel:
            answer = wallet_pb2_grpc.WalletServiceStub(channel).VerifyWallet(request, timeout=20)
        return wallet_pb2.WalletVerdict.Name(answer.verdict).removeprefix("WALLET_VERDICT_")

    def entry(self, name: bytes) -> bytes:
        """The stored entry."""
        found = self.redis.get(name)
        assert isinstance(found, bytes)
        return found

    def top(self, gateway: GatewayProcess, board: str) -> list[tuple[str, float]]:
        """The board as this gateway returns it, from its cache or Redis if possible."""
        request = leaderboards_pb2.GetLeaderboardRequest(leaderboard_id=board)
        with grpc.insecure_channel(gateway.address) as channel:
            answer = leaderboards_pb2_grpc.LeaderboardServiceStub(channel).GetLeaderboard(request, timeout=15)
        return [(entry.user_id, entry.score) for entry in answer.leaderboard.entries]

    def board(self, scores: dict[str, int]) -> str:
        """Create a separate board and return its id."""
        board = f"b-{uuid.uuid4().hex[:12]}"
        self.sandbox.control("POST", f"/boards/{self.sandbox.environ['TENANT_ID']}/{board}", {"scores": scores})
        return board

    def counted(self, gateway: GatewayProcess, series: str) -> float:
        """A counter of one gateway; 0 where there is no such series yet."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{gateway.admin_address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return sum(float(found) for found in re.findall(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE))

    def names(self, ending: str) -> list[bytes]:
        """The entries of this kind in Redis."""
        return list(self.redis.scan_iter(match=f"pgw:*{ending}"))

    @contextmanager
    def again_and_again(self, act: Callable[[], object]) -> Iterator[None]:
        """Do it all the time, in the background."""
        stop = threading.Event()

        def work() -> None:
            while not stop.wait(0.002):
                act()

        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(work)
            try:
                yield
            finally:
                stop.set()
                working.result(10)


@pytest.fixture(scope="module")
def bench(postgres_server: PostgresProcess) -> Iterator[Bench]:
    """Two gateways that have fetched the platform key; one set for all tests of this file."""
    with ExitStack() as stack:
        try:
            server = RedisProcess(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pgw-redis-"))))
        except RedisMissing as missing:
            pytest.skip(str(missing))
        server.start()
        stack.callback(server.stop)
        sandbox = stack.enter_context(SandboxProcess())
        made = Bench(sandbox, server, _settings(sandbox, server, postgres_server), stack)
        stack.callback(made.redis.close)
        yield made


def _settings(sandbox: SandboxProcess, server: RedisProcess, postgres: PostgresProcess) -> dict[str, str]:
    return {
        **of_sandbox(sandbox.urls, sandbox.environ),
        "DATABASE_URL": postgres.create_database(f"poisoned_{uuid.uuid4().hex}"),
        "REDIS_URL": server.url,
        "GATEWAY_CACHE_KEYS": base64.b64encode(secrets.token_bytes(32)).decode(),
        "PREDICTION_KEY_COOLDOWN": str(COOLDOWN_S),
        "GATEWAY_BOARD_FRESH": "30",
    }


def forged(genuine: wallet_pb2.VerifyWalletRequest, key: SigningKey) -> wallet_pb2.VerifyWalletRequest:
    """The same webhook, signed with another key."""
    made = wallet_pb2.VerifyWalletRequest()
    made.CopyFrom(genuine)
    for header in made.headers:
        if header.name.lower() == "signature":
            header.value = b64url_encode(key.sign(genuine.raw_body))
    return made


@pytest.mark.timeout(180)
def test_a_foreign_platform_key_verifies_nothing(bench: Bench) -> None:
    """A false key repeatedly overwrites the shared entry, with a wrong cache key or in plaintext. No replica uses it.

    This includes a replica that starts with this entry. Genuine webhooks are verified all the time.
    """
    attacker, _ = generate_signing_key()
    (name,) = bench.names(":entry")
    place = SealedFor(purpose="platform-key", name=bench.sandbox.urls["prediction"], environment="sandbox")
    payload = b'{"pem": "%s", "began_at": 1, "answered": [], "retired": []}' % attacker.public.spki_pem.replace(
        b"\n", b"\\n"
    )
    now = int(time.time())
    strange = SealKeys([Secret(b"a" * 32)]).seal(
        place, payload, stored_at=UnixSeconds(now), expires_at=UnixSeconds(now + 3600)
    )
    poisons = itertools.cycle([strange, payload, attacker.public.spki_pem])
    with bench.again_and_again(lambda: bench.redis.set(name, next(poisons))):
        gateways = [*bench.gateways, bench.start()]
        for gateway in gateways:
            genuine = reserve(bench.sandbox)
            assert bench.verify(gateway, forged(genuine, attacker)) in REFUSALS_OF_A_FORGERY
            assert "VERIFIED" == bench.verify(gateway, genuine)
        refused = 'phoenix_gateway_platform_key_events_total{event="entry_refused"}'
        assert [] == [gateway.pid for gateway in gateways if not bench.counted(gateway, refused)]


@pytest.mark.timeout(120)
def test_an_old_platform_key_put_back_verifies_nothing(bench: Bench) -> None:
    """A genuine entry from before a rotation: its key is retired, and calls get that result."""
    late = reserve(bench.sandbox)
    (name,) = bench.names(":entry")
    old = bench.entry(name)
    bench.sandbox.control("POST", "/keys/rotate", {})
    for gateway in bench.gateways:
        assert "VERIFIED" == bench.verify(gateway, reserve(bench.sandbox))
    with bench.again_and_again(lambda: bench.redis.set(name, old)):
        for gateway in bench.gateways:
            assert bench.verify(gateway, late) in {
                "KEY_RETIRED",
                "KEY_UNAVAILABLE",
            }
            assert "VERIFIED" == bench.verify(gateway, reserve(bench.sandbox))


@pytest.mark.timeout(120)
def test_a_changed_leaderboard_is_fetched_again(bench: Bench) -> None:
    """One changed bit of a shared answer: refused and counted, and a replica without its own answer asks Phoenix."""
    first, second = bench.gateways
    board = bench.board({"ada": 10, "bob": 5})
    before, before_count = set(bench.names(":entry")), bench.counted(second, READS_REFUSED)
    assert [("ada", 10.0), ("bob", 5.0)] == bench.top(first, board)
    (name,) = set(bench.names(":entry")) - before
    entry = bytearray(bench.entry(name))
    assert b"ada" not in entry  # encrypted: nobody can read the cache in Redis
    entry[-40] ^= 1
    bench.redis.set(name, bytes(entry), keepttl=True)
    assert [("ada", 10.0), ("bob", 5.0)] == bench.top(second, board)
    assert before_count + 1 == bench.counted(second, READS_REFUSED)


@pytest.mark.timeout(120)
def test_an_entry_past_its_sealed_end_is_not_believed(bench: Bench) -> None:
    """That a board does not exist is remembered for seconds. Put back later with a new time to live, it is refused."""
    first, second = bench.gateways
    board = f"b-{uuid.uuid4().hex[:12]}"
    before, before_count = set(bench.names(":entry")), bench.counted(second, READS_REFUSED)
    with pytest.raises(grpc.RpcError):
        bench.top(first, board)
    (name,) = set(bench.names(":entry")) - before
    old, left_ms = bench.entry(name), bench.redis.pttl(name)
    bench.sandbox.control("POST", f"/boards/{bench.sandbox.environ['TENANT_ID']}/{board}", {"scores": {"ada": 1}})
    until = time.monotonic() + left_ms / 1000 + 1.5  # the seal's end is in whole seconds, rounded up
    while time.monotonic() < until:
        time.sleep(0.1)
    bench.redis.set(name, old, px=left_ms)
    assert [("ada", 1.0)] == bench.top(second, board)
    assert before_count + 1 == bench.counted(second, READS_REFUSED)


@pytest.mark.timeout(120)
def test_garbage_everywhere_does_no_harm(bench: Bench) -> None:
    """Every entry replaced: verdicts and boards are what they were."""
    for garbage in (secrets.token_bytes(64), secrets.token_bytes(2_000_000), None):
        board = bench.board({"ada": 3})
        assert [("ada", 3.0)] == bench.top(bench.gateways[0], board)
        for name in bench.names("*"):
            bench.redis.delete(name)
            if garbage is None:
                bench.redis.hset(name, "field", b"value")
            else:
                bench.redis.set(name, garbage)
        for gateway in bench.gateways:
            assert [("ada", 3.0)] == bench.top(gateway, board)
            assert "VERIFIED" == bench.verify(gateway, reserve(bench.sandbox))
            assert bench.verify(gateway, reserve(bench.sandbox, forge="bit")) in REFUSALS_OF_A_FORGERY


@pytest.mark.timeout(120)
def test_a_deleted_lease_wins_no_second_fetch(bench: Bench) -> None:
    """The attacker keeps deleting every lease while forgeries flood one process. It keeps its own cooldown.

    Keep this test last: it stops the other gateway, whose fetches look the same as this one's.
    """
    gateway, idle = bench.gateways
    idle.stop()
    forgeries = [reserve(bench.sandbox, forge="bit") for _ in range(8)]
    begun_before = bench.sandbox.control("GET", "/keys")["fetches"]

    def delete() -> None:
        for name in bench.names(":lease"):
            bench.redis.delete(name)

    with bench.again_and_again(delete), ThreadPoolExecutor(8) as pool:
        until = time.monotonic() + 4 * COOLDOWN_S
        found = set()
        while time.monotonic() < until:
            found |= set(pool.map(lambda request: bench.verify(gateway, request), forgeries))
    assert found <= REFUSALS_OF_A_FORGERY
    begun = bench.sandbox.control("GET", "/keys")["fetch_monotonic"][begun_before:]
    assert len(begun) >= 3
    # What is measured is when requests arrive at Phoenix: a little of a cooldown may be lost on the way there.
    assert min(later - earlier for earlier, later in itertools.pairwise(begun)) >= COOLDOWN_S - 0.2
