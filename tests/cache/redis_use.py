"""Use a cache as calls do, and see what its observer hears."""

from __future__ import annotations

import asyncio
import time

from gateway.cache.client import CacheUnavailable, RedisCache, RedisCacheSettings
from gateway.cache.redis_faults import RedisFault
from gateway.cache.redis_url import parse_redis_url
from gateway.resilience.clock import SystemClock

CLOCK = SystemClock()


class Heard:
    """An observer that keeps what it is told. `changes`: the kind of each fault, None for being back."""

    def __init__(self) -> None:
        self.failures = 0
        self.changes: list[str | None] = []
        self.faults: list[RedisFault] = []

    def failed(self, fault: RedisFault) -> None:
        self.failures += 1

    def changed(self, fault: RedisFault | None, elapsed_s: float) -> None:
        self.changes.append(None if fault is None else fault.kind.value)
        if fault is not None:
            self.faults.append(fault)


def cache_on(url: str, heard: Heard | None = None, settings: RedisCacheSettings | None = None) -> RedisCache:
    """A cache that is not started."""
    return RedisCache(parse_redis_url(url), CLOCK, settings, heard)


async def is_usable(cache: RedisCache) -> bool:
    """Whether a call can write now."""
    try:
        await cache.put("pgw:{t}:k", b"v", ttl_s=5)
    except CacheUnavailable:
        return False
    return True


async def usable_again(cache: RedisCache, within_s: float = 5.0) -> float:
    """Call until a call can write; return how long that took."""
    began = time.monotonic()
    while not await is_usable(cache):
        assert time.monotonic() - began < within_s, cache.fault
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def out_of_use(cache: RedisCache, within_s: float = 5.0) -> None:
    """Call until the cache is out of use."""
    began = time.monotonic()
    while cache.fault is None:
        assert time.monotonic() - began < within_s
        await is_usable(cache)
        await asyncio.sleep(0.005)
