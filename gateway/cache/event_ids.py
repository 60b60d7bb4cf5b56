"""Event ids that a fleet remembers in Redis: one round trip claims and reads a whole batch.

Best effort: a replica that cannot reach Redis continues without it. Entries are sealed for their tenant and id, so that
no other entry can pass for an event that Phoenix has. Source: API.md, EventService, "Deduplication".
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any

from gateway.cache.client import CacheUnavailable, RedisCache
from gateway.core.event_ids import NotPacked, RememberedEvent, pack, unpack
from gateway.core.sealing import SealedFor, SealKeys, SealRefused
from gateway.core.types import TenantId, UnixSeconds
from gateway.resilience.clock import Clock

REMEMBER_S = 24 * 3600
BEGUN_S = 300
"""How long an event without a recorded result counts as being sent. Longer than any call may take."""
_PURPOSE = "event-id"
_LONGEST_ENTRY_BYTES = 256

# SET NX; if the key exists, return its entry. Reading one byte more than allowed shows an entry that is too long
# without transferring it. All keys of a tenant have the same hash tag, so that a batch is one command in a cluster too.
_CLAIM = f"""
local found = {{}}
for place, key in ipairs(KEYS) do
  if redis.call('SET', key, ARGV[place + 1], 'NX', 'PX', ARGV[1]) then
    found[place] = ''
  else
    local held = redis.pcall('GETRANGE', key, 0, {_LONGEST_ENTRY_BYTES})
    found[place] = type(held) == 'string' and held or '?'
  end
end
return found
"""
_SETTLE = """
for place, key in ipairs(KEYS) do
  if ARGV[place + 1] == '' then
    redis.call('DEL', key)
  else
    redis.call('SET', key, ARGV[place + 1], 'PX', ARGV[1])
  end
end
return 1
"""


class RedisEventIds:
    """One replica's access to the fleet's event ids; implements SharedEventIds of actions/events/event_memory.py."""

    def __init__(
        self,
        *,
        cache: RedisCache,
        seal_keys: SealKeys,
        clock: Clock,
        on_event: Callable[[str], None] = lambda name: None,
    ) -> None:
        """Store ids in this cache. `on_event` receives event_id_entry_refused for an entry that is not authentic."""
        self._cache = cache
        self._seal_keys = seal_keys
        self._clock = clock
        self._on_event = on_event

    async def claim(
        self, tenant_id: TenantId, wanted: Sequence[tuple[str, RememberedEvent]], *, within_s: float = math.inf
    ) -> list[RememberedEvent | None] | None:
        """Write each entry whose id has none. Return the existing entries, in order; None if Redis gave no answer."""
        keys = [_key(tenant_id, event_id) for event_id, _ in wanted]
        entries = [self._seal(tenant_id, event_id, entry, BEGUN_S) for event_id, entry in wanted]
        found = await self._run(_CLAIM, keys, [str(BEGUN_S * 1000).encode(), *entries], within_s)
        if not isinstance(found, list) or len(found) != len(wanted):
            return None
        return [self._open(tenant_id, event_id, held) for (event_id, _), held in zip(wanted, found, strict=True)]

    async def settle(self, tenant_id: TenantId, changes: Sequence[tuple[str, RememberedEvent | None]]) -> bool:
        """Write the results of events for a day; None removes an id. Returns whether Redis confirmed it."""
        keys = [_key(tenant_id, event_id) for event_id, _ in changes]
        entries = [
            b"" if entry is None else self._seal(tenant_id, event_id, entry, REMEMBER_S) for event_id, entry in changes
        ]
        return await self._run(_SETTLE, keys, [str(REMEMBER_S * 1000).encode(), *entries]) == 1

    async def _run(self, script: str, keys: list[str], arguments: list[bytes], within_s: float = math.inf) -> object:
        async def work(client: Any) -> object:
            return await client.eval(script, len(keys), *keys, *arguments)

        try:
            return await self._cache.run(keys[0], work, is_patient=True, within_s=within_s)
        except CacheUnavailable:
            return None

    def _seal(self, tenant_id: TenantId, event_id: str, entry: RememberedEvent, ttl_s: int) -> bytes:
        now = int(self._clock.now())
        return self._seal_keys.seal(
            _place(tenant_id, event_id), pack(entry), stored_at=UnixSeconds(now), expires_at=UnixSeconds(now + ttl_s)
        )

    def _open(self, tenant_id: TenantId, event_id: str, held: object) -> RememberedEvent | None:
        if held == b"":
            return None
        try:
            if not isinstance(held, bytes) or len(held) > _LONGEST_ENTRY_BYTES:
                raise SealRefused("not ours")
            place = _place(tenant_id, event_id)
            return unpack(self._seal_keys.open(place, held, now=UnixSeconds(int(self._clock.now()))).payload)
        except (SealRefused, NotPacked):
            self._on_event("event_id_entry_refused")
            return None


def _place(tenant_id: TenantId, event_id: str) -> SealedFor:
    return SealedFor(purpose=_PURPOSE, name=event_id, tenant=tenant_id)


def _key(tenant_id: TenantId, event_id: str) -> str:
    """Return the Redis key. It contains hashes only, so that Redis does not show callers' ids."""
    tenant = hashlib.sha256(tenant_id.encode()).hexdigest()[:16]
    return f"pgw:{{event-ids:{tenant}}}:{hashlib.sha256(event_id.encode()).hexdigest()[:32]}"
