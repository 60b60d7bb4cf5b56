"""Limits that a fleet shares in Redis: a common balance for each name, and the replicas that use it.

One round trip in the background for many names. Balances are not sealed: an attacker with write access to Redis can
raise them to one full limit per replica, or lower them to each replica's own share; resilience/limiter.py enforces both
bounds. The presence entry of a replica is sealed for its name and replica, so that an attacker cannot invent calls or
replicas.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from typing import Any

from gateway.cache.client import CacheUnavailable, RedisCache
from gateway.controls.limit_sharing import FleetUsage, Spent
from gateway.core.sealing import SealedFor, SealKeys, SealRefused
from gateway.core.types import UnixSeconds
from gateway.resilience.clock import Clock

PRESENT_S = 5
"""How long a replica counts after its last report. The calls of a dead replica count no longer than this."""
KEPT_MS = 60_000
MAX_REPLICAS = 64
_PURPOSE = "limit"
_IN_FLIGHT = struct.Struct(">Q")
_LONGEST_PRESENCE_BYTES = 128
_ENDS_AT = 14
"""Offset of the expiry in a sealed entry, counted from 1, so that the script can remove expired entries unopened."""
_PER_NAME = 6

# All keys have the same hash tag, so that the script runs in a cluster too. Invalid numbers count as a full balance.
_EXCHANGE = f"""
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local answers = {{}}
for place, key in ipairs(KEYS) do
  local at = (place - 1) * {_PER_NAME}
  if redis.call('TYPE', key).ok ~= 'hash' then redis.call('DEL', key) end
  local held = redis.call('HMGET', key, 't', 'r', 'e')
  local before = tonumber(held[1])
  local passed = before and math.max(0, math.min(now - before, 3600)) or 3600
  local balances = {{}}
  for kind = 0, 1 do
    local rate, spent = tonumber(ARGV[at + 1 + kind * 2]), tonumber(ARGV[at + 2 + kind * 2])
    local balance = tonumber(held[2 + kind]) or rate
    if balance ~= balance then balance = rate end
    balance = math.min(rate, balance + passed * rate) - spent
    balances[kind] = math.max(balance, -2 * rate)
  end
  local own = 'p:' .. ARGV[at + 5]
  redis.call('HSET', key, 't', string.format('%.6f', now), 'r', string.format('%.6f', balances[0]),
    'e', string.format('%.6f', balances[1]), own, ARGV[at + 6])
  redis.call('PEXPIRE', key, {KEPT_MS})
  local found = {{string.format('%.6f', balances[0]), string.format('%.6f', balances[1])}}
  local fields = redis.call('HKEYS', key)
  for _, field in ipairs(fields) do
    if string.sub(field, 1, 2) == 'p:' and field ~= own then
      local presence = redis.call('HGET', key, field)
      local ok, ends = pcall(struct.unpack, '>i8', presence, {_ENDS_AT})
      if #found >= {2 + 2 * MAX_REPLICAS} or #presence > {_LONGEST_PRESENCE_BYTES} or not ok or ends < now then
        redis.call('HDEL', key, field)
      else
        found[#found + 1] = string.sub(field, 3)
        found[#found + 1] = presence
      end
    end
  end
  answers[place] = found
end
return answers
"""


class RedisLimits:
    """One replica's access to the shared limits; implements SharedLimits of limit_sharing.py."""

    def __init__(
        self,
        *,
        cache: RedisCache,
        seal_keys: SealKeys,
        clock: Clock,
        replica: str,
        on_event: Callable[[str], None] = lambda name: None,
    ) -> None:
        """Use this cache. `replica`: a unique name of this process.

        `on_event` receives limit_entry_refused for an entry that no replica can have written.
        """
        self._cache = cache
        self._seal_keys = seal_keys
        self._clock = clock
        self._replica = replica
        self._on_event = on_event

    async def exchange(self, spent: Sequence[Spent]) -> Sequence[FleetUsage] | None:
        """Report and return usage; None if Redis gave no answer."""
        now = int(self._clock.now())
        keys = [_key(one.name) for one in spent]
        arguments: list[bytes] = []
        for one in spent:
            numbers = (one.requests_per_s, one.requests, one.events_per_s, one.events)
            arguments += [b"%.6f" % number for number in numbers]
            arguments += [self._replica.encode(), self._presence(one, now)]

        async def work(client: Any) -> object:
            return await client.eval(_EXCHANGE, len(keys), *keys, *arguments)

        try:
            reported = await self._cache.run(keys[0], work)
        except CacheUnavailable:
            return None
        if not isinstance(reported, list) or len(reported) != len(spent):
            return None
        try:
            return [self._fleet_usage(one.name, found, now) for one, found in zip(spent, reported, strict=True)]
        except (ValueError, TypeError, IndexError):
            self._on_event("limit_entry_refused")
            return None

    def _presence(self, one: Spent, now: int) -> bytes:
        return self._seal_keys.seal(
            _place(one.name, self._replica),
            _IN_FLIGHT.pack(one.in_flight),
            stored_at=UnixSeconds(now),
            expires_at=UnixSeconds(now + PRESENT_S),
        )

    def _fleet_usage(self, name: str, found: Sequence[bytes], now: int) -> FleetUsage:
        others, replicas = 0, 1
        for replica, sealed in zip(found[2::2], found[3::2], strict=True):
            try:
                opened = self._seal_keys.open(_place(name, replica.decode()), sealed, now=UnixSeconds(now))
            except (SealRefused, UnicodeDecodeError) as refused:
                if str(refused) != "expired":
                    self._on_event("limit_entry_refused")
                continue
            others += int(_IN_FLIGHT.unpack(opened.payload)[0])
            replicas += 1
        return FleetUsage(
            requests=float(found[0]), events=float(found[1]), others_in_flight=others, replicas=min(replicas, 1000)
        )


def _key(name: str) -> str:
    return "pgw:{limit}:" + hashlib.sha256(name.encode()).hexdigest()[:32]


def _place(name: str, replica: str) -> SealedFor:
    return SealedFor(purpose=_PURPOSE, name=f"{name}\n{replica}")
