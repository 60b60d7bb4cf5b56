"""Stories in a real Redis: found by every replica, gone after their time, and never believed from anyone else."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.cache.client import RedisCache, RedisCacheSettings
from gateway.cache.redis_url import parse_redis_url
from gateway.cache.shared_stories import (
    FAILURE_KEPT_S,
    FAILURES_BURST,
    FAILURES_PER_S,
    SUCCESSES_BURST,
    SharedStories,
    Story,
    _key,
)
from gateway.core.sealing import SealKeys
from gateway.core.secret import Secret
from gateway.resilience.clock import SystemClock
from gateway.telemetry.call_stories import Kind
from tests.manual_clock import ManualClock
from tests.redis_process import RedisProcess

FAILED: Story = (("r-1", "w-1"), {"kind": "call", "request_id": "r-1", "ended_at": 1.0}, Kind.FAILED)
Replica = Callable[..., SharedStories]


@pytest.fixture
async def cache(redis_server: RedisProcess) -> AsyncIterator[RedisCache]:
    patient = RedisCacheSettings(timeout_s=5, patient_s=5, check_s=5, server_timeout_s=5)  # a busy machine
    opened = RedisCache(parse_redis_url(redis_server.url), SystemClock(), patient)
    await opened.start()
    yield opened
    await opened.close()


def replica(cache: RedisCache, keys: SealKeys, clock: ManualClock, *stories: Story) -> SharedStories:
    return SharedStories(cache=cache, seal_keys=keys, clock=clock, take=lambda *_: stories, process="host/1")


async def test_another_replica_finds_a_story_by_each_id(cache: RedisCache) -> None:
    """With the process that served the call; after an hour it is gone."""
    keys, clock = SealKeys([Secret(secrets.token_bytes(32))]), ManualClock()
    await replica(cache, keys, clock, FAILED).share_now()
    other = replica(cache, keys, clock)
    found = [await other.find(one) for one in ("r-1", "w-1", "x")]
    assert found == [{**FAILED[1], "process": "host/1"}] * 2 + [None]
    clock.advance(FAILURE_KEPT_S + 1)
    assert await other.find("r-1") is None


async def test_what_was_sealed_by_another_key_or_for_another_id_is_no_story(cache: RedisCache) -> None:
    """Whoever writes to this Redis can invent none, and cannot move one to another id."""
    keys, clock = SealKeys([Secret(secrets.token_bytes(32))]), ManualClock()
    await replica(cache, SealKeys([Secret(secrets.token_bytes(32))]), clock, FAILED).share_now()
    own = replica(cache, keys, clock, (("r-2",), FAILED[1], Kind.FAILED))
    assert await own.find("r-1") is None
    await own.share_now()
    moved = await cache.get(_key("r-2"), max_bytes=8192)
    assert moved is not None
    await cache.put(_key("r-3"), moved, ttl_s=60)
    assert (await own.find("r-2") is not None, await own.find("r-3")) == (True, None)
    assert b"r-1" not in moved


async def test_a_flood_of_failures_does_not_fill_redis(cache: RedisCache) -> None:
    """A burst is shown, and then a few each second. Successes have an allowance of their own."""
    keys, clock = SealKeys([Secret(secrets.token_bytes(32))]), ManualClock()
    flood: list[Story] = [((f"{kind.value}-{n}",), {"ended_at": 1.0}, kind) for n in range(1000) for kind in Kind]
    one = replica(cache, keys, clock, *flood)

    async def shown(kind: Kind) -> int:
        found = [await one.find(f"{kind.value}-{n}") for n in range(1000)]
        return sum(story is not None for story in found)

    await one.share_now()
    assert [await shown(kind) for kind in Kind] == [FAILURES_BURST, FAILURES_BURST, SUCCESSES_BURST]
    late: list[Story] = [((f"late-{n}",), {"ended_at": 2.0}, Kind.FAILED) for n in range(100)]
    later = SharedStories(cache=cache, seal_keys=keys, clock=clock, take=_turns(flood, late), process="host/2")
    await later.share_now()
    clock.advance(20)
    await later.share_now()
    found = [await later.find(f"late-{n}") for n in range(100)]
    assert sum(story is not None for story in found) == 20 * FAILURES_PER_S


def _turns(*each: list[Story]) -> Callable[[int, int], list[Story]]:
    turns = iter(each)
    return lambda *_: next(turns)
