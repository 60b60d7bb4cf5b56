"""Waits for Redis that end early: what they say about it, and what they do not."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.cache.client import CacheUnavailable, RedisCacheSettings
from tests.cache.outage_use import QUICK, started
from tests.cache.redis_use import is_usable
from tests.redis_process import RedisProcess


@pytest.mark.parametrize("within_s", [0.5, 0.05, 0.0125, 0.002])
async def test_waits_that_are_cut_short_count(redis_server: RedisProcess, within_s: float) -> None:
    """A frozen server costs callers with little time a few calls, not every one."""
    async with started(redis_server.url) as (cache, heard):
        redis_server.pause()
        waits = 0
        while cache.fault is None:
            with pytest.raises(CacheUnavailable):
                await cache.run("pgw:{t}:k", lambda client: client.get("pgw:{t}:k"), is_patient=True, within_s=within_s)
            waits += 1
            await asyncio.sleep(0.02)
        assert waits <= 6
        assert heard.changes == ["timeout"]


async def test_callers_who_leave_count(redis_server: RedisProcess) -> None:
    """Their calls are cancelled when their deadline passes: this says as much as a wait that ran out."""
    async with started(redis_server.url) as (cache, heard):
        redis_server.pause()
        for _ in range(6):
            waiting = asyncio.create_task(cache.get("pgw:{t}:k", max_bytes=10))
            await asyncio.sleep(0.02)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.sleep(0.15)
        assert heard.changes == ["timeout"]


async def test_callers_who_leave_a_redis_that_works_count_nothing(redis_server: RedisProcess) -> None:
    """However often. They leave at once; the limit here is so long that a pause of this process does not reach it."""
    async with started(redis_server.url, RedisCacheSettings(suspect_after_s=0.3)) as (cache, heard):
        for _ in range(100):
            waiting = asyncio.create_task(cache.get("pgw:{t}:k", max_bytes=10))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        assert (heard.changes, heard.failures) == ([], 0)
        assert await is_usable(cache)


async def test_a_pause_of_this_process_is_no_failure_of_redis(redis_server: RedisProcess) -> None:
    """The event loop pauses for longer than a caller waits while answers are on their way."""
    # The limit of one server is the library's own, and a pause of this process does count there.
    settings = RedisCacheSettings(timeout_s=0.15, server_timeout_s=5.0, probes=QUICK.probes)
    async with started(redis_server.url, settings) as (cache, heard):
        for _ in range(5):
            calls = [asyncio.create_task(cache.get("pgw:{t}:k", max_bytes=10)) for _ in range(20)]
            await asyncio.sleep(0)
            time.sleep(0.3)  # noqa: ASYNC251 - this is the pause
            await asyncio.gather(*calls)
        assert (heard.changes, heard.failures) == ([], 0)
