"""HMAC-SHA256 over bytes: the tag, the header value, the comparison.

canonical.py builds the bytes to sign; gateway/keys owns the secret. Source: gamification.md 1.4.
"""

from __future__ import annotations

import hmac

TAG_BYTES = 32


def sign_raw(secret: bytes, message: bytes) -> bytes:
    """Return the 32-byte tag of `message`."""
    return hmac.digest(secret, message, "sha256")


def header_value(secret: bytes, message: bytes) -> str:
    """Return the value of `X-Signature` (and of the socket's `signature`): "hmac-sha256=<hex>"."""
    return "hmac-sha256=" + hmac.digest(secret, message, "sha256").hex()


def verify(secret: bytes, message: bytes, tag: bytes) -> bool:
    """Tell in constant time whether `tag` is the whole 32-byte tag of `message`. A truncated tag is refused."""
    return len(tag) == TAG_BYTES and hmac.compare_digest(hmac.digest(secret, message, "sha256"), tag)
