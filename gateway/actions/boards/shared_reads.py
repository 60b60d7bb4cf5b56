"""The second level of cached reads: answers that replicas share, and whose turn it is to fetch.

A shared cache that is out of reach costs its time limit at most and never an answer. Source: issue 6, point 2.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.actions.boards.read_values import Fetched, Kept, ReadCacheSettings, ReadKey
from gateway.cache.client import CacheUnavailable
from gateway.cache.shared_reads import ReadPlace, SharedReads
from gateway.errors import PhoenixNotFound
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

_HEAD = struct.Struct(">cH")
"""Kind and length of the window key."""
_VALUE, _FINAL, _ABSENT = b"V", b"F", b"N"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What the fleet has: an answer, or nothing, and then whether we hold the lease until `leased_until`."""

    kept: Kept | None = None
    leased_until: float | None = None


class FleetReads:
    """This replica's side of sharing answers."""

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

    async def ask(self, key: ReadKey, *, oldest: float, deadline: Deadline) -> Turn:
        """Return an answer that is no older than `oldest` or final; else take the lease, or wait for who holds it.

        After a bounded wait, or with the cache out of reach, it returns neither: fetch on your own then.
        """
        place = _place(key)
        until = self._clock.monotonic() + min(self._settings.fleet_wait_s, deadline.remaining() / 2)
        while True:
            asked_at = self._clock.monotonic()
            try:
                look = await self._shared.lookup(place, lease_s=self._settings.lease_s)
            except CacheUnavailable:
                self._on_unavailable(key)
                return Turn()
            leased_until = asked_at + self._settings.lease_s if look.leased else None
            kept = None
            if look.found is not None:
                kept = _decoded(look.found.payload, asked_at - look.found.age_s)
            if kept is not None and (kept.as_of >= oldest or (kept.value is not None and kept.value.is_final)):
                return Turn(kept=kept, leased_until=leased_until)
            if look.leased or self._clock.monotonic() >= until:
                return Turn(leased_until=leased_until)
            await self._pause(self._settings.poll_s)

    async def publish(self, key: ReadKey, kept: Kept, leased_until: float | None) -> None:
        """Show what was fetched, for as long as it may be served, and give back the lease."""
        try:
            await self._shared.publish(
                _place(key),
                _encoded(kept),
                age_s=self._clock.monotonic() - kept.as_of,
                keep_s=self._keep_s(kept),
                release=self._is_ours(leased_until),
            )
        except CacheUnavailable:
            return

    async def release(self, key: ReadKey, leased_until: float | None) -> None:
        """Give back a lease that nothing came of, so that another replica may try at once."""
        if not self._is_ours(leased_until):
            return
        try:
            await self._shared.release(_place(key))
        except CacheUnavailable:
            return

    def _is_ours(self, leased_until: float | None) -> bool:
        """Whether it certainly is: a second of margin for a Redis that is slow to act."""
        return leased_until is not None and self._clock.monotonic() < leased_until - min(
            1.0, self._settings.lease_s / 2
        )

    def _keep_s(self, kept: Kept) -> float:
        if kept.value is None:
            return self._settings.absent_s
        return self._settings.final_s if kept.value.is_final else self._settings.failing_s


def _place(key: ReadKey) -> ReadPlace:
    return ReadPlace(tenant_id=key.tenant_id, name=key.name)


def _encoded(kept: Kept) -> bytes:
    if kept.value is None:
        metadata = {} if kept.absent is None else dict(kept.absent.metadata)
        return _HEAD.pack(_ABSENT, 0) + json.dumps(metadata).encode()
    window = kept.value.window_key.encode()[:0xFFFF]
    return _HEAD.pack(_FINAL if kept.value.is_final else _VALUE, len(window)) + window + kept.value.payload


def _decoded(data: bytes, as_of: float) -> Kept | None:
    """Return what `_encoded` was given; None for what another version of the gateway may have written."""
    if len(data) < _HEAD.size:
        return None
    kind, length = _HEAD.unpack_from(data)
    if len(data) < _HEAD.size + length:
        return None
    window, payload = data[_HEAD.size : _HEAD.size + length], data[_HEAD.size + length :]
    if kind == _ABSENT:
        return Kept(as_of=as_of, value=None, absent=PhoenixNotFound(metadata=json.loads(payload)), is_live=False)
    if kind not in (_VALUE, _FINAL):
        return None
    value = Fetched(payload=payload, window_key=window.decode(errors="replace"), is_final=kind == _FINAL)
    return Kept(as_of=as_of, value=value, is_live=False)
