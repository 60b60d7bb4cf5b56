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
from tests.integration.awaited_calls import eventually
from tests.integration.test_wallet import reserve
from tests.postgres_process import PostgresProcess
from tests.redis_process import RedisMissing, RedisProcess
from tests.sandbox_process import SandboxProcess

WALLET = "phoenix.gateway.v1.WalletService"
COOLDOWN_S = 1.0
REFUSALS_OF_A_FORGERY = {"BAD_SIGNATURE", "KEY_UNAVAILABLE"}
READS_REFUSED = 'phoenix_gateway_cache_lookups_total{purpose="leaderboard",result="refused"}'


class Setup:
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
        found = re.findall(rf"^{re.escape(series)} (\S+)$", self._page(gateway), re.MULTILINE)
        return sum(map(float, found))

    def _page(self, gateway: GatewayProcess) -> str:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{gateway.admin_address}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def redis_failures(self) -> float:
        """Uses of Redis that failed or were left out, of both gateways, once both use it.

        A look-up that Redis does not answer in time refuses no entry: a round with such a failure shows nothing.
        """
        assert eventually(lambda: self._total("phoenix_gateway_redis_down") == 0)
        return self._total("phoenix_gateway_redis_failures_total")

    def _total(self, metric: str) -> float:
        """The sum of a metric's series of both gateways."""
        series = rf"^{metric}\{{.*\}} (\S+)$"
        return sum(float(found) for one in self.gateways for found in re.findall(series, self._page(one), re.MULTILINE))

    def published_since(self, before: set[bytes]) -> bytes | None:
        """The entry that came since then, which is published behind an answer; None if none comes."""
        names: set[bytes] = eventually(lambda: set(self.names(":entry")) - before)
        assert len(names) <= 1
        return next(iter(names), None)

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
def setup(postgres_server: PostgresProcess) -> Iterator[Setup]:
    """Two gateways that have fetched the platform key; one set for all tests of this file."""
    with ExitStack() as stack:
        try:
            server = RedisProcess(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pgw-redis-"))))
        except RedisMissing as missing:
            pytest.skip(str(missing))
        server.start()
        stack.callback(server.stop)
        sandbox = stack.enter_context(SandboxProcess())
        made = Setup(sandbox, server, _settings(sandbox, server, postgres_server), stack)
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
def test_a_foreign_platform_key_verifies_nothing(setup: Setup) -> None:
    """A false key repeatedly overwrites the shared entry, with a wrong cache key or in plaintext. No replica uses it.

    This includes a replica that starts with this entry. Genuine webhooks are verified all the time.
    """
    attacker, _ = generate_signing_key()
    (name,) = setup.names(":entry")
    place = SealedFor(purpose="platform-key", name=setup.sandbox.urls["prediction"], environment="sandbox")
    payload = b'{"pem": "%s", "began_at": 1, "answered": [], "retired": []}' % attacker.public.spki_pem.replace(
        b"\n", b"\\n"
    )
    now = int(time.time())
    strange = SealKeys([Secret(b"a" * 32)]).seal(
        place, payload, stored_at=UnixSeconds(now), expires_at=UnixSeconds(now + 3600)
    )
    poisons = itertools.cycle([strange, payload, attacker.public.spki_pem])
    with setup.again_and_again(lambda: setup.redis.set(name, next(poisons))):
        gateways = [*setup.gateways, setup.start()]
        for gateway in gateways:
            genuine = reserve(setup.sandbox)
            assert setup.verify(gateway, forged(genuine, attacker)) in REFUSALS_OF_A_FORGERY
            assert "VERIFIED" == setup.verify(gateway, genuine)
        refused = 'phoenix_gateway_platform_key_events_total{event="entry_refused"}'
        assert [] == [gateway.pid for gateway in gateways if not setup.counted(gateway, refused)]


@pytest.mark.timeout(120)
def test_an_old_platform_key_put_back_verifies_nothing(setup: Setup) -> None:
    """A genuine entry from before a rotation: its key is retired, and calls get that result."""
    late = reserve(setup.sandbox)
    (name,) = setup.names(":entry")
    old = setup.entry(name)
    setup.sandbox.control("POST", "/keys/rotate", {})
    for gateway in setup.gateways:
        assert "VERIFIED" == setup.verify(gateway, reserve(setup.sandbox))
    with setup.again_and_again(lambda: setup.redis.set(name, old)):
        for gateway in setup.gateways:
            assert setup.verify(gateway, late) in {
                "KEY_RETIRED",
                "KEY_UNAVAILABLE",
            }
            assert "VERIFIED" == setup.verify(gateway, reserve(setup.sandbox))


@pytest.mark.timeout(120)
def test_a_changed_leaderboard_is_fetched_again(setup: Setup) -> None:
    """One changed bit of a shared answer: refused and counted, and a replica without its own answer asks Phoenix."""
    first, second = setup.gateways
    refused = 0.0
    for _ in range(3):
        failures = setup.redis_failures()
        board = setup.board({"ada": 10, "bob": 5})
        before, before_count = set(setup.names(":entry")), setup.counted(second, READS_REFUSED)
        assert [("ada", 10.0), ("bob", 5.0)] == setup.top(first, board)
        name = setup.published_since(before)
        if name is None:
            continue
        entry = bytearray(setup.entry(name))
        assert b"ada" not in entry  # encrypted: nobody can read the cache in Redis
        entry[-40] ^= 1
        setup.redis.set(name, bytes(entry), keepttl=True)
        assert [("ada", 10.0), ("bob", 5.0)] == setup.top(second, board)
        refused = setup.counted(second, READS_REFUSED) - before_count
        if setup.redis_failures() == failures:
            break
    assert refused == 1


@pytest.mark.timeout(120)
def test_an_entry_past_its_sealed_end_is_not_believed(setup: Setup) -> None:
    """That a board does not exist is remembered for seconds. Put back later with a new time to live, it is refused."""
    first, second = setup.gateways
    refused = 0.0
    for _ in range(3):
        failures = setup.redis_failures()
        board = f"b-{uuid.uuid4().hex[:12]}"
        before, before_count = set(setup.names(":entry")), setup.counted(second, READS_REFUSED)
        with pytest.raises(grpc.RpcError):
            setup.top(first, board)
        name = setup.published_since(before)
        old, left_ms = (None, 0) if name is None else (setup.redis.get(name), setup.redis.pttl(name))
        if name is None or old is None or left_ms <= 0:  # it was not published, or is gone already
            continue
        setup.sandbox.control("POST", f"/boards/{setup.sandbox.environ['TENANT_ID']}/{board}", {"scores": {"ada": 1}})
        until = time.monotonic() + left_ms / 1000 + 1.5  # the seal's end is in whole seconds, rounded up
        while time.monotonic() < until:
            time.sleep(0.1)
        setup.redis.set(name, old, px=10_000)
        assert [("ada", 1.0)] == setup.top(second, board)
        refused = setup.counted(second, READS_REFUSED) - before_count
        if setup.redis_failures() == failures:
            break
    assert refused == 1


@pytest.mark.timeout(120)
def test_garbage_everywhere_does_no_harm(setup: Setup) -> None:
    """Every entry replaced: verdicts and boards are what they were."""
    for garbage in (secrets.token_bytes(64), secrets.token_bytes(2_000_000), None):
        board = setup.board({"ada": 3})
        assert [("ada", 3.0)] == setup.top(setup.gateways[0], board)
        for name in setup.names("*"):
            setup.redis.delete(name)
            if garbage is None:
                setup.redis.hset(name, "field", b"value")
            else:
                setup.redis.set(name, garbage)
        for gateway in setup.gateways:
            assert [("ada", 3.0)] == setup.top(gateway, board)
            assert "VERIFIED" == setup.verify(gateway, reserve(setup.sandbox))
            assert setup.verify(gateway, reserve(setup.sandbox, forge="bit")) in REFUSALS_OF_A_FORGERY


@pytest.mark.timeout(120)
def test_a_deleted_lease_wins_no_second_fetch(setup: Setup) -> None:
    """The attacker keeps deleting every lease while forgeries flood one process. It keeps its own cooldown.

    Keep this test last: it stops the other gateway, whose fetches look the same as this one's.
    """
    gateway, idle = setup.gateways
    idle.stop()
    forgeries = [reserve(setup.sandbox, forge="bit") for _ in range(8)]

    def delete() -> None:
        for name in setup.names(":lease"):
            setup.redis.delete(name)

    shortest: list[float] = []
    while len(shortest) < 3 and not (shortest and shortest[-1] >= COOLDOWN_S - 0.2):
        begun_before = setup.sandbox.control("GET", "/keys")["fetches"]
        with setup.again_and_again(delete), ThreadPoolExecutor(8) as pool:
            until = time.monotonic() + 4 * COOLDOWN_S
            found = set()
            while time.monotonic() < until:
                found |= set(pool.map(lambda request: setup.verify(gateway, request), forgeries))
        assert found <= REFUSALS_OF_A_FORGERY
        begun = setup.sandbox.control("GET", "/keys")["fetch_monotonic"][begun_before:]
        assert len(begun) >= 3
        assert begun[-1] - begun[0] >= (len(begun) - 1) * COOLDOWN_S - 0.2
        shortest.append(min(later - earlier for earlier, later in itertools.pairwise(begun)))
    # What is measured is when requests arrive at Phoenix: one that is late on its way there is followed sooner.
    assert max(shortest) >= COOLDOWN_S - 0.2, shortest
