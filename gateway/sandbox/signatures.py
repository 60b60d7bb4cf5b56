"""Signatures and tokens as Phoenix checks them, written from the vendor's documentation alone.

Pure functions over bytes. They are as strict as the vendor: exact bytes, unpadded base64url. `authentication` and
`tokens` decide what a valid signature permits.
Source: Getting Started (tenant HMAC, JWT), Security (Ed25519), Request Signing (Operator API).
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.sandbox.http_types import json_object

TOLERANCE_S = 300
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_DECIMAL = re.compile(r"[0-9]{1,12}")


def tenant_signature(secret: str, method: str, path: str, timestamp: str, body: bytes) -> str:
    """Return the X-Signature value of a Gamification request. `path` is raw as sent, without the query."""
    payload = f"{method}\n{path}\n{timestamp}\n".encode() + body
    return "hmac-sha256=" + hmac.digest(secret.encode(), payload, "sha256").hex()


def socket_signature(secret: str, path: str, timestamp: str) -> str:
    """Return the `signature` parameter of a leaderboard WebSocket: three parts, no body, no newline at the end."""
    return "hmac-sha256=" + hmac.digest(secret.encode(), f"WS\n{path}\n{timestamp}".encode(), "sha256").hex()


def constant_time_equal(presented: str, expected: str) -> bool:
    """Compare in constant time. `presented` may be any text, ASCII or not."""
    return hmac.compare_digest(presented.encode("utf-8", "surrogateescape"), expected.encode())


def is_within_tolerance(timestamp: str, now_s: float, tolerance_s: float = TOLERANCE_S) -> bool:
    """Tell whether a decimal Unix time is within the tolerance. Both ends are included (Assumption)."""
    return _DECIMAL.fullmatch(timestamp) is not None and abs(int(timestamp) - int(now_s)) <= tolerance_s


def decode_base64url(text: str) -> bytes | None:
    """Return the bytes of canonical, unpadded base64url, or None for any other text."""
    if _BASE64URL.fullmatch(text) is None or len(text) % 4 == 1:
        return None
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return data if encode_base64url(data) == text else None


def encode_base64url(data: bytes) -> str:
    """Return unpadded base64url."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def verify_ed25519(key: Ed25519PublicKey, signature: str, payload: bytes) -> bool:
    """Tell whether `signature` (unpadded base64url of 64 bytes) is the key's signature over exactly these bytes."""
    raw = decode_base64url(signature)
    if raw is None or len(raw) != 64:
        return False
    try:
        key.verify(raw, payload)
    except InvalidSignature:
        return False
    return True


def operator_payload(code: str, environment: str | None, timestamp: str, method: str, path: str, body: bytes) -> bytes:
    """Return the bytes that an operator signs. Without `environment`: the older form with five parts."""
    digest = hashlib.sha256(body).hexdigest()
    parts = [code, timestamp, method, path, digest]
    if environment is not None:
        parts.insert(1, environment)
    return "\n".join(parts).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedToken:
    """The parts of a JWT. Its signature is not checked yet."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: str


def parse_token(token: str) -> ParsedToken | None:
    """Return the parts of a compact JWT, or None if the text is not one."""
    pieces = token.split(".")
    if len(pieces) != 3:
        return None
    header, claims = _json_object(pieces[0]), _json_object(pieces[1])
    if header is None or claims is None:
        return None
    return ParsedToken(
        header=header, claims=claims, signed=f"{pieces[0]}.{pieces[1]}".encode("ascii"), signature=pieces[2]
    )


def verify_hs256(parts: ParsedToken, key: str) -> bool:
    """Tell whether a token names HS256 and this key signed it (Assumption: the vendor names no algorithm)."""
    expected = encode_base64url(hmac.digest(key.encode(), parts.signed, "sha256"))
    return parts.header.get("alg") == "HS256" and constant_time_equal(parts.signature, expected)


def verify_eddsa(parts: ParsedToken, key: Ed25519PublicKey) -> bool:
    """Tell whether a token names EdDSA and this key signed it."""
    return parts.header.get("alg") == "EdDSA" and verify_ed25519(key, parts.signature, parts.signed)


def load_private_key(pem: str) -> Ed25519PrivateKey:
    """Return the Ed25519 key of a PKCS#8 PEM. Raise ValueError for anything else; its text holds no part of the PEM."""
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("not a private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("not an Ed25519 key")
    return key


def load_public_key(pem: str) -> Ed25519PublicKey:
    """Return the Ed25519 key of an SPKI PEM. Raise ValueError for anything else."""
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("not a public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("not an Ed25519 key")
    return key


def public_pem(key: Ed25519PrivateKey) -> str:
    """Return the public half as SPKI PEM."""
    encoded = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded.decode()


def _json_object(piece: str) -> dict[str, Any] | None:
    raw = decode_base64url(piece)
    return None if raw is None else json_object(raw)
