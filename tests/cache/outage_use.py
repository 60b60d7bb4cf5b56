"""A started cache with quick probes, for tests of outages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.cache.availability import ProbeSettings
from gateway.cache.client import CacheUnavailable, RedisCache, RedisCacheSettings
from tests.cache.redis_use import Heard, cache_on

QUICK = RedisCacheSettings(probes=ProbeSettings(retry_after_s=0.1))


@asynccontextmanager
async def started(url: str, settings: RedisCacheSettings | None = QUICK) -> AsyncIterator[tuple[RedisCache, Heard]]:
    """A started cache and its observer."""
    heard = Heard()
    cache = cache_on(url, heard, settings)
    await cache.start()
    try:
        yield cache, heard
    finally:
        await cache.close()


async def assert_costs_nothing(cache: RedisCache) -> None:
    """Calls are refused at once, with the fault."""
    for _ in range(200):
        call = cache.get("pgw:{t}:k", max_bytes=10)
        with pytest.raises(CacheUnavailable) as caught:
            call.send(None)  # its first step is its last: it waits for nothing
        assert caught.value.fault == cache.fault
