"""Event ids that a fleet remembers in Redis: one round trip claims and reads a whole batch.

Best effort: a replica that cannot reach Redis continues without it. Entries are sealed for their tenant and id, so that
no other entry can pass for an event that Phoenix has. A replica deletes only an entry that it wrote
itself, and replaces another one only by a stronger one. Source: API.md, EventService, "Deduplication".
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any

from gateway.cache.client import CacheUnavailable, RedisCache
from gateway.core.event_ids import REMEMBER_S, NotPacked, OwnEntry, RememberedEvent, combined, pack, unpack
from gateway.core.sealing import SealedFor, SealKeys, SealRefused
from gateway.core.types import TenantId, UnixSeconds
from gateway.resilience.clock import Clock

BEGUN_S = 300
"""How long an event without a recorded result counts as being sent. Longer than any call may take."""
_PURPOSE = "event-id"
_LONGEST_ENTRY_BYTES = 256
_SETTLE_ROUNDS = 3
"""How often in a row a write may find that another replica was faster."""

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
# Compare and set. Each key has two arguments: the bytes that may be replaced, and the new entry, or '' to delete.
# Return what is in the way of a new entry: Redis cannot read it, so the caller decides which one is stronger.
_SETTLE = f"""
local left = {{}}
for place, key in ipairs(KEYS) do
  local expected, entry = ARGV[2 * place], ARGV[2 * place + 1]
  local held = redis.pcall('GETRANGE', key, 0, {_LONGEST_ENTRY_BYTES})
  held = type(held) == 'string' and held or '?'
  left[place] = ''
  if entry == '' then
    if held ~= '' and held == expected then
      redis.call('DEL', key)
    end
  elseif held == '' or held == expected then
    redis.call('SET', key, entry, 'PX', ARGV[1])
  else
    left[place] = held
  end
end
return left
"""

_Replacement = tuple[str, RememberedEvent | None, OwnEntry, bytes]
"""An id, its new entry, the entry of the claim, and the bytes in Redis that may be replaced."""


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
        self,
        tenant_id: TenantId,
        wanted: Sequence[tuple[str, RememberedEvent, OwnEntry]],
        *,
        within_s: float = math.inf,
    ) -> list[RememberedEvent | None] | None:
        """Write each entry whose id has none. Return the existing entries, in order; None if Redis gave no answer."""
        keys = [_key(tenant_id, event_id) for event_id, _, _ in wanted]
        entries = [self._seal(tenant_id, event_id, entry, BEGUN_S) for event_id, entry, _ in wanted]
        for (_, _, own), entry in zip(wanted, entries, strict=True):
            own.written = entry  # before the call: it may arrive although the call is cancelled
        found = await self._run(_CLAIM, keys, [str(BEGUN_S * 1000).encode(), *entries], within_s)
        if not isinstance(found, list) or len(found) != len(wanted):
            return None
        for (_, _, own), held in zip(wanted, found, strict=True):
            if held != b"":
                own.written = b""
        return [self._open(tenant_id, event_id, held) for (event_id, _, _), held in zip(wanted, found, strict=True)]

    async def settle(
        self, tenant_id: TenantId, changes: Sequence[tuple[str, RememberedEvent | None, OwnEntry]]
    ) -> bool:
        """Write the results of events for a day; None removes the entry that the claim wrote.

        An entry of another claim stays unless the result is stronger. Returns whether Redis confirmed all of it.
        """
        left: list[_Replacement] = [(event_id, entry, own, own.written) for event_id, entry, own in changes]
        for _ in range(_SETTLE_ROUNDS):
            found = await self._settle_once(tenant_id, left)
            if found is None:
                return False
            again: list[_Replacement] = []
            for (event_id, entry, own, _), held in zip(left, found, strict=True):
                if entry is None or held == b"":
                    continue
                earlier = self._opened(tenant_id, event_id, held)
                result = entry if earlier is None else combined(earlier, entry)
                if result != earlier:
                    again.append((event_id, result, own, held))
            if not again:
                return True
            left = again
        return False

    async def _settle_once(self, tenant_id: TenantId, changes: Sequence[_Replacement]) -> list[bytes] | None:
        """Write each change if Redis holds nothing or these bytes. Return what it holds instead; None: no answer."""
        keys, arguments = [], [str(REMEMBER_S * 1000).encode()]
        for event_id, entry, _, expected in changes:
            keys.append(_key(tenant_id, event_id))
            sealed = b"" if entry is None else self._seal(tenant_id, event_id, entry, REMEMBER_S)
            arguments += (expected, sealed)
        found = await self._run(_SETTLE, keys, arguments)
        if not isinstance(found, list) or len(found) != len(changes):
            return None
        for place, held in enumerate(found):
            changes[place][2].written = arguments[2 * place + 2] if held == b"" else b""
        return found

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
        entry = self._opened(tenant_id, event_id, held)
        if entry is None:
            self._on_event("event_id_entry_refused")
        return entry

    def _opened(self, tenant_id: TenantId, event_id: str, held: object) -> RememberedEvent | None:
        """Return an entry that one of our replicas wrote for this id, otherwise None."""
        try:
            if not isinstance(held, bytes) or len(held) > _LONGEST_ENTRY_BYTES:
                raise SealRefused("not ours")
            place = _place(tenant_id, event_id)
            return unpack(self._seal_keys.open(place, held, now=UnixSeconds(int(self._clock.now()))).payload)
        except (SealRefused, NotPacked):
            return None


def _place(tenant_id: TenantId, event_id: str) -> SealedFor:
    return SealedFor(purpose=_PURPOSE, name=event_id, tenant=tenant_id)


def _key(tenant_id: TenantId, event_id: str) -> str:
    """Return the Redis key. It contains hashes only, so that Redis does not show callers' ids."""
    tenant = hashlib.sha256(tenant_id.encode()).hexdigest()[:16]
    return f"pgw:{{event-ids:{tenant}}}:{hashlib.sha256(event_id.encode()).hexdigest()[:32]}"
