"""What the doctor finds of Redis, each time with one fault planted."""

from __future__ import annotations

import asyncio
import base64
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.cache.client import RedisCache
from gateway.cache.redis_url import parse_redis_url
from gateway.core.ed25519 import generate_signing_key
from gateway.core.sealing import SealKeys
from gateway.core.types import Environment
from gateway.doctor.redis_checks import redis
from gateway.doctor.report import Result, State
from gateway.keys.platform.redis_key_cache import RedisKeyCache
from gateway.keys.platform.shared_key import KeyEntry
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline
from tests.config.valid_settings import WHOLE
from tests.doctor.diagnosis import config_of
from tests.ports import free_port
from tests.redis_process import RedisProcess, two_nodes

CLOCK = SystemClock()


def seal_key() -> str:
    """A fresh key as GATEWAY_CACHE_KEYS holds it."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


async def look_at_redis(url: str, keys: str | None = None) -> Result:
    """The doctor's findings for this Redis."""
    settings = {
        **WHOLE,
        "REDIS_URL": url,
        "GATEWAY_CACHE_KEYS": keys or seal_key(),
        "DATABASE_URL": "postgresql://u@127.0.0.1/d",
    }
    return await redis(config_of(settings), CLOCK, Deadline.after(5, CLOCK))


async def test_no_redis() -> None:
    """Without REDIS_URL the cache is in-process, which is fine."""
    result = await redis(config_of(WHOLE), CLOCK, Deadline.after(5, CLOCK))
    assert (result.state, result.what.split(":")[0]) == (State.OK, "in-process")


async def test_redis_that_works(redis_server: RedisProcess) -> None:
    """A sealed value comes back, and nothing is left behind."""
    result = await look_at_redis(redis_server.url)
    assert (result.state, "a sealed value came back" in result.what) == (State.OK, True)
    assert redis_server.command("DBSIZE") == b":0\r\n"


async def test_redis_that_is_down() -> None:
    """Without a listener: a fault that names REDIS_URL and says that the gateway continues."""
    result = await look_at_redis(f"redis://127.0.0.1:{free_port()}/0")
    assert (result.state, "REDIS_URL" in result.fix, "ECONNREFUSED" in result.what) == (State.FAULT, True, True)
    assert "each replica serves with its own cache" in result.what


async def test_redis_that_is_frozen(redis_server: RedisProcess) -> None:
    """A Redis that accepts connections and does not answer is a fault within the time limit."""
    redis_server.pause()
    result = await look_at_redis(redis_server.url)
    assert (result.state, "no answer in time within 2 s" in result.what) == (State.FAULT, True)


async def test_redis_with_another_password(redis_server: RedisProcess) -> None:
    """A wrong password differs from a missing Redis, and the finding does not show it."""
    redis_server.command("CONFIG", "SET", "requirepass", "right")
    result = await look_at_redis(redis_server.url.replace("redis://", "redis://:wrong-one@"))
    assert (result.state, result.fix) == (State.FAULT, "check user and password in REDIS_URL")
    assert "wrong-one" not in f"{result}"


async def test_redis_that_is_full(redis_server: RedisProcess) -> None:
    """A full Redis is a fault that names its memory."""
    redis_server.command("CONFIG", "SET", "maxmemory", "1")
    result = await look_at_redis(redis_server.url)
    assert (result.state, "maxmemory" in result.fix) == (State.FAULT, True)


def _without_master(server: RedisProcess) -> None:
    server.command("CONFIG", "SET", "replica-serve-stale-data", "no")
    server.command("REPLICAOF", "127.0.0.1", "1")


REDIS_FAULTS: dict[str, tuple[Callable[[RedisProcess], object], str, str]] = {
    "a replica": (lambda server: server.command("REPLICAOF", "127.0.0.1", "1"), "READONLY", "the primary"),
    "without its master": (_without_master, "MASTERDOWN", "Sentinel"),
    "without its replicas": (
        lambda server: server.command("CONFIG", "SET", "min-replicas-to-write", "1"),
        "NOREPLICAS",
        "replica",
    ),
    "with a password": (lambda server: server.command("CONFIG", "SET", "requirepass", "x"), "NOAUTH", "password"),
    "without a right": (lambda server: server.command("ACL", "SETUSER", "default", "-set"), "NOPERM", "pgw:*"),
}


@pytest.mark.parametrize("name", list(REDIS_FAULTS))
async def test_redis_that_refuses(redis_server: RedisProcess, name: str) -> None:
    """The finding names the host, Redis's own code, and what to do."""
    spoil, code, fix = REDIS_FAULTS[name]
    spoil(redis_server)
    await asyncio.sleep(0.2)  # a replica needs a moment to see that its master is gone
    result = await look_at_redis(redis_server.url)
    assert (result.state, code in result.what, fix in result.fix) == (State.FAULT, True, True), result
    assert f"127.0.0.1:{redis_server.port}" in result.what


async def test_a_cluster_of_which_no_node_answers() -> None:
    """An error of the library outside its base class is a finding like any other."""
    result = await look_at_redis(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}")
    assert (result.state, "no connection to Redis" in result.what, "ECONNREFUSED" in result.what) == (
        State.FAULT,
        True,
        True,
    )


async def test_one_node_of_a_cluster() -> None:
    """With `redis://` the keys of the other nodes are missing; the doctor says what to write."""
    with tempfile.TemporaryDirectory(prefix="pgw-redis-") as directory, two_nodes(Path(directory)) as nodes:
        result = await look_at_redis(nodes[0].url)
        assert (result.state, "MOVED" in result.what, "redis+cluster://" in result.fix) == (State.FAULT, True, True)
        whole = await look_at_redis(f"redis+cluster://127.0.0.1:{nodes[0].port}")
        assert whole.state is not State.FAULT


async def test_redis_with_the_entry_of_another_key(redis_server: RedisProcess) -> None:
    """A platform key that another replica sealed by another key is a fault that names GATEWAY_CACHE_KEYS."""
    cache = RedisCache(parse_redis_url(redis_server.url), CLOCK)
    config = config_of(WHOLE)
    shared = RedisKeyCache(
        cache=cache,
        seal_keys=SealKeys.from_text(seal_key()),
        clock=CLOCK,
        host=config.operators[0].base_url,
        environment=Environment.SANDBOX,
    )
    await cache.start()
    key = generate_signing_key()[0].public
    await shared.publish(KeyEntry(key=key, began_at=CLOCK.now(), answered=frozenset()))
    await cache.close()
    result = await look_at_redis(redis_server.url)
    assert (result.state, "GATEWAY_CACHE_KEYS" in result.fix) == (State.FAULT, True)
