"""Answers of leaderboard reads in Redis: sealed, with a lease, so that one replica of the fleet fetches.

Only sealed entries are trusted. The age of an entry is the greater of two values: one from the wall clock, which
differs between hosts, and one from the time to live in Redis, which is the same for all. So neither a host with a slow
clock nor an old entry that was written back makes old data look fresh. Source: API.md, `GATEWAY_CACHE_KEYS`.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable
from typing import Any

from gateway.cache.client import RedisCache
from gateway.cache.redis_faults import checked
from gateway.cache.shared_reads import Lookup, ReadPlace, SharedRead
from gateway.core.sealing import SealedFor, SealKeys, SealRefused
from gateway.core.types import UnixSeconds
from gateway.resilience.clock import Clock

MAX_ENTRY_BYTES = 1024 * 1024
"""A thousand entries of a board need about a tenth of it."""
_PURPOSE = "leaderboard-read/1"
_HEADER = struct.Struct(">dQQ")
"""Wall time of storing (Unix seconds), age at that time and time to live (both in milliseconds)."""


class RedisReadCache:
    """One replica's access to the shared answers; implements SharedReads."""

    def __init__(
        self,
        *,
        cache: RedisCache,
        seal_keys: SealKeys,
        clock: Clock,
        on_event: Callable[[str], None] = lambda name: None,
    ) -> None:
        """Store answers in this Redis. `on_event` receives the names of events to count."""
        self._cache = cache
        self._seal_keys = seal_keys
        self._clock = clock
        self._on_event = on_event

    async def lookup(self, place: ReadPlace, *, lease_s: float) -> Lookup:
        """Read the entry and try to get the lease, in one round trip.

        Raises: CacheUnavailable.
        """
        entry, lease = _names(place)
        lease_ms = _milliseconds(lease_s)

        async def work(client: Any) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            pipeline.set(lease, b"1", nx=True, px=lease_ms)
            pipeline.pttl(lease)
            # Read before the value: if another entry is written in between, its age is overestimated, not
            # underestimated.
            pipeline.pttl(entry)
            pipeline.getrange(entry, 0, MAX_ENTRY_BYTES)
            answers: list[Any] = checked(await pipeline.execute(raise_on_error=False))
            left_ms = answers[1]
            if isinstance(left_ms, int) and (left_ms == -1 or left_ms > lease_ms):
                # A lease without an expiry, or with a longer one than our replicas set.
                self._on_event("read_cache_mended")
                await client.pexpire(lease, lease_ms)
            return answers

        answers = await self._cache.run(lease, work)
        return Lookup(found=self._open(place, answers[3], answers[2]), leased=answers[0] is True)

    async def publish(self, place: ReadPlace, payload: bytes, *, age_s: float, keep_s: float, release: bool) -> None:
        """Seal the answer and show it; what is too large to be read back is not written.

        Raises: CacheUnavailable.
        """
        entry, lease = _names(place)
        now, keep_ms = self._clock.now(), _milliseconds(keep_s)
        sealed = self._seal_keys.seal(
            _sealed_for(place),
            _HEADER.pack(now, math.ceil(age_s * 1000), keep_ms) + payload,
            stored_at=UnixSeconds(int(now)),
            expires_at=UnixSeconds(math.ceil(now + keep_s)),
        )

        async def work(client: Any) -> None:
            pipeline = client.pipeline(transaction=False)
            if len(sealed) <= MAX_ENTRY_BYTES:
                pipeline.set(entry, sealed, px=keep_ms)
            if release:
                pipeline.unlink(lease)
            checked(await pipeline.execute(raise_on_error=False))

        await self._cache.run(lease, work)

    async def release(self, place: ReadPlace) -> None:
        """Release the lease.

        Raises: CacheUnavailable.
        """
        _, lease = _names(place)
        await self._cache.run(lease, lambda client: client.unlink(lease))

    def _open(self, place: ReadPlace, value: object, left_ms: object) -> SharedRead | None:
        if value == b"" or left_ms == -2:
            return None
        now = self._clock.now()
        try:
            if not isinstance(value, bytes) or not isinstance(left_ms, int) or len(value) > MAX_ENTRY_BYTES:
                raise SealRefused("not our entry")
            opened = self._seal_keys.open(_sealed_for(place), value, now=UnixSeconds(int(now)))
            if len(opened.payload) < _HEADER.size:
                raise SealRefused("shorter than its header")
            stored_at, age_ms, keep_ms = _HEADER.unpack_from(opened.payload)
            if not 0 <= left_ms <= keep_ms:
                raise SealRefused("its time to live is longer than when it was stored")
        except SealRefused:
            self._on_event("read_cache_entry_refused")
            return None
        by_redis_s = (keep_ms - left_ms + 1) / 1000  # Redis rounds to a millisecond
        return SharedRead(
            payload=opened.payload[_HEADER.size :],
            age_s=age_ms / 1000 + max(0.0, now - stored_at, by_redis_s),
        )


def _names(place: ReadPlace) -> tuple[str, str]:
    """Return the keys of entry and lease. They have the same hash tag, so one node of a cluster holds both."""
    digest = hashlib.sha256(b"%d:%s%s" % (len(place.tenant_id), place.tenant_id.encode(), place.name.encode()))
    tag = f"pgw:{{read:{digest.hexdigest()[:32]}}}"
    return f"{tag}:entry", f"{tag}:lease"


def _sealed_for(place: ReadPlace) -> SealedFor:
    return SealedFor(purpose=_PURPOSE, name=place.name, tenant=place.tenant_id)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
