"""What replicas tell each other about fetches of the platform key, and its form as bytes.

The proof by nonces. A replica that needs a fresher key draws a random nonce and puts it among the asks. Whoever holds
the lease reads the asks, THEN fetches, and publishes the key with the nonces it had read. An entry that lists a nonce
of mine therefore holds a key whose fetch began after I drew the nonce, whatever any clock says; an older entry cannot
list it, and an entry of a stranger does not open (sealing.py). Where entries lie is redis_key_cache.py's business, when
to ask and to fetch platform_keys.py's. Source: issue 3, point 5.
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
    """An entry with a good seal has another form: another version wrote it. It counts as absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEntry:
    """A fetched key. `began_at`: the fetcher's wall clock, for display. `answered`: nonces read before the fetch."""

    key: VerifyingKey
    began_at: float
    answered: frozenset[Nonce]
    retired: tuple[RetiredKey, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one ask brought: whether this replica may fetch now, the newest key, whom the newest failure concerns.

    `revoked`: the keys that must never count again; None where Redis was not heard.
    """

    leased: bool
    entry: KeyEntry | None
    failed: frozenset[Nonce] = frozenset()
    revoked: frozenset[KeyId] | None = None


class SharedKeyCache(Protocol):
    """What platform_keys.py needs of the cache that a fleet shares. Every method raises CacheUnavailable."""

    async def ask(self, nonce: Nonce, *, lease_ms: int | None) -> Turn:
        """Put the nonce among the asks, try for the lease (None: leave it alone), and read what was published."""
        ...

    async def take_asks(self) -> frozenset[Nonce]:
        """The nonces that wait for the next fetch; call it before that fetch begins."""
        ...

    async def stored(self) -> KeyEntry | None:
        """The newest published key."""
        ...

    async def publish(self, entry: KeyEntry) -> None:
        """Show the key that a fetch brought."""
        ...

    async def publish_failure(self, answered: frozenset[Nonce]) -> None:
        """Tell those who asked that the fetch for them failed, so that they need not wait any longer."""
        ...

    async def publish_revoked(self, revoked: frozenset[KeyId]) -> None:
        """Show the keys that must never count again, all of them."""
        ...


def encode_entry(entry: KeyEntry) -> bytes:
    """Return the entry as bytes to be sealed."""
    return json.dumps(
        {
            "pem": entry.key.spki_pem.decode("ascii"),
            "began_at": entry.began_at,
            "answered": _hex(entry.answered),
            "retired": [{"pem": one.key.spki_pem.decode("ascii"), "at": one.retired_at} for one in entry.retired],
        }
    ).encode("ascii")


def decode_entry(payload: bytes) -> KeyEntry:
    """Return the entry of bytes whose seal held.

    Raises: EntryUnreadable.
    """
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
        raise EntryUnreadable("a sealed entry is not of the form this version knows") from None


def encode_failure(answered: frozenset[Nonce]) -> bytes:
    """Return as bytes to be sealed whom a failed fetch concerns."""
    return json.dumps({"answered": _hex(answered)}).encode("ascii")


def decode_failure(payload: bytes) -> frozenset[Nonce]:
    """Return whom a failed fetch concerns.

    Raises: EntryUnreadable.
    """
    try:
        return _nonces(json.loads(payload)["answered"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise EntryUnreadable("a sealed failure is not of the form this version knows") from None


def encode_revoked(revoked: frozenset[KeyId]) -> bytes:
    """Return as bytes to be sealed which keys must never count again."""
    return json.dumps({"revoked": sorted(revoked)}).encode("ascii")


def decode_revoked(payload: bytes) -> frozenset[KeyId]:
    """Return which keys must never count again.

    Raises: EntryUnreadable.
    """
    try:
        return frozenset(KeyId(str(one)) for one in json.loads(payload)["revoked"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise EntryUnreadable("a sealed list of revoked keys is not of the form this version knows") from None


def sane_nonces(values: Iterable[bytes]) -> frozenset[Nonce]:
    """Keep what can be a nonce, and no more than a bounded number: anyone may have written to the asks."""
    nonces = [Nonce(value) for value in values if len(value) == NONCE_BYTES]
    return frozenset(nonces[:MAX_ANSWERED])


def _hex(nonces: frozenset[Nonce]) -> list[str]:
    return sorted(nonce.hex() for nonce in nonces)


def _nonces(texts: list[str]) -> frozenset[Nonce]:
    return frozenset(Nonce(bytes.fromhex(text)) for text in texts)
