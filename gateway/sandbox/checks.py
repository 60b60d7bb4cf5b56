"""Signatures and tokens as Phoenix checks them, written here from the vendor's text alone.

Pure: bytes in, truth out. Strict where the vendor is (exact bytes, unpadded base64url); who may do what is left to
`access` and `tokens`. Source: Getting Started (tenant HMAC, JWT), Security (Ed25519), Request Signing (Operator API).
"""

import base64
import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

TOLERANCE_S = 300
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_DECIMAL = re.compile(r"[0-9]{1,12}")


def tenant_signature(secret: str, method: str, path: str, timestamp: str, body: bytes) -> str:
    """Return the X-Signature value of a Gamification request; `path` raw as sent, without query."""
    payload = f"{method}\n{path}\n{timestamp}\n".encode() + body
    return "hmac-sha256=" + hmac.digest(secret.encode(), payload, "sha256").hex()


def socket_signature(secret: str, path: str, timestamp: str) -> str:
    """Return the `signature` parameter of a leaderboard WebSocket: three parts, no body, no newline at the end."""
    return "hmac-sha256=" + hmac.digest(secret.encode(), f"WS\n{path}\n{timestamp}".encode(), "sha256").hex()


def same_text(presented: str, expected: str) -> bool:
    """Compare in constant time; any text may be presented, also one that is not ASCII."""
    return hmac.compare_digest(presented.encode("utf-8", "surrogateescape"), expected.encode())


def is_timely(timestamp: str, now_s: float, tolerance_s: float = TOLERANCE_S) -> bool:
    """Tell whether a decimal Unix time lies within the tolerance, both ends included (Assumption)."""
    return _DECIMAL.fullmatch(timestamp) is not None and abs(int(timestamp) - int(now_s)) <= tolerance_s


def decode_base64url(text: str) -> bytes | None:
    """Return the bytes of unpadded base64url in its one canonical spelling, None for anything else."""
    if _BASE64URL.fullmatch(text) is None or len(text) % 4 == 1:
        return None
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return data if encode_base64url(data) == text else None


def encode_base64url(data: bytes) -> str:
    """Return unpadded base64url."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def ed25519_holds(key: Ed25519PublicKey, signature: str, payload: bytes) -> bool:
    """Tell whether 86 characters of base64url are the key's signature over exactly these bytes."""
    raw = decode_base64url(signature)
    if raw is None or len(raw) != 64:
        return False
    try:
        key.verify(raw, payload)
    except InvalidSignature:
        return False
    return True


def operator_payload(code: str, environment: str | None, timestamp: str, method: str, path: str, body: bytes) -> bytes:
    """Return the bytes an operator signs; `environment` None gives the five-part form of the older generation."""
    digest = hashlib.sha256(body).hexdigest()
    parts = [code, timestamp, method, path, digest]
    if environment is not None:
        parts.insert(1, environment)
    return "\n".join(parts).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenParts:
    """A JWT taken apart; nothing in it is proved yet."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: str


def take_apart(token: str) -> TokenParts | None:
    """Return the parts of a compact JWT, None when it is none."""
    pieces = token.split(".")
    if len(pieces) != 3:
        return None
    header, claims = _json_object(pieces[0]), _json_object(pieces[1])
    if header is None or claims is None:
        return None
    return TokenParts(
        header=header, claims=claims, signed=f"{pieces[0]}.{pieces[1]}".encode("ascii"), signature=pieces[2]
    )


def hs256_holds(parts: TokenParts, key: str) -> bool:
    """Tell whether a token says HS256 and is signed with this key (Assumption: the vendor names no algorithm)."""
    expected = encode_base64url(hmac.digest(key.encode(), parts.signed, "sha256"))
    return parts.header.get("alg") == "HS256" and same_text(parts.signature, expected)


def eddsa_holds(parts: TokenParts, key: Ed25519PublicKey) -> bool:
    """Tell whether a token says EdDSA and is signed with this key."""
    return parts.header.get("alg") == "EdDSA" and ed25519_holds(key, parts.signature, parts.signed)


def load_private_key(pem: str) -> Ed25519PrivateKey:
    """Return the Ed25519 key of a PKCS#8 PEM; raises ValueError, which quotes nothing of it, for anything else."""
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("not a private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("not an Ed25519 key")
    return key


def load_public_key(pem: str) -> Ed25519PublicKey:
    """Return the Ed25519 key of an SPKI PEM; raises ValueError for anything else."""
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
    if raw is None:
        return None
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
