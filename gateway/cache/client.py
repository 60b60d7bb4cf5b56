"""Redis as a cache that may be gone at any moment: short time limits, and a memory of being down.

No caller ever waits longer than `timeout_s`. Once Redis has failed twice running (once may be our own stall), callers
are turned away at once, and one probe in the background finds out when it is back. What is stored, and whether to
believe it, is others' business (sealing.py). Source: issue 3, "Redis gone: slower, never wrong"; issue 4, point 2.
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
    """The cache gave no usable answer in time; go on without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisCacheSettings:
    """How patient to be with Redis."""

    timeout_s: float = 0.05
    """Longest wait of a caller, connecting included: a call must be able to afford it several times."""
    connect_timeout_s: float = 1.0
    """Longest wait of the background probe, which has time for TLS and for finding the master."""
    retry_after_s: float = 1.0
    """How long Redis counts as down before it is probed again."""


PATIENT = RedisCacheSettings(timeout_s=1.0)
"""For what no call waits for in memory's place: the replicas' talk about fetching the platform key. A process under a
flood is late itself; taken for a Redis that is gone, it would fetch beside the fleet. And for the ids of events, which
are sent without a claim otherwise: after a death of the process nobody would know of them."""


class RedisCache:
    """One Redis, behind one pool of connections."""

    def __init__(self, target: RedisTarget, clock: Clock, settings: RedisCacheSettings | None = None) -> None:
        """Remember where it is; nothing is imported or connected before the first use."""
        self._target = target
        self._clock = clock
        self._settings = settings or RedisCacheSettings()
        self._client: Redis | RedisCluster | None = None
        self._failures = 0
        self._probe_at = 0.0
        self._probe: asyncio.Task[None] | None = None

    @property
    def is_down(self) -> bool:
        """Whether the last attempts failed; then callers are turned away without waiting."""
        return self._failures >= FAILURES_TO_BE_DOWN

    async def start(self) -> None:
        """Load the client and connect once, in the probe's longer time; a Redis that is gone is no failure."""
        self._failures = FAILURES_TO_BE_DOWN
        await self._probe_once()

    async def run(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Return what `work` gets out of the client (redis.asyncio), within the time limit.

        `work` may have been carried out in part when this fails. Cancelling is safe: the connection is dropped.
        Raises: CacheUnavailable, at once while Redis is known to be down.
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
        """Return the value, or None when there is none.

        What is longer than `max_bytes` was not written by us: it counts as absent and is not transferred.
        Raises: CacheUnavailable.
        """

        async def work(client: Any) -> bytes:
            value: bytes = await client.getrange(key, 0, max_bytes)
            return value

        value = await self.run(work)
        return value if 0 < len(value) <= max_bytes else None

    async def put(self, key: str, value: bytes, *, ttl_s: float) -> None:
        """Store the value for so many seconds.

        Raises: CacheUnavailable.
        """

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
        # Built (and imported) outside the time limit: a slow import is not Redis's fault.
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
            # ValueError and IndexError: what redis-py makes of an answer that is no Redis protocol.
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
