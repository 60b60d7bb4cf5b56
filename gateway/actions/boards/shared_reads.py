"""The second level of cached reads: answers that replicas share, and the lease that decides who fetches.

If the shared cache cannot be reached, a read costs at most its timeout and still gets an answer.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.actions.boards.read_values import CacheEntry, Fetched, ReadCacheSettings, ReadKey
from gateway.cache.client import CacheUnavailable
from gateway.cache.shared_reads import ReadPlace, SharedReads
from gateway.errors import PhoenixNotFound
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

_HEAD = struct.Struct(">cH")
"""Kind and length of the window key."""
_VALUE, _FINAL, _ABSENT = b"V", b"F", b"N"


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetAnswer:
    """The fleet's answer, or None. `leased_until`: this replica has the lease until then; None: it does not."""

    entry: CacheEntry | None = None
    leased_until: float | None = None


class FleetReads:
    """One replica's access to the shared answers."""

    def __init__(
        self,
        *,
        shared: SharedReads,
        clock: Clock,
        settings: ReadCacheSettings,
        on_unavailable: Callable[[ReadKey], None] = lambda key: None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._shared = shared
        self._clock = clock
        self._settings = settings
        self._on_unavailable = on_unavailable
        self._pause = pause

    async def ask(self, key: ReadKey, *, oldest: float, deadline: Deadline) -> FleetAnswer:
        """Return an answer that is not older than `oldest`, or is final. Otherwise take the lease, or wait for its
        holder.

        After a bounded wait, or if the cache cannot be reached, it returns neither; then fetch without a lease.
        """
        place = _read_place(key)
        until = self._clock.monotonic() + min(self._settings.fleet_wait_s, deadline.remaining() / 2)
        while True:
            asked_at = self._clock.monotonic()
            try:
                lookup = await self._shared.lookup(place, lease_s=self._settings.lease_s)
            except CacheUnavailable:
                self._on_unavailable(key)
                return FleetAnswer()
            leased_until = asked_at + self._settings.lease_s if lookup.leased else None
            entry = None
            if lookup.found is not None:
                entry = _decoded(lookup.found.payload, asked_at - lookup.found.age_s)
            if entry is not None and (entry.as_of >= oldest or (entry.value is not None and entry.value.is_final)):
                return FleetAnswer(entry=entry, leased_until=leased_until)
            if lookup.leased or self._clock.monotonic() >= until:
                return FleetAnswer(leased_until=leased_until)
            await self._pause(self._settings.poll_s)

    async def publish(self, key: ReadKey, entry: CacheEntry, leased_until: float | None) -> None:
        """Publish a fetched answer for as long as it may be served, and release the lease."""
        try:
            await self._shared.publish(
                _read_place(key),
                _encoded(entry),
                age_s=self._clock.monotonic() - entry.as_of,
                keep_s=self._keep_s(entry),
                release=self._is_ours(leased_until),
            )
        except CacheUnavailable:
            return

    async def release(self, key: ReadKey, leased_until: float | None) -> None:
        """Release the lease after a failed fetch, so that another replica may try at once."""
        if not self._is_ours(leased_until):
            return
        try:
            await self._shared.release(_read_place(key))
        except CacheUnavailable:
            return

    def _is_ours(self, leased_until: float | None) -> bool:
        """Tell whether the lease is certainly still ours, with one second of margin for a slow Redis."""
        return leased_until is not None and self._clock.monotonic() < leased_until - min(
            1.0, self._settings.lease_s / 2
        )

    def _keep_s(self, entry: CacheEntry) -> float:
        if entry.value is None:
            return self._settings.absent_s
        return self._settings.final_s if entry.value.is_final else self._settings.failing_s


def _read_place(key: ReadKey) -> ReadPlace:
    return ReadPlace(tenant_id=key.tenant_id, name=key.name)


def _encoded(entry: CacheEntry) -> bytes:
    if entry.value is None:
        metadata = {} if entry.absent is None else dict(entry.absent.metadata)
        return _HEAD.pack(_ABSENT, 0) + json.dumps(metadata).encode()
    window = entry.value.window_key.encode()[:0xFFFF]
    return _HEAD.pack(_FINAL if entry.value.is_final else _VALUE, len(window)) + window + entry.value.payload


def _decoded(data: bytes, as_of: float) -> CacheEntry | None:
    """Decode what `_encoded` made; None for an unknown form from another version of the gateway."""
    if len(data) < _HEAD.size:
        return None
    kind, length = _HEAD.unpack_from(data)
    if len(data) < _HEAD.size + length:
        return None
    window, payload = data[_HEAD.size : _HEAD.size + length], data[_HEAD.size + length :]
    if kind == _ABSENT:
        return CacheEntry(as_of=as_of, value=None, absent=PhoenixNotFound(metadata=json.loads(payload)), is_live=False)
    if kind not in (_VALUE, _FINAL):
        return None
    value = Fetched(payload=payload, window_key=window.decode(errors="replace"), is_final=kind == _FINAL)
    return CacheEntry(as_of=as_of, value=value, is_live=False)
