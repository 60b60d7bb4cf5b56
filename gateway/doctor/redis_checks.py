"""The shared cache: reachable, fast enough, writable, and holding only entries under our keys."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

from gateway.cache.client import CacheUnavailable, RedisCache, RedisCacheSettings
from gateway.cache.redis_faults import NO_ANSWER, FaultKind
from gateway.config import Config, RedisConfig
from gateway.core.sealing import SealedFor, SealRefused
from gateway.core.types import Environment, UnixSeconds
from gateway.doctor.report import Result, fault, ok, warning
from gateway.keys.platform.redis_key_cache import RedisKeyCache
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

PATIENCE_S = 2.0
"""Longer than the gateway waits, to tell a slow Redis from one that is down."""
_ROUND_TRIPS = 5
_PING_KEY = "pgw:doctor"
_PLACES = 8
"""Keys that are read: one node of a cluster has some of them only."""


async def redis(config: Config, clock: Clock, deadline: Deadline) -> Result:
    """Ping, measure, write and read an entry, and check that our keys open the stored platform key."""
    if config.redis is None:
        return ok("in-process: REDIS_URL is not set, so each replica has its own cache")
    patience = RedisCacheSettings(
        timeout_s=PATIENCE_S,
        patient_s=PATIENCE_S,
        check_s=PATIENCE_S,
        connect_timeout_s=PATIENCE_S,
        server_timeout_s=PATIENCE_S,
    )
    cache = RedisCache(config.redis.target, clock, patience)
    try:
        await cache.run(_PING_KEY, _ping)
        latency_s = min([await _timed(cache) for _ in range(_ROUND_TRIPS)])
        if not await _comes_back(cache, config.redis, clock):
            return fault(
                "a sealed value did not come back as it was written",
                "check whether this Redis evicts at once (maxmemory), or another program changes its keys",
            )
        for number in range(_PLACES):
            await cache.get(f"{_PING_KEY}:{number}", max_bytes=1)
        foreign = await _foreign(cache, config.redis, config, clock)
    except CacheUnavailable as unavailable:
        return _unavailable(unavailable, config.redis.target.address)
    finally:
        await cache.close()
    if foreign:
        return fault(
            f"the stored platform key ({', '.join(foreign)}) was encrypted with a key that is not among ours, "
            "or was changed",
            "give all replicas the same GATEWAY_CACHE_KEYS; if they have them, another program writes to this Redis",
        )
    limit_s = RedisCacheSettings().timeout_s
    summary = f"round trip {latency_s * 1000:.1f} ms; a sealed value came back"
    if latency_s > limit_s / 2:
        return warning(
            f"{summary}; the gateway waits {limit_s * 1000:.0f} ms at most, then continues without it",
            "move Redis closer, or check its load",
        )
    return ok(summary)


async def _ping(client: Any) -> None:
    await client.ping()


async def _timed(cache: RedisCache) -> float:
    began = time.perf_counter()
    await cache.run(_PING_KEY, _ping)
    return time.perf_counter() - began


async def _comes_back(cache: RedisCache, config: RedisConfig, clock: Clock) -> bool:
    """Write an entry under a name of our own, read it, delete it."""
    name = f"pgw:doctor:{secrets.token_hex(8)}"
    place = SealedFor(purpose="doctor", name=name)
    payload = secrets.token_bytes(32)
    now = UnixSeconds(int(clock.now()))
    sealed = config.seal_keys.seal(place, payload, stored_at=now, expires_at=UnixSeconds(now + 30))
    await cache.put(name, sealed, ttl_s=30)
    found = await cache.get(name, max_bytes=1024)

    async def remove(client: Any) -> None:
        await client.unlink(name)

    await cache.run(name, remove)
    try:
        return found is not None and config.seal_keys.open(place, found, now=now).payload == payload
    except SealRefused:
        return False


async def _foreign(cache: RedisCache, redis_config: RedisConfig, config: Config, clock: Clock) -> Sequence[str]:
    """Return the environments whose stored platform key our keys do not open."""
    refused: list[str] = []
    places: dict[tuple[str, Environment], None] = {
        (operator.base_url, operator.keys.environment): None for operator in config.operators
    }
    for base_url, environment in places:
        events: list[str] = []
        shared = RedisKeyCache(
            cache=cache,
            seal_keys=redis_config.seal_keys,
            clock=clock,
            host=base_url,
            environment=environment,
            on_event=events.append,
        )
        await shared.stored()
        if "platform_key_entry_refused" in events:
            refused.append(environment.value)
    return refused


def _unavailable(unavailable: CacheUnavailable, address: str) -> Result:
    found = unavailable.fault or NO_ANSWER
    code = f" {found.code}" if found.code else ""
    within = f" within {PATIENCE_S:g} s" if found.kind is FaultKind.TIMEOUT else ""
    return fault(
        f"{found.what}{within} ({address}: {found.error_type}{code}); each replica serves with its own cache",
        found.advice,
    )
