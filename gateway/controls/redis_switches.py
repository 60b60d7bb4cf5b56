"""The list of what is switched off, as the fleet shares it in Redis: sealed, and written only over what was read.

An entry that another key sealed, or that was changed, counts as absent and is told; an old one of ours changes nothing,
since lists merge (core/switches.py), and one that is gone is put back by whoever still knows it. Source: issue 8,
point 8.
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

# What is no text, or longer than ours, is read as something short that is not ours; it is replaced like any other.
_HELD = f"""
local held = redis.pcall('GETRANGE', KEYS[1], 0, {_MAX_SEALED_BYTES})
if type(held) ~= 'string' or #held > {_MAX_SEALED_BYTES} then held = '?' end
"""
_READ = _HELD + "return held"
# Written only over what was read: two who write at once both get their decisions in, one of them at the second try.
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
    """One process's view of the shared list."""

    def __init__(
        self,
        *,
        cache: RedisCache,
        seal_keys: SealKeys,
        clock: Clock,
        on_event: Callable[[str], None] = lambda name: None,
    ) -> None:
        """Share through this cache. `on_event` hears switch_entry_refused, once for each entry that is not believed."""
        self._cache = cache
        self._sealed = SealedSwitches(seal_keys, clock, on_event)

    async def merge(self, own: Switches) -> Switches:
        """Return what both know together, and see to it that Redis knows it too. Raises: CacheUnavailable."""
        together = own
        for _ in range(_TRIES):
            raw = await self._read()
            shared = self._sealed.open(raw)
            together = own.merged(shared)
            if shared.merged(together) is shared or await self._replace(raw, self._sealed.close(together)):
                return together
        raise CacheUnavailable("others write the list of switches all the time")

    async def _read(self) -> bytes:
        async def work(client: Any) -> object:
            return await client.eval(_READ, 1, _KEY)

        held = await self._cache.run(work)
        return held if isinstance(held, bytes) else b"?"

    async def _replace(self, before: bytes, after: bytes) -> bool:
        async def work(client: Any) -> object:
            return await client.eval(_REPLACE, 1, _KEY, before, after)

        return await self._cache.run(work) == 1
