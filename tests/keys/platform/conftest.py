"""A fleet over a Redis of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.keys.platform.key_fleet import FleetBench
from tests.redis_process import RedisProcess


@pytest_asyncio.fixture
async def fleet(redis_server: RedisProcess) -> AsyncIterator[FleetBench]:
    """A fleet without replicas yet."""
    bench = FleetBench(redis_server)
    yield bench
    redis_server.resume()
    for replica in bench.replicas:
        await replica.close()
