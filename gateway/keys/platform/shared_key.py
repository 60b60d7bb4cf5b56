"""What replicas share about fetches of the platform key, and its encoding.

Nonces prove freshness. A replica that needs a fresher key adds a random nonce to the fetch requests. The replica with
the lease reads the requests, THEN fetches, and publishes the key with the nonces it read. So an entry that lists my
nonce has a key whose fetch began after I created the nonce, whatever any clock says. An older entry cannot list it, and
a foreign entry does not open (core/sealing.py). redis_key_cache.py stores the entries; platform_keys.py decides when to
request and when to fetch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NewType, Protocol

from gateway.core.ed25519 import KeyRefused, VerifyingKey, load_verifying_key
from gateway.core.types import KeyId
from gateway.keys.platform.state import RetiredKey

Nonce = NewType("Nonce", bytes)
NONCE_BYTES = 16
MAX_ANSWERED = 512


class EntryUnreadable(ValueError):
    """An authentic entry has an unknown form, because another version wrote it. Treat it as absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEntry:
    """A fetched key. `began_at`: wall clock of the fetching replica, for display. `answered`: nonces read before it."""

    key: VerifyingKey
    began_at: float
    answered: frozenset[Nonce]
    retired: tuple[RetiredKey, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PollResult:
    """The result of one poll: whether this replica has the lease, the newest key, the nonces of the newest failure.

    `revoked`: the revoked keys; None if Redis gave no answer.
    """

    leased: bool
    entry: KeyEntry | None
    failed: frozenset[Nonce] = frozenset()
    revoked: frozenset[KeyId] | None = None


class SharedKeyCache(Protocol):
    """What platform_keys.py needs from the cache that a fleet shares. Every method raises CacheUnavailable."""

    async def poll(self, nonce: Nonce, *, lease_ms: int | None) -> PollResult:
        """Add the nonce to the fetch requests, try to get the lease (None: do not try), and read what is published."""
        ...

    async def take_requests(self) -> frozenset[Nonce]:
        """Return and remove the nonces that wait for the next fetch. Call it before that fetch begins."""
        ...

    async def stored(self) -> KeyEntry | None:
        """Return the newest published key."""
        ...

    async def publish(self, entry: KeyEntry) -> None:
        """Publish a fetched key."""
        ...

    async def publish_failure(self, answered: frozenset[Nonce]) -> None:
        """Publish that the fetch for these nonces failed, so that their replicas stop waiting."""
        ...

    async def publish_revoked(self, revoked: frozenset[KeyId]) -> None:
        """Publish all revoked keys."""
        ...


def encode_entry(entry: KeyEntry) -> bytes:
    """Return the entry as bytes, before sealing."""
    return json.dumps(
        {
            "pem": entry.key.spki_pem.decode("ascii"),
            "began_at": entry.began_at,
            "answered": _hex(entry.answered),
            "retired": [{"pem": one.key.spki_pem.decode("ascii"), "at": one.retired_at} for one in entry.retired],
        }
    ).encode("ascii")


def decode_entry(payload: bytes) -> KeyEntry:
    """Return the entry from authenticated bytes. Raises: EntryUnreadable."""
    try:
        fields = json.loads(payload)
        return KeyEntry(
            key=load_verifying_key(fields["pem"].encode("ascii")),
            began_at=float(fields["began_at"]),
            answered=_nonces(fields["answered"]),
            retired=tuple(
                RetiredKey(key=load_verifying_key(one["pem"].encode("ascii")), retired_at=float(one["at"]))
                for one in fields["retired"]
            ),
        )
    except (KeyRefused, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise EntryUnreadable("a sealed entry has a form that this version does not know") from None


def encode_failure(answered: frozenset[Nonce]) -> bytes:
    """Return the nonces of a failed fetch as bytes, before sealing."""
    return json.dumps({"answered": _hex(answered)}).encode("ascii")


def decode_failure(payload: bytes) -> frozenset[Nonce]:
    """Return the nonces of a failed fetch. Raises: EntryUnreadable."""
    try:
        return _nonces(json.loads(payload)["answered"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise EntryUnreadable("a sealed failure has a form that this version does not know") from None


def encode_revoked(revoked: frozenset[KeyId]) -> bytes:
    """Return the revoked keys as bytes, before sealing."""
    return json.dumps({"revoked": sorted(revoked)}).encode("ascii")


def decode_revoked(payload: bytes) -> frozenset[KeyId]:
    """Return the revoked keys. Raises: EntryUnreadable."""
    try:
        return frozenset(KeyId(str(one)) for one in json.loads(payload)["revoked"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise EntryUnreadable("a sealed list of revoked keys has a form that this version does not know") from None


def valid_nonces(values: Iterable[bytes]) -> frozenset[Nonce]:
    """Return the values that can be nonces, up to a limit: fetch requests are not authenticated."""
    nonces = [Nonce(value) for value in values if len(value) == NONCE_BYTES]
    return frozenset(nonces[:MAX_ANSWERED])


def _hex(nonces: frozenset[Nonce]) -> list[str]:
    return sorted(nonce.hex() for nonce in nonces)


def _nonces(texts: list[str]) -> frozenset[Nonce]:
    return frozenset(Nonce(bytes.fromhex(text)) for text in texts)
