"""Seals what is kept in a shared cache, so that what someone else wrote or changed there is not believed.

The sealed values are public (a platform key), so they are authenticated and not encrypted. Where they are kept is
client.py's business. Source: issue 3, point 5; API.md, `GATEWAY_CACHE_KEYS`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from gateway.core.types import UnixSeconds
from gateway.keys.own.secret_files import Secret, SecretRefused

KEY_BYTES = 32
MAX_CLOCK_SKEW_S = 60
_MAGIC = b"PGS1"
_TAG_BYTES = 32
_HEADER = struct.Struct(">4sBqq")
_OVERHEAD = _HEADER.size + _TAG_BYTES


class SealRefused(ValueError):
    """A sealed entry is not ours, was changed, belongs elsewhere or is too old; it counts as absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedFor:
    """The one place where a sealed entry is valid: it opens nowhere else."""

    purpose: str
    name: str
    environment: str = ""
    tenant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A payload whose seal held, with the times that the seal covers."""

    payload: bytes
    stored_at: UnixSeconds
    expires_at: UnixSeconds


class SealKeys:
    """One or more 32-byte keys: the first seals, all open, so that keys can be changed while a fleet runs.

    Caches hold one such object and ask it each time, so `adopt` changes the keys of all of them at once.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: Sequence[Secret]) -> None:
        """Take the keys in their order.

        Raises: SecretRefused when there are none, or one has another length.
        """
        if not keys:
            raise SecretRefused("holds no key; give at least one base64 text of 32 random bytes")
        if any(len(key.reveal()) != KEY_BYTES for key in keys):
            raise SecretRefused(f"holds a key that is not {KEY_BYTES} bytes; make one with: openssl rand -base64 32")
        self._keys = tuple(keys)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read keys in base64 (either alphabet), separated by commas or white space.

        Raises: SecretRefused.
        """
        keys: list[Secret] = []
        for part in text.replace(",", " ").split():
            padded = part.rstrip("=") + "=" * (-len(part.rstrip("=")) % 4)
            try:
                keys.append(Secret(base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True)))
            except (binascii.Error, ValueError):
                raise SecretRefused("holds a key that is not base64; make one with: openssl rand -base64 32") from None
        return cls(keys)

    @classmethod
    def joined(cls, several: Sequence[SealKeys]) -> Self:
        """Return the keys of several, in their order, each once."""
        keys: list[Secret] = []
        for one in several:
            keys += [key for key in one._keys if key not in keys]
        return cls(keys)

    def adopt(self, other: SealKeys) -> None:
        """Take over another's keys in place of one's own."""
        self._keys = other._keys

    def __len__(self) -> int:
        return len(self._keys)

    def seal(self, place: SealedFor, payload: bytes, *, stored_at: UnixSeconds, expires_at: UnixSeconds) -> bytes:
        """Return the payload with a tag over it, its place and its times, made with the first key."""
        key = self._keys[0].reveal()
        header = _HEADER.pack(_MAGIC, _hint(key), stored_at, expires_at)
        return header + _tag(key, place, header, payload) + payload

    def open(self, place: SealedFor, sealed: bytes, *, now: UnixSeconds) -> Opened:
        """Return the payload if one of our keys sealed it for this place and its time is not over.

        Raises: SealRefused. An entry from more than a minute in the future is refused too: a clock is wrong somewhere.
        """
        if len(sealed) < _OVERHEAD:
            raise SealRefused("too short to be a sealed entry")
        header, tag, payload = sealed[: _HEADER.size], sealed[_HEADER.size : _OVERHEAD], sealed[_OVERHEAD:]
        magic, hint, stored_at, expires_at = _HEADER.unpack(header)
        if magic != _MAGIC:
            raise SealRefused("not a sealed entry")
        candidates = [key.reveal() for key in self._keys if _hint(key.reveal()) == hint]
        if not any(hmac.compare_digest(_tag(key, place, header, payload), tag) for key in candidates):
            raise SealRefused("sealed by someone else, for another place, or changed since")
        if now >= expires_at:
            raise SealRefused("expired")
        if stored_at > now + MAX_CLOCK_SKEW_S:
            raise SealRefused("stored in the future")
        return Opened(payload=payload, stored_at=UnixSeconds(stored_at), expires_at=UnixSeconds(expires_at))


def _hint(key: bytes) -> int:
    """One byte that spares trying every key; it tells nothing usable of 32 random bytes."""
    return hashlib.sha256(b"phoenix-gateway/seal-hint\x00" + key).digest()[0]


def _tag(key: bytes, place: SealedFor, header: bytes, payload: bytes) -> bytes:
    """HMAC-SHA256 over all parts, each behind its length, so that no two lists of parts read the same."""
    mac = hmac.new(key, b"phoenix-gateway/seal/1", hashlib.sha256)
    texts = (place.purpose, place.name, place.environment, place.tenant)
    for part in (header, *(text.encode("utf-8") for text in texts), payload):
        mac.update(struct.pack(">Q", len(part)))
        mac.update(part)
    return mac.digest()
