"""The list of kill switches that a fleet shares in Redis: sealed, and replaced by compare and set.

An entry with a foreign or broken seal counts as absent, and is reported. An old entry of ours changes nothing, because
lists merge (core/switches.py). A missing list is written again by any replica that knows it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.cache.client import CacheUnavailable, RedisCache
from gateway.controls.sealed_switches import SealedSwitches
from gateway.core.sealing import SealKeys
from gateway.core.switches import MAX_BYTES, Switches
from gateway.resilience.clock import Clock

_KEY = "pgw:{switches}"
_MAX_SEALED_BYTES = MAX_BYTES + 1024

# A value of another type, or one that is too long, is read as a short invalid value. It is replaced like any other.
_HELD = f"""
local held = redis.pcall('GETRANGE', KEYS[1], 0, {_MAX_SEALED_BYTES})
if type(held) ~= 'string' or #held > {_MAX_SEALED_BYTES} then held = '?' end
"""
_READ = _HELD + "return held"
# Compare and set: of two concurrent writers, one succeeds at the second attempt, and no decision is lost.
_REPLACE = (
    _HELD
    + """
if held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
)
_TRIES = 5


class RedisSwitches:
    """One process's access to the shared list."""

    def __init__(
        self,
        *,
        cache: RedisCache,
        seal_keys: SealKeys,
        clock: Clock,
        on_event: Callable[[str], None] = lambda name: None,
    ) -> None:
        """Use this cache. `on_event` receives switch_entry_refused, once for each refused entry."""
        self._cache = cache
        self._sealed = SealedSwitches(seal_keys, clock, on_event)

    async def merge(self, own: Switches) -> Switches:
        """Merge both lists, write the result to Redis if needed, and return it. Raises: CacheUnavailable."""
        merged = own
        for _ in range(_TRIES):
            raw = await self._read()
            shared = self._sealed.open(raw)
            merged = own.merged(shared)
            if shared.merged(merged) is shared or await self._replace(raw, self._sealed.close(merged)):
                return merged
        raise CacheUnavailable("other processes keep changing the list of switches")

    async def _read(self) -> bytes:
        async def work(client: Any) -> object:
            return await client.eval(_READ, 1, _KEY)

        held = await self._cache.run(_KEY, work)
        return held if isinstance(held, bytes) else b"?"

    async def _replace(self, before: bytes, after: bytes) -> bool:
        async def work(client: Any) -> object:
            return await client.eval(_REPLACE, 1, _KEY, before, after)

        return await self._cache.run(_KEY, work) == 1
