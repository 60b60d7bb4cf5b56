"""One replica's client of the shared cache, for fetches of the platform key.

It maps each of our nonces to a ticket, and notices when the shared cache cannot be reached. shared_key.py explains
nonces; fetch_waiters.py explains tickets.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.cache.client import CacheUnavailable
from gateway.core.types import KeyId
from gateway.keys.platform.shared_key import NONCE_BYTES, KeyEntry, Nonce, PollResult, SharedKeyCache

T = TypeVar("T")

MISSES_TO_GO_ALONE = 2
"""One late answer may come from a pause of this process, so the replica fetches alone only after two misses."""
NO_RESULT = PollResult(leased=False, entry=None)


class SharedKeyClient:
    """One replica's client of the shared cache. Without a cache, every poll returns None: fetch alone."""

    def __init__(self, *, shared: SharedKeyCache | None, lease_ms: int, on_event: Callable[[str], None]) -> None:
        """Use this cache. A lease lasts `lease_ms`."""
        self._shared = shared
        self._lease_ms = lease_ms
        self._on_event = on_event
        # Newest last. Losing an old nonce is harmless: the answer to a newer nonce covers its tickets too.
        self._nonces: deque[tuple[Nonce, int]] = deque(maxlen=256)
        self._misses = 0

    async def poll(self, newest_ticket: int, *, want_lease: bool) -> PollResult | None:
        """Request a fetch that answers every ticket up to this one. None: fetch alone, by your own cooldown."""
        if self._shared is None:
            return None
        if not self._nonces or self._nonces[-1][1] < newest_ticket:
            # Created now, so every ticket up to the newest is older than the nonce.
            self._nonces.append((Nonce(secrets.token_bytes(NONCE_BYTES)), newest_ticket))
        nonce, lease_ms = self._nonces[-1][0], self._lease_ms if want_lease else None
        polled = await self._try(lambda shared: shared.poll(nonce, lease_ms=lease_ms))
        self._misses = 0 if polled is not None else self._misses + 1
        return NO_RESULT if polled is None and self._misses < MISSES_TO_GO_ALONE else polled

    def covered_by(self, answered: frozenset[Nonce]) -> int:
        """Return the newest ticket that is older than one of these nonces; 0 if none of them is ours."""
        return max((ticket for nonce, ticket in self._nonces if nonce in answered), default=0)

    def settle(self, up_to: int) -> None:
        """Remove the nonces of tickets up to this one, because these tickets are answered."""
        while self._nonces and self._nonces[0][1] <= up_to:
            self._nonces.popleft()

    async def take_requests(self) -> frozenset[Nonce]:
        """Return the nonces of all replicas. Call it before a fetch begins. Ours may be missing."""
        return await self._try(lambda shared: shared.take_requests()) or frozenset()

    def own_requests(self) -> frozenset[Nonce]:
        """Return our own nonces."""
        return frozenset(nonce for nonce, _ in self._nonces)

    async def stored(self) -> KeyEntry | None:
        """Return the newest published key, if the cache can be reached."""
        return await self._try(lambda shared: shared.stored())

    async def publish(self, entry: KeyEntry) -> None:
        """Publish a fetched key, if the cache can be reached."""
        await self._try(lambda shared: shared.publish(entry))

    async def publish_failure(self, answered: frozenset[Nonce]) -> None:
        """Publish a failed fetch, if the cache can be reached."""
        await self._try(lambda shared: shared.publish_failure(answered))

    async def publish_revoked(self, revoked: frozenset[KeyId]) -> bool:
        """Publish the revoked keys. Return whether they were published."""

        async def show(shared: SharedKeyCache) -> bool:
            await shared.publish_revoked(revoked)
            return True

        return bool(await self._try(show))

    async def _try(self, use: Callable[[SharedKeyCache], Awaitable[T]]) -> T | None:
        if self._shared is None:
            return None
        try:
            return await use(self._shared)
        except CacheUnavailable:
            self._on_event("platform_key_cache_unavailable")
            return None
