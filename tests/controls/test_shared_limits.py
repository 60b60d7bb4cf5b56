"""Limits that replicas share in a real Redis: together never more than the limit, never less than one's own share."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncIterator, Sequence

import pytest_asyncio

from gateway.cache.client import RedisCache, RedisCacheSettings
from gateway.cache.redis_url import parse_redis_url
from gateway.controls.limit_sharing import LimitSharing
from gateway.controls.shared_limits import RedisLimits, _place
from gateway.core.rights import CallLimits
from gateway.core.sealing import SealKeys
from gateway.core.types import UnixSeconds
from gateway.resilience.clock import SystemClock
from gateway.resilience.limiter import Limiter, Usage
from tests.redis_process import RedisProcess

CLOCK = SystemClock()
NAME = "caller:game"
REDIS_NAME = b"pgw:{limit}:"


class Replica:
    """A limiter that meets others in Redis, and how much it let pass."""

    def __init__(self, cache: RedisCache, keys: SealKeys, name: str, limits: CallLimits) -> None:
        self.heard: list[str] = []
        self.limiter = Limiter("caller", lambda name: limits)
        shared = RedisLimits(cache=cache, seal_keys=keys, clock=CLOCK, replica=name, on_event=self.heard.append)
        self.sharing = LimitSharing([self.limiter], shared)
        self.passed = 0

    @property
    def usage(self) -> Usage:
        found = self.limiter.of("game")
        assert found is not None
        return found

    def flood(self) -> None:
        """Ask for more than there is."""
        for _ in range(50):
            if self.usage.enter(CLOCK.monotonic()) is None:
                self.passed += 1
                self.usage.leave()


@pytest_asyncio.fixture
async def cache(redis_server: RedisProcess) -> AsyncIterator[RedisCache]:
    """A cache on a running server."""
    patient = RedisCacheSettings(timeout_s=5.0, server_timeout_s=5.0)  # a busy machine
    made = RedisCache(parse_redis_url(redis_server.url), CLOCK, patient)
    await made.start()
    yield made
    await made.close()


def seal_keys() -> SealKeys:
    return SealKeys.from_text(base64.b64encode(secrets.token_bytes(32)).decode())


KEYS = seal_keys()


async def flood_all(replicas: Sequence[Replica], seconds: float, also: Sequence[Replica] = ()) -> float:
    """Flood these replicas for so long, exchanging as a gateway does; return how long it took."""
    began = time.monotonic()
    running = [asyncio.ensure_future(one.sharing.run()) for one in (*replicas, *also)]
    while time.monotonic() - began < seconds:
        for one in replicas:
            one.flood()
        await asyncio.sleep(0.005)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    return time.monotonic() - began


async def test_two_flooded_replicas_together_let_the_limit_pass(cache: RedisCache) -> None:
    """Not twice the limit; and nearly all of it is used."""
    replicas = [Replica(cache, KEYS, name, CallLimits(requests_per_s=200)) for name in "ab"]
    for one in (*replicas, *replicas):  # each is known to the other
        one.usage.enter(CLOCK.monotonic())
        await one.sharing.exchange_now()
    took_s = await flood_all(replicas, 2.5)
    allowed = 200 + 200 * took_s  # a second's worth at once
    passed = sum(one.passed for one in replicas)
    assert 0.7 * 200 * took_s <= passed <= 1.2 * allowed


async def test_a_replica_that_all_calls_come_to_has_the_whole_limit(cache: RedisCache) -> None:
    """The share of one that is idle is not lost."""
    busy, idle = (Replica(cache, KEYS, name, CallLimits(requests_per_s=200)) for name in "ab")
    idle.usage.enter(CLOCK.monotonic())  # it stays in use: one call that goes on
    await idle.sharing.exchange_now()
    took_s = await flood_all([busy], 2.5, also=[idle])
    assert busy.passed >= 0.75 * 200 * took_s


async def test_calls_at_once_are_counted_over_the_fleet(cache: RedisCache) -> None:
    """What runs elsewhere takes places here, down to the own share."""
    a, b = (Replica(cache, KEYS, name, CallLimits(concurrent=10)) for name in "ab")
    assert [a.usage.enter(0.0) for _ in range(8)] == [None] * 8
    await a.sharing.exchange_now()
    assert b.usage.enter(0.0) is None
    await b.sharing.exchange_now()
    assert b.usage.bound == 5
    for _ in range(6):
        a.usage.leave()
    await a.sharing.exchange_now()
    await b.sharing.exchange_now()
    assert b.usage.bound == 8


async def test_a_strangers_claims_are_not_believed(cache: RedisCache, redis_server: RedisProcess) -> None:
    """Replicas and calls that were sealed with another key neither shrink a share nor take places."""
    stranger = Replica(cache, seal_keys(), "stranger", CallLimits(requests_per_s=100, concurrent=10))
    own = Replica(cache, KEYS, "own", CallLimits(requests_per_s=100, concurrent=10))
    for _ in range(9):
        stranger.usage.enter(0.0)
    await stranger.sharing.exchange_now()
    own.usage.enter(0.0)
    await own.sharing.exchange_now()
    assert own.usage.bound == 10
    assert own.heard == ["limit_entry_refused"]


async def test_an_emptied_balance_leaves_every_replica_its_share(cache: RedisCache, redis_server: RedisProcess) -> None:
    """Who can write in Redis cannot shut a caller out."""
    a, b = (Replica(cache, KEYS, name, CallLimits(requests_per_s=100)) for name in "ab")
    for one in (a, b):
        one.usage.enter(0.0)
        await one.sharing.exchange_now()
    keys = redis_server.command("KEYS", "pgw:{limit}:*").split(b"\r\n")
    name = next(one for one in keys if one.startswith(REDIS_NAME))
    redis_server.command("HSET", name, "r", "-1000000000", "t", "99999999999")
    a.usage.enter(0.0)
    await a.sharing.exchange_now()
    now = CLOCK.monotonic()
    a.passed = 0
    for _ in range(4):
        a.flood()
    assert 10 <= a.passed <= 12 + 100 * (CLOCK.monotonic() - now)


async def test_garbage_in_redis_counts_as_full(cache: RedisCache, redis_server: RedisProcess) -> None:
    """Another type, or texts in place of numbers: the limit continues and nothing raises."""
    a = Replica(cache, KEYS, "a", CallLimits(requests_per_s=100, events_per_s=10))
    a.usage.enter(0.0)
    await a.sharing.exchange_now()
    keys = redis_server.command("KEYS", "pgw:{limit}:*").split(b"\r\n")
    name = next(one for one in keys if one.startswith(REDIS_NAME))
    for words in (("SET", name, "x"), ("DEL", name)):
        redis_server.command(*words)
        a.usage.enter(0.0)
        await a.sharing.exchange_now()
    redis_server.command("HSET", name, "r", "nan", "e", "soon", "t", "-", "p:x", "y" * 500, "p:z", "short")
    a.usage.enter(0.0)
    await a.sharing.exchange_now()
    a.flood()
    assert a.passed == 50


async def test_without_redis_a_replica_continues_with_its_share(cache: RedisCache, redis_server: RedisProcess) -> None:
    """Half of the limit, as long as it last saw one other."""
    a, b = (Replica(cache, KEYS, name, CallLimits(requests_per_s=100)) for name in "ab")
    for one in (b, a):
        one.usage.enter(0.0)
        await one.sharing.exchange_now()
    redis_server.kill()
    await a.sharing.exchange_now()
    a.usage.enter(0.0)
    await a.sharing.exchange_now()
    began = CLOCK.monotonic()
    for _ in range(6):
        a.flood()
    assert 10 <= a.passed <= 12 + 100 * (CLOCK.monotonic() - began)


async def test_a_replica_that_died_is_forgotten(cache: RedisCache, redis_server: RedisProcess) -> None:
    """What it left in Redis is removed once its time is over."""
    gone = Replica(cache, KEYS, "gone", CallLimits(concurrent=10))
    gone.usage.enter(0.0)
    await gone.sharing.exchange_now()
    keys = redis_server.command("KEYS", "pgw:{limit}:*").split(b"\r\n")
    name = next(one for one in keys if one.startswith(REDIS_NAME))
    now = int(CLOCK.now())
    old = KEYS.seal(
        _place(NAME, "gone"),
        b"\x00" * 7 + b"\x09",
        stored_at=UnixSeconds(now - 60),
        expires_at=UnixSeconds(now - 55),
    )
    redis_server.command("HSET", name, "p:gone", old)
    own = Replica(cache, KEYS, "own", CallLimits(concurrent=10))
    own.usage.enter(0.0)
    await own.sharing.exchange_now()
    assert own.usage.bound == 10
    assert redis_server.command("HEXISTS", name, "p:gone") == b":0\r\n"
    assert own.heard == []
