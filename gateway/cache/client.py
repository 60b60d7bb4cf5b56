"""A Redis client for a cache that may be down at any time: short timeouts, and no waiting while Redis is down.

No caller waits longer than `timeout_s`. After two failures in a row (one may be a pause of this process), calls fail at
once, and a probe in the background finds out when Redis is back. Without Redis the gateway is slower but never wrong.
core/sealing.py protects the entries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.cache.redis_url import RedisTarget, build_client
from gateway.resilience.clock import Clock
from gateway.resilience.supervision import run_job

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

T = TypeVar("T")

FAILURES_TO_BE_DOWN = 2


class CacheUnavailable(Exception):
    """The cache gave no usable answer in time. Continue without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisCacheSettings:
    """Timeouts for Redis."""

    timeout_s: float = 0.05
    """Longest wait of a caller, including connecting. One call may wait this long several times."""
    connect_timeout_s: float = 1.0
    """Longest wait of the background probe, enough for TLS and for finding the master."""
    retry_after_s: float = 1.0
    """How long Redis is treated as down before the next probe."""


LONG_TIMEOUT = RedisCacheSettings(timeout_s=1.0)
"""Settings for two uses that need an answer more than a fast failure. Fetches of the platform key: an overloaded
process is slow itself, and if it took Redis for down, it would fetch in addition to the fleet. Event ids: without
Redis, events are sent without a claim, and after a crash of the process no replica would know their ids."""


class RedisCache:
    """One Redis, with one pool of connections."""

    def __init__(self, target: RedisTarget, clock: Clock, settings: RedisCacheSettings | None = None) -> None:
        """Take the target. The first use imports the client and connects."""
        self._target = target
        self._clock = clock
        self._settings = settings or RedisCacheSettings()
        self._client: Redis | RedisCluster | None = None
        self._failures = 0
        self._probe_at = 0.0
        self._probe: asyncio.Task[None] | None = None

    @property
    def is_down(self) -> bool:
        """Whether the last attempts failed; then calls fail without waiting."""
        return self._failures >= FAILURES_TO_BE_DOWN

    async def start(self) -> None:
        """Import the client and connect once, within the probe's longer timeout. A Redis that is down is no error."""
        self._failures = FAILURES_TO_BE_DOWN
        await self._probe_once()

    async def run(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Run `work` with the client (redis.asyncio) within the timeout, and return its result.

        If this fails, Redis may have executed a part of `work`. Cancelling is safe: the connection is dropped.
        Raises: CacheUnavailable; at once while Redis is known to be down.
        """
        if self.is_down:
            self._start_probe()
            raise CacheUnavailable("Redis is down")
        try:
            answer = await self._within(self._settings.timeout_s, work)
        except CacheUnavailable:
            self._failures += 1
            self._probe_at = self._clock.monotonic() + self._settings.retry_after_s
            raise
        self._failures = 0
        return answer

    async def get(self, key: str, *, max_bytes: int) -> bytes | None:
        """Return the value, or None if there is none.

        A value longer than `max_bytes` was not written by us. It is treated as absent and is not transferred.
        Raises: CacheUnavailable.
        """

        async def work(client: Any) -> bytes:
            value: bytes = await client.getrange(key, 0, max_bytes)
            return value

        value = await self.run(work)
        return value if 0 < len(value) <= max_bytes else None

    async def put(self, key: str, value: bytes, *, ttl_s: float) -> None:
        """Store the value for `ttl_s`. Raises: CacheUnavailable."""

        async def work(client: Any) -> None:
            await client.set(key, value, px=max(1, round(ttl_s * 1000)))

        await self.run(work)

    async def close(self) -> None:
        """Stop probing and close the connections."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def _within(self, limit_s: float, work: Callable[[Any], Awaitable[T]]) -> T:
        # The client is imported and built outside the timeout: a slow import is not a failure of Redis.
        client = self._client or build_client(
            self._target,
            read_timeout_s=self._settings.timeout_s,
            connect_timeout_s=self._settings.connect_timeout_s,
        )
        self._client = client
        from redis.exceptions import RedisError

        try:
            async with asyncio.timeout(limit_s):
                return await work(client)
        except (RedisError, OSError, TimeoutError, ValueError, IndexError) as error:
            # redis-py raises ValueError and IndexError for an answer that is not in the Redis protocol.
            raise CacheUnavailable(f"Redis gave no usable answer ({type(error).__name__})") from None

    def _start_probe(self) -> None:
        if self._clock.monotonic() >= self._probe_at and (self._probe is None or self._probe.done()):
            self._probe = run_job("redis-probe", self._probe_once())

    async def _probe_once(self) -> None:
        try:
            await self._within(self._settings.connect_timeout_s, lambda client: client.ping())
        except CacheUnavailable:
            pass  # probed again later
        else:
            self._failures = 0
        finally:
            self._probe_at = self._clock.monotonic() + self._settings.retry_after_s
