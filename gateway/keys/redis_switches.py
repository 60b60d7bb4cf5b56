"""The list of what is switched off, as the fleet shares it in Redis: sealed, and written only over what was read.

An entry that another key sealed, or that was changed, counts as absent and is told; an old one of ours changes nothing,
since lists merge (core/switches.py), and one that is gone is put back by whoever still knows it. Source: issue 8,
point 8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.core.switches import MAX_BYTES, Switches, SwitchesUnreadable, decode_switches, encode_switches
from gateway.core.types import UnixSeconds
from gateway.keys.redis_cache import CacheUnavailable, RedisCache
from gateway.keys.sealing import SealedFor, SealKeys, SealRefused
from gateway.resilience.clock import Clock

_KEY = "pgw:{switches}"
_PLACE = SealedFor(purpose="kill-switches", name="all")
_VALID_S = 10 * 365 * 86_400
"""A decision holds until another one is made."""
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
        self._seal_keys = seal_keys
        self._clock = clock
        self._on_event = on_event
        self._refused = b""
        self._last: tuple[bytes, Switches] = (b"", Switches())

    async def merge(self, own: Switches) -> Switches:
        """Return what both know together, and see to it that Redis knows it too. Raises: CacheUnavailable."""
        together = own
        for _ in range(_TRIES):
            raw = await self._read()
            shared = self._opened(raw)
            together = own.merged(shared)
            if shared.merged(together) is shared or await self._replace(raw, self._sealed(together)):
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

    def _opened(self, raw: bytes) -> Switches:
        """Return what stands there; nothing where nothing does, or nothing of ours. The same bytes are opened once."""
        if raw == self._last[0]:
            return self._last[1]
        now = self._clock.now()
        try:
            opened = self._seal_keys.open(_PLACE, raw, now=UnixSeconds(int(now)))
            found = decode_switches(opened.payload, now_ms=round(now * 1000))
        except (SealRefused, SwitchesUnreadable):
            if raw and raw != self._refused:
                self._refused = raw
                self._on_event("switch_entry_refused")
            return Switches()
        self._last = (raw, found)
        return found

    def _sealed(self, switches: Switches) -> bytes:
        now = int(self._clock.now())
        return self._seal_keys.seal(
            _PLACE, encode_switches(switches), stored_at=UnixSeconds(now), expires_at=UnixSeconds(now + _VALID_S)
        )
