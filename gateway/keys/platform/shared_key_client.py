"""This replica's side of the talk among replicas about fetching the platform key.

Keeps which of our tickets each of our nonces stands for, and notices when the shared cache is out of reach. What a
nonce proves is told in shared_key.py, what a ticket is in fetch_waiters.py. Source: issue 3, point 5.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.cache.client import CacheUnavailable
from gateway.core.types import KeyId
from gateway.keys.platform.shared_key import NONCE_BYTES, KeyEntry, Nonce, SharedKeyCache, Turn

T = TypeVar("T")

MISSES_TO_GO_ALONE = 2
"""One answer that comes too late may be our own stall; a fetch beside the fleet's is only made after two."""
NOTHING_HEARD = Turn(leased=False, entry=None)


class SharedKeyClient:
    """The shared cache as one replica sees it; without one, every answer is "you are alone"."""

    def __init__(self, *, shared: SharedKeyCache | None, lease_ms: int, on_event: Callable[[str], None]) -> None:
        """Talk over this cache; a lease lasts `lease_ms`."""
        self._shared = shared
        self._lease_ms = lease_ms
        self._on_event = on_event
        # Newest last. A lost old nonce is no loss: who answers a newer one answers its tickets as well.
        self._nonces: deque[tuple[Nonce, int]] = deque(maxlen=256)
        self._misses = 0

    async def ask(self, newest_ticket: int, *, want_lease: bool) -> Turn | None:
        """Ask for a fetch that answers every ticket up to this one; None means: alone, go by your own cooldown."""
        if self._shared is None:
            return None
        if not self._nonces or self._nonces[-1][1] < newest_ticket:
            # Drawn here and now: every ticket up to the newest was drawn before it.
            self._nonces.append((Nonce(secrets.token_bytes(NONCE_BYTES)), newest_ticket))
        nonce, lease_ms = self._nonces[-1][0], self._lease_ms if want_lease else None
        turn = await self._try(lambda shared: shared.ask(nonce, lease_ms=lease_ms))
        self._misses = 0 if turn is not None else self._misses + 1
        return NOTHING_HEARD if turn is None and self._misses < MISSES_TO_GO_ALONE else turn

    def covered_by(self, answered: frozenset[Nonce]) -> int:
        """The newest ticket drawn before one of these nonces was; 0 if none of them is ours."""
        return max((ticket for nonce, ticket in self._nonces if nonce in answered), default=0)

    def settle(self, up_to: int) -> None:
        """Forget the nonces that stand for tickets up to this one: they are answered."""
        while self._nonces and self._nonces[0][1] <= up_to:
            self._nonces.popleft()

    async def take_asks(self) -> frozenset[Nonce]:
        """What the others ask for; call it before a fetch begins. Ours need not be among them."""
        return await self._try(lambda shared: shared.take_asks()) or frozenset()

    def own_asks(self) -> frozenset[Nonce]:
        """What we ask for."""
        return frozenset(nonce for nonce, _ in self._nonces)

    async def stored(self) -> KeyEntry | None:
        """The newest published key, if one can be had."""
        return await self._try(lambda shared: shared.stored())

    async def publish(self, entry: KeyEntry) -> None:
        """Show a fetched key, if the cache can be reached."""
        await self._try(lambda shared: shared.publish(entry))

    async def publish_failure(self, answered: frozenset[Nonce]) -> None:
        """Tell of a failed fetch, if the cache can be reached."""
        await self._try(lambda shared: shared.publish_failure(answered))

    async def publish_revoked(self, revoked: frozenset[KeyId]) -> bool:
        """Show the keys that must never count again; return whether the others can see them."""

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
