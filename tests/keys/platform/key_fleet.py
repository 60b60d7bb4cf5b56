"""Replicas that share the platform key through one real Redis, in front of one source of keys."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

from gateway.cache.client import RedisCache, RedisCacheSettings
from gateway.cache.redis_url import parse_redis_url
from gateway.core.ed25519 import VerifyingKey
from gateway.core.sealing import SealKeys
from gateway.core.secret import Secret
from gateway.core.types import Environment
from gateway.keys.platform.platform_keys import PlatformKeys
from gateway.keys.platform.redis_key_cache import RedisKeyCache
from gateway.keys.platform.settings import PlatformKeySettings
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline
from tests.keys.platform.key_source import KeySource, new_key
from tests.redis_process import RedisProcess

COOLDOWN_S = 0.5
USUAL_S, PATIENT_S = 0.05, 5.0
"""The time that a replica waits for Redis: the real one, and a longer one for a busy machine."""
SEAL = SealKeys([Secret(b"s" * 32)])
CLOCK = SystemClock()


def waits(redis_timeout_s: float) -> RedisCacheSettings:
    """The waits of a replica that gives Redis so long."""
    usual = RedisCacheSettings(timeout_s=redis_timeout_s, patient_s=redis_timeout_s)
    return replace(
        usual,
        check_s=max(usual.check_s, redis_timeout_s),
        server_timeout_s=max(usual.server_timeout_s, redis_timeout_s),
    )


class Replica:
    """One gateway process's platform key."""

    def __init__(
        self,
        url: str,
        source: KeySource,
        seal: SealKeys = SEAL,
        cooldown_s: float = COOLDOWN_S,
        redis_timeout_s: float = USUAL_S,
    ) -> None:
        self.events: Counter[str] = Counter()
        self.cache = RedisCache(parse_redis_url(url), CLOCK, waits(redis_timeout_s))
        self.shared = RedisKeyCache(
            cache=self.cache,
            seal_keys=seal,
            clock=CLOCK,
            host="https://prediction.example",
            environment=Environment.SANDBOX,
            on_event=self._count,
        )
        self.keys = PlatformKeys(
            fetch=source.fetch,
            clock=CLOCK,
            settings=PlatformKeySettings(cooldown_s=cooldown_s, fetch_timeout_s=1.0),
            shared=self.shared,
            on_event=self._count,
        )

    async def fresher(self, seconds: float = 5.0) -> VerifyingKey:
        return (await self.keys.fresher(Deadline.after(seconds, CLOCK))).key

    def be_patient(self) -> None:
        """From now on, wait for Redis as long as a busy machine may take."""
        self.cache._settings = waits(PATIENT_S)

    async def close(self) -> None:
        await self.keys.stop()
        await self.cache.close()

    def _count(self, name: str) -> None:
        self.events.update([name])


class FleetBench:
    """Replicas in front of one source."""

    def __init__(self, server: RedisProcess) -> None:
        self.server = server
        self.key = new_key()
        self.source = KeySource(self.key)
        self.replicas: list[Replica] = []

    async def replica(self, cooldown_s: float = COOLDOWN_S, redis_timeout_s: float = USUAL_S) -> Replica:
        """Args: `redis_timeout_s`: more than usual where a busy machine must not be taken for a Redis that is gone."""
        replica = Replica(self.server.url, self.source, cooldown_s=cooldown_s, redis_timeout_s=redis_timeout_s)
        await replica.cache.start()
        self.replicas.append(replica)
        return replica

    def name(self, kind: str) -> str:
        return f"{self.replicas[0].shared._entry.removesuffix(':entry')}:{kind}"

    async def copy_of(self, kind: str) -> bytes:
        """The encrypted bytes in Redis."""
        value = await self.replicas[0].cache.get(self.name(kind), max_bytes=100_000)
        assert value is not None
        return value

    def closest_fetches(self) -> float:
        """The shortest time between the beginnings of two fetches."""
        return min(later - earlier for earlier, later in pairwise(self.source.began))
