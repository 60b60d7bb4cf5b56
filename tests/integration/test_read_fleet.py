"""Three replicas with one real Redis, which is killed, emptied and frozen while boards are read."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from gateway.actions.boards.cached_read import CachedReads
from gateway.actions.boards.read_values import Fetched, ReadAnswer, ReadCacheSettings, ReadKey, Source
from gateway.cache.client import RedisCache, RedisCacheSettings
from gateway.cache.reads import RedisReadCache
from gateway.cache.redis_url import parse_redis_url
from gateway.core.sealing import SealKeys
from gateway.core.secret import Secret
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline
from tests.redis_process import RedisProcess


class NotingClock(SystemClock):
    """Notes what it said last: the moment at which an answer's age was taken."""

    def __init__(self) -> None:
        self.last = 0.0

    def monotonic(self) -> float:
        self.last = super().monotonic()
        return self.last


CLOCK = NotingClock()
UNHURRIED = ReadCacheSettings(fresh_s=30.0, fleet_wait_s=5.0, lease_s=10.0)
"""Times that a busy machine does not use up."""


class Phoenix:
    """Answers after a while with the moment at which it looked at its data."""

    def __init__(self) -> None:
        self.asked = 0

    async def fetch(self, deadline: Deadline) -> Fetched:
        """One call."""
        self.asked += 1
        given_at = time.monotonic()
        await asyncio.sleep(0.1)
        return Fetched(payload=repr(given_at).encode())


@dataclass
class Fleet:
    """Replicas before one Phoenix."""

    phoenix: Phoenix
    replicas: list[CachedReads]

    async def read(self, replica: int, board: str, max_staleness_s: float | None = None) -> ReadAnswer:
        """Read, and hold the answer's age against its payload."""
        arrived_at = CLOCK.monotonic()
        answer = await self.replicas[replica].read(
            ReadKey("tenant", board, "leaderboard", ()),
            self.phoenix.fetch,
            max_staleness_s=max_staleness_s,
            arrived_at=arrived_at,
            deadline=Deadline.after(10, CLOCK),
        )
        assert CLOCK.last - float(answer.payload) <= answer.age_s + 0.01
        return answer

    async def stampede(self, board: str) -> list[ReadAnswer]:
        """A hundred readers at each replica at once."""
        reads = [self.read(replica, board) for replica in range(len(self.replicas)) for _ in range(100)]
        return list(await asyncio.gather(*reads))


@asynccontextmanager
async def replicas_of(server: RedisProcess, timeout_s: float) -> AsyncIterator[Fleet]:
    """Three replicas; `timeout_s`: how long they wait for Redis."""
    keys = SealKeys([Secret(secrets.token_bytes(32))])
    settings = RedisCacheSettings(timeout_s=timeout_s)
    caches = [RedisCache(parse_redis_url(server.url), CLOCK, settings) for _ in range(3)]
    for cache in caches:
        await cache.start()
    shared = [RedisReadCache(cache=cache, seal_keys=keys, clock=CLOCK) for cache in caches]
    made = Fleet(Phoenix(), [CachedReads(clock=CLOCK, settings=UNHURRIED, shared=each) for each in shared])
    yield made
    for reads, cache in zip(made.replicas, caches, strict=True):
        await reads.close()
        await cache.close()


@pytest.fixture
async def fleet(redis_server: RedisProcess) -> AsyncIterator[Fleet]:
    """Replicas so patient that a busy machine is not taken for a Redis that is gone."""
    async with replicas_of(redis_server, timeout_s=2.0) as made:
        yield made


@pytest.fixture
async def hasty_fleet(redis_server: RedisProcess) -> AsyncIterator[Fleet]:
    """Replicas with the time limit that they really have."""
    async with replicas_of(redis_server, timeout_s=0.05) as made:
        yield made


async def test_a_fleets_stampede_costs_one_call(fleet: Fleet) -> None:
    """Over all replicas."""
    answers = await fleet.stampede("cold")
    assert (300, 1) == (len(answers), fleet.phoenix.asked)
    assert {Source.LIVE, Source.CACHE} == {answer.source for answer in answers}


async def test_a_fleet_reads_on_without_redis(fleet: Fleet, redis_server: RedisProcess) -> None:
    """Redis is killed in the middle: each replica asks Phoenix once for all its readers, and no read fails."""
    await fleet.stampede("before")
    redis_server.kill()
    began = time.monotonic()
    answers = await fleet.stampede("after")
    assert (300, 4) == (len(answers), fleet.phoenix.asked)
    assert time.monotonic() - began < 5


async def test_a_frozen_redis_costs_its_time_limit(hasty_fleet: Fleet, redis_server: RedisProcess) -> None:
    """What it does when it thaws makes no answer younger than it is."""
    redis_server.pause()
    began = time.monotonic()
    await hasty_fleet.stampede("frozen")
    assert (3, True) == (hasty_fleet.phoenix.asked, time.monotonic() - began < 5)
    await asyncio.sleep(0.5)  # what was published ages in Redis's socket meanwhile
    redis_server.resume()
    assert Source.LIVE is (await hasty_fleet.read(0, "frozen", 0.0)).source
    for replica in range(3):
        await hasty_fleet.read(replica, "frozen")


async def test_an_emptied_redis_is_filled_again(fleet: Fleet, redis_server: RedisProcess) -> None:
    """Replicas keep their answers; new ones are shared again."""
    await fleet.stampede("one")
    redis_server.flush()
    assert [Source.CACHE] * 3 == [(await fleet.read(replica, "one")).source for replica in range(3)]
    await fleet.stampede("two")
    assert 2 == fleet.phoenix.asked
