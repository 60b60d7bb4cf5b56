"""Seal entries of a shared cache: encrypt and authenticate them, so that changed or foreign entries are detected.

XChaCha20-Poly1305 (libsodium): its 24-byte nonces can be random for any number of entries that a fleet writes. The
place and the times of an entry are authenticated too, so an entry opens only in its place and before it expires.
`cache/client.py` stores the bytes. Source: API.md, `GATEWAY_CACHE_KEYS`.
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

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_ABYTES,
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
    crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
)
from nacl.exceptions import CryptoError
from nacl.utils import random as random_bytes

from gateway.core.secret import Secret, SecretRefused
from gateway.core.types import UnixSeconds

KEY_BYTES = 32
MAX_CLOCK_SKEW_S = 60
_MAGIC = b"PGS2"
_OLD_MAGIC = b"PGS1"
"""Entries of versions before 0.2 are authenticated, not encrypted. They are read, and never written."""
_OLD_TAG_BYTES = 32
_HEADER = struct.Struct(">4sBqq")
_NONCE_BYTES = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
_PREFIX = _HEADER.size + _NONCE_BYTES
_OVERHEAD = _PREFIX + crypto_aead_xchacha20poly1305_ietf_ABYTES


class SealRefused(ValueError):
    """A sealed entry is not ours, was changed, belongs to another place or has expired. Treat it as absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedFor:
    """The one place where a sealed entry is valid."""

    purpose: str
    name: str
    environment: str = ""
    tenant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A decrypted and authenticated payload, with its authenticated times."""

    payload: bytes
    stored_at: UnixSeconds
    expires_at: UnixSeconds


class SealKeys:
    """One or more 32-byte keys: the first key seals, all keys open, so that keys can be rotated while a fleet runs.

    Caches share one object and use it for each entry, so `adopt` changes the keys of all caches at once.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: Sequence[Secret]) -> None:
        """Take the keys in their order.

        Raises: SecretRefused if there is no key, or if a key has another length.
        """
        if not keys:
            raise SecretRefused("contains no key; add at least one base64 text of 32 random bytes")
        if any(len(key.reveal()) != KEY_BYTES for key in keys):
            raise SecretRefused(f"contains a key that is not {KEY_BYTES} bytes; make one with: openssl rand -base64 32")
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
                raise SecretRefused(
                    "contains a key that is not base64; make one with: openssl rand -base64 32"
                ) from None
        return cls(keys)

    @classmethod
    def joined(cls, several: Sequence[SealKeys]) -> Self:
        """Return the keys of several objects, in their order, each key once."""
        keys: list[Secret] = []
        for one in several:
            keys += [key for key in one._keys if key not in keys]
        return cls(keys)

    def adopt(self, other: SealKeys) -> None:
        """Replace the keys by those of `other`."""
        self._keys = other._keys

    def __len__(self) -> int:
        return len(self._keys)

    def seal(self, place: SealedFor, payload: bytes, *, stored_at: UnixSeconds, expires_at: UnixSeconds) -> bytes:
        """Return the payload, encrypted with the first key and bound to its place and its times."""
        key = self._keys[0].reveal()
        header = _HEADER.pack(_MAGIC, _hint(key), stored_at, expires_at)
        nonce = random_bytes(_NONCE_BYTES)
        return header + nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(payload, _bound(header, place), nonce, key)

    def open(self, place: SealedFor, sealed: bytes, *, now: UnixSeconds) -> Opened:
        """Return the payload if one of our keys sealed it for this place and it has not expired.

        Raises: SealRefused; also for an entry from more than a minute in the future, because a clock must be wrong.
        """
        if len(sealed) < _HEADER.size:
            raise SealRefused("too short to be a sealed entry")
        header, nonce, encrypted = sealed[: _HEADER.size], sealed[_HEADER.size : _PREFIX], sealed[_PREFIX:]
        magic, hint, stored_at, expires_at = _HEADER.unpack(header)
        if magic == _OLD_MAGIC:
            payload = self._authenticated(hint, header, sealed[_HEADER.size :], place)
        elif magic == _MAGIC and len(sealed) >= _OVERHEAD:
            payload = self._decrypt(hint, encrypted, _bound(header, place), nonce)
        else:
            raise SealRefused("not a sealed entry")
        if now >= expires_at:
            raise SealRefused("expired")
        if stored_at > now + MAX_CLOCK_SKEW_S:
            raise SealRefused("stored in the future")
        return Opened(payload=payload, stored_at=UnixSeconds(stored_at), expires_at=UnixSeconds(expires_at))

    def _decrypt(self, hint: int, encrypted: bytes, bound: bytes, nonce: bytes) -> bytes:
        for key in (key.reveal() for key in self._keys):
            if _hint(key) == hint:
                try:
                    return crypto_aead_xchacha20poly1305_ietf_decrypt(encrypted, bound, nonce, key)
                except CryptoError:
                    continue
        raise SealRefused("sealed by another key, for another place, or changed since")

    def _authenticated(self, hint: int, header: bytes, rest: bytes, place: SealedFor) -> bytes:
        """Return the payload of an entry of the form before encryption: a list of what is switched off must survive."""
        tag, payload = rest[:_OLD_TAG_BYTES], rest[_OLD_TAG_BYTES:]
        signed = _bound(header, place) + struct.pack(">Q", len(payload)) + payload
        for key in (key.reveal() for key in self._keys):
            if _hint(key) == hint and hmac.compare_digest(
                hmac.digest(key, b"phoenix-gateway/seal/1" + signed, hashlib.sha256), tag
            ):
                return payload
        raise SealRefused("sealed by another key, for another place, or changed since")


def _hint(key: bytes) -> int:
    """Return one byte that selects the key, so that `open` need not try each one. It reveals nothing useful."""
    return hashlib.sha256(b"phoenix-gateway/seal-hint\x00" + key).digest()[0]


def _bound(header: bytes, place: SealedFor) -> bytes:
    """Return header and place, each after its length, so that two different lists never give the same bytes."""
    texts = (place.purpose, place.name, place.environment, place.tenant)
    parts = (header, *(text.encode("utf-8") for text in texts))
    return b"".join(struct.pack(">Q", len(part)) + part for part in parts)
