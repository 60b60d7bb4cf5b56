"""The fleet's shared platform key in Redis: fetch requests, lease, entry, failure and revoked keys of one host.

All Redis keys have the same hash tag, so they are on one node of a cluster and one pipeline reaches them. Only sealed
entries are trusted. Entries that fail authentication are counted, ignored, and overwritten if they block us.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import Any

from gateway.cache.client import RedisCache
from gateway.cache.redis_faults import checked
from gateway.core.sealing import SealedFor, SealKeys, SealRefused
from gateway.core.types import Environment, KeyId, UnixSeconds
from gateway.keys.platform.shared_key import (
    MAX_ANSWERED,
    EntryUnreadable,
    KeyEntry,
    Nonce,
    PollResult,
    decode_entry,
    decode_failure,
    decode_revoked,
    encode_entry,
    encode_failure,
    encode_revoked,
    valid_nonces,
)
from gateway.resilience.clock import Clock

ENTRY_TTL_S = 120
FAILURE_TTL_S = 30
REQUESTS_TTL_MS = 60_000
REVOKED_TTL_S = 30 * 24 * 3600
"""Every replica that knows a revoked key publishes it again when it is missing."""
MAX_ENTRY_BYTES = 64 * 1024


class RedisKeyCache:
    """One replica's access to the shared platform key; implements SharedKeyCache."""

    def __init__(
        self,
        *,
        cache: RedisCache,
        seal_keys: SealKeys,
        clock: Clock,
        host: str,
        environment: Environment,
        on_event: Callable[[str], None] = lambda name: None,
    ) -> None:
        """Store the platform key of one host and environment. `on_event` receives the names of events to count."""
        self._cache = cache
        self._seal_keys = seal_keys
        self._clock = clock
        self._on_event = on_event
        self._replica = secrets.token_hex(8)
        tag = f"pgw:{{platform-key:{environment.value}:{hashlib.sha256(host.encode()).hexdigest()[:16]}}}"
        self._requests, self._lease = f"{tag}:asks", f"{tag}:lease"
        self._entry, self._failure, self._revoked = f"{tag}:entry", f"{tag}:failure", f"{tag}:revoked"
        self._key_place = SealedFor(purpose="platform-key", name=host, environment=environment.value)
        self._failure_place = SealedFor(purpose="platform-key-failure", name=host, environment=environment.value)
        self._revoked_place = SealedFor(purpose="platform-key-revoked", name=host, environment=environment.value)
        self._refused: dict[str, bytes] = {}

    async def poll(self, nonce: Nonce, *, lease_ms: int | None) -> PollResult:
        """Add the nonce to the fetch requests, try to get the lease, and read what is published, in one round trip.

        Raises: CacheUnavailable.
        """

        async def work(client: Any) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            pipeline.hset(self._requests, self._replica, nonce)
            pipeline.pexpire(self._requests, REQUESTS_TTL_MS)
            pipeline.hlen(self._requests)
            if lease_ms is not None:
                pipeline.set(self._lease, self._replica, nx=True, px=lease_ms)
                pipeline.pttl(self._lease)
            # One byte more than allowed shows that a value is too long, without transferring all of it.
            pipeline.getrange(self._entry, 0, MAX_ENTRY_BYTES)
            pipeline.getrange(self._failure, 0, MAX_ENTRY_BYTES)
            pipeline.getrange(self._revoked, 0, MAX_ENTRY_BYTES)
            answers: list[Any] = checked(await pipeline.execute(raise_on_error=False))
            await self._repair(client, answers, lease_ms)
            return answers

        answers = await self._cache.run(self._entry, work, is_patient=True)
        return PollResult(
            leased=lease_ms is not None and answers[3] is True,
            entry=self._open_entry(answers[-3]),
            failed=self._open_failure(answers[-2]),
            revoked=self._open_revoked(answers[-1]),
        )

    async def take_requests(self) -> frozenset[Nonce]:
        """Return and remove the nonces that wait for the next fetch. A replica that still waits adds its own again.

        Raises: CacheUnavailable.
        """

        async def work(client: Any) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            pipeline.hvals(self._requests)
            pipeline.unlink(self._requests)
            answers: list[Any] = checked(await pipeline.execute(raise_on_error=False))
            return answers

        values = (await self._cache.run(self._entry, work, is_patient=True))[0]
        return valid_nonces(values) if isinstance(values, list) else frozenset()

    async def stored(self) -> KeyEntry | None:
        """Return the newest published key, if there is a valid entry.

        Raises: CacheUnavailable.
        """

        async def work(client: Any) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            pipeline.getrange(self._entry, 0, MAX_ENTRY_BYTES)
            answers: list[Any] = checked(await pipeline.execute(raise_on_error=False))
            return answers

        return self._open_entry((await self._cache.run(self._entry, work, is_patient=True))[0])

    async def publish(self, entry: KeyEntry) -> None:
        """Seal the entry and publish it for two minutes.

        Raises: CacheUnavailable.
        """
        sealed = self._seal(self._key_place, encode_entry(entry), ENTRY_TTL_S)
        await self._cache.put(self._entry, sealed, ttl_s=ENTRY_TTL_S)

    async def publish_failure(self, answered: frozenset[Nonce]) -> None:
        """Seal and publish the nonces of a failed fetch.

        Raises: CacheUnavailable.
        """
        sealed = self._seal(self._failure_place, encode_failure(answered), FAILURE_TTL_S)
        await self._cache.put(self._failure, sealed, ttl_s=FAILURE_TTL_S)

    async def publish_revoked(self, revoked: frozenset[KeyId]) -> None:
        """Seal and publish the revoked keys.

        Raises: CacheUnavailable.
        """
        sealed = self._seal(self._revoked_place, encode_revoked(revoked), REVOKED_TTL_S)
        await self._cache.put(self._revoked, sealed, ttl_s=REVOKED_TTL_S)

    async def _repair(self, client: Any, answers: list[Any], lease_ms: int | None) -> None:
        """Remove values that no replica of ours writes and that would block the fleet's fetches."""
        asked, requests = answers[0], answers[2]
        if isinstance(asked, Exception) or (isinstance(requests, int) and requests > MAX_ANSWERED):
            self._on_event("platform_key_cache_mended")
            await client.unlink(self._requests)
        if lease_ms is not None:
            left_ms = answers[4]
            if isinstance(left_ms, int) and (left_ms == -1 or left_ms > lease_ms):
                # A lease without an expiry, or with a longer one than our replicas set.
                self._on_event("platform_key_cache_mended")
                await client.pexpire(self._lease, lease_ms)

    def _seal(self, place: SealedFor, payload: bytes, ttl_s: int) -> bytes:
        now = int(self._clock.now())
        return self._seal_keys.seal(place, payload, stored_at=UnixSeconds(now), expires_at=UnixSeconds(now + ttl_s))

    def _open_entry(self, value: object) -> KeyEntry | None:
        payload = self._open(self._key_place, value)
        try:
            return None if payload is None else decode_entry(payload)
        except EntryUnreadable:
            self._on_event("platform_key_entry_unreadable")
            return None

    def _open_failure(self, value: object) -> frozenset[Nonce]:
        payload = self._open(self._failure_place, value)
        try:
            return frozenset() if payload is None else decode_failure(payload)
        except EntryUnreadable:
            self._on_event("platform_key_entry_unreadable")
            return frozenset()

    def _open_revoked(self, value: object) -> frozenset[KeyId]:
        payload = self._open(self._revoked_place, value)
        try:
            return frozenset() if payload is None else decode_revoked(payload)
        except EntryUnreadable:
            self._on_event("platform_key_entry_unreadable")
            return frozenset()

    def _open(self, place: SealedFor, value: object) -> bytes | None:
        """Return the payload if the entry is authentic. A refused value is counted once, even if it is read often."""
        if not isinstance(value, bytes):
            value = b"not a string"  # an error from Redis: the key has another type
        if not value:
            return None
        try:
            if len(value) > MAX_ENTRY_BYTES:
                raise SealRefused("too long to be ours")
            return self._seal_keys.open(place, value, now=UnixSeconds(int(self._clock.now()))).payload
        except SealRefused:
            digest = hashlib.sha256(value).digest()
            if self._refused.get(place.purpose) != digest:
                self._refused[place.purpose] = digest
                self._on_event("platform_key_entry_refused")
            return None
