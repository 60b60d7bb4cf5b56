"""The connections to Redis."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.cache.client import LONG_TIMEOUT, RedisCache
from gateway.config import Config
from gateway.resilience.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Caches:
    """Two clients of one Redis, both None without REDIS_URL.

    `fast` gives up early, because a caller waits; `patient` waits longer, for what must not be skipped lightly.
    """

    fast: RedisCache | None
    patient: RedisCache | None

    def all(self) -> tuple[RedisCache, ...]:
        """Return the clients that exist."""
        return tuple(one for one in (self.fast, self.patient) if one is not None)


def build_caches(config: Config, clock: Clock) -> Caches:
    """Return the clients, not connected yet."""
    if config.redis is None:
        return Caches(fast=None, patient=None)
    target = config.redis.target
    return Caches(fast=RedisCache(target, clock), patient=RedisCache(target, clock, LONG_TIMEOUT))
