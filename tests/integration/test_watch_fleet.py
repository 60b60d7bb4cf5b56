"""Watchers and readers while Phoenix, gateways and Redis are killed, restarted and emptied under them."""

from __future__ import annotations

import base64
import secrets
import signal
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.v1 import common_pb2
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.integration.board_watching import Reader, Scores, Watcher, running, until
from tests.ports import free_port
from tests.postgres_process import PostgresProcess
from tests.redis_process import RedisMissing, RedisProcess
from tests.sandbox.client import Client
from tests.sandbox_process import SandboxProcess

FAULTS = {"cut": 0.005, "half": 0.005, "garbage": 0.03, "duplicate": 0.1, "reorder": 0.1, "unknown": 0.03}
SOCKET = common_pb2.FRESHNESS_SOURCE_SOCKET


@pytest.fixture
def scores() -> Scores:
    """A board of 40 users that no other test has."""
    return Scores(board=f"live-{uuid.uuid4().hex[:8]}", scores={f"user-{n:03}": 500.0 - n for n in range(40)})


@pytest.fixture
def mortal_sandbox() -> Iterator[SandboxProcess]:
    """A Phoenix that has the same ports after a restart."""
    with SandboxProcess(arguments=["--port-base", str(_port_base())]) as process:
        yield process


def _port_base() -> int:
    """Return the first of five free ports in a row, which nobody else gets while Phoenix is down."""
    ports = [free_port()]
    while len(ports) < 5:
        port = free_port()
        ports = [*ports, port] if port == ports[-1] + 1 else [port]
    return ports[0]


@pytest.mark.timeout(200)  # three restarts of Phoenix, each with the gateway's waits between connections
async def test_watchers_follow_a_phoenix_that_is_killed_and_comes_back(
    mortal_sandbox: SandboxProcess, scores: Scores
) -> None:
    """Every watcher ends with the correct board and learns of each disconnect. None has to reconnect."""
    sandbox = mortal_sandbox
    scores.make(sandbox)
    with GatewayProcess(of_sandbox(sandbox.urls, sandbox.environ)) as gateway:
        watchers = [Watcher(scores.board, lambda: gateway.address, size) for size in (100, 10, 1000, 3)]
        async with running(*watchers), Client(sandbox) as client:
            for life in range(4):
                sandbox.control("POST", "/sockets", {"form": ["pages", "changes"][life % 2], "faults": FAULTS})
                for number in range(100):
                    await scores.move(client, f"user-{number * 7 % 50:03}", 1 + number * 13 % 50)
                await until(lambda: all(watcher.shows(scores) for watcher in watchers), 60)
                if life < 3:
                    sandbox.stop(signal.SIGKILL)
                    sandbox.start()
                    scores.make(sandbox)
        assert [[]] * 4 == [watcher.broken for watcher in watchers]
        assert [1] * 4 == [watcher.streams for watcher in watchers]
        assert all(len(watcher.epochs) >= 4 for watcher in watchers)


@pytest.mark.timeout(90)  # three starts of gateways
async def test_a_watcher_that_comes_to_another_gateway_never_takes_it_for_the_same(
    sandbox: SandboxProcess, scores: Scores
) -> None:
    """A snapshot first, of an epoch that it has never seen: when its gateway is killed, and when that is back."""
    scores.make(sandbox)
    settings = of_sandbox(sandbox.urls, sandbox.environ)
    with GatewayProcess(settings) as one, GatewayProcess(settings) as other:
        serving = one
        watcher = Watcher(scores.board, lambda: serving.address)
        async with running(watcher), Client(sandbox) as client:
            for streams, (dying, serving_next) in enumerate([(one, other), (other, one)], start=1):
                await scores.move(client)
                await until(lambda: watcher.shows(scores))
                assert (streams, streams) == (watcher.streams, len(watcher.epochs))
                serving = serving_next
                dying.stop(signal.SIGKILL)
                await scores.move(client)
                await until(lambda: watcher.shows(scores))
                if dying is one:
                    one.start()
        assert ([], 3, 3) == (watcher.broken, watcher.streams, len(set(watcher.epochs)))


@pytest.fixture
def redis() -> Iterator[RedisProcess]:
    with tempfile.TemporaryDirectory(prefix="pgw-redis-") as directory:
        try:
            process = RedisProcess(Path(directory))
        except RedisMissing as missing:
            pytest.skip(str(missing))
        process.start()
        try:
            yield process
        finally:
            process.stop()


@pytest.mark.timeout(120)
async def test_redis_may_be_emptied_and_killed_under_watchers_and_readers(
    sandbox: SandboxProcess, postgres_server: PostgresProcess, redis: RedisProcess, scores: Scores
) -> None:
    """No call fails, no answer is older than reported, and every watcher ends with the correct board."""
    unwatched = Scores(board=f"read-{uuid.uuid4().hex[:8]}")
    scores.make(sandbox)
    unwatched.make(sandbox)
    settings = of_sandbox(sandbox.urls, sandbox.environ) | {
        "DATABASE_URL": postgres_server.create_database(f"watch_{uuid.uuid4().hex}"),
        "REDIS_URL": redis.url,
        "GATEWAY_CACHE_KEYS": base64.b64encode(secrets.token_bytes(32)).decode(),
    }
    with GatewayProcess(settings) as one, GatewayProcess(settings) as other:
        watchers = [Watcher(scores.board, lambda each=each: each.address) for each in (one, other)]  # type: ignore[misc]
        readers = [
            Reader(of, lambda each=each: each.address, staleness_s)  # type: ignore[misc]
            for each in (one, other)
            for of, staleness_s in ((scores, None), (unwatched, None), (unwatched, 0.3), (unwatched, 0.0))
        ]
        async with running(*watchers, *readers), Client(sandbox) as client:
            await until(lambda: all(reader.sources for reader in readers))
            for trouble in (redis.flush, redis.kill, redis.start, redis.flush, redis.restart, redis.pause):
                for _ in range(40):
                    await scores.move(client)
                    await unwatched.move(client)
                trouble()
            for _ in range(40):
                await scores.move(client)
                await unwatched.move(client)
            redis.resume()
            await until(lambda: all(watcher.shows(scores) for watcher in watchers))
        assert [([], [])] * 8 == [(reader.failed, reader.too_old) for reader in readers]
        assert all(reader.sources.get(SOCKET, 0) > 0 for reader in readers[::4])
        assert [([], 1)] * 2 == [(watcher.broken, watcher.streams) for watcher in watchers]
