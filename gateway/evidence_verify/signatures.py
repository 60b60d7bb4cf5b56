"""Ed25519 with libsodium, and the fingerprints of public keys. Pure."""

from __future__ import annotations

import base64
import binascii
from hashlib import sha256

from nacl.bindings import crypto_sign_open, sodium_init
from nacl.exceptions import BadSignatureError

sodium_init()  # selects the fastest implementation for this processor

_SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")  # RFC 8410: the DER bytes before the 32 bytes of the key


def fingerprint(public_key: bytes) -> str:
    """Return the id of a key: the SHA-256 of its SPKI."""
    return sha256(_SPKI_PREFIX + public_key).hexdigest()


def verify_ed25519(public_key: bytes, message: bytes, signature_text: str) -> bool:
    """Tell whether the signature (86 characters of base64url) is this key's signature over exactly the message."""
    try:
        signature = base64.b64decode(signature_text + "==", altchars=b"-_", validate=True)
        if len(signature_text) != 86 or len(signature) != 64:
            return False
        if base64.urlsafe_b64encode(signature).rstrip(b"=").decode() != signature_text:
            return False
        crypto_sign_open(signature + message, public_key)
    except (binascii.Error, ValueError, BadSignatureError):
        return False
    return True


def public_key_of_pem(pem: bytes) -> bytes:
    """Return the 32 bytes of an Ed25519 public key in SPKI PEM. Raises: ValueError."""
    lines = [line.strip() for line in pem.split(b"\n") if line.strip()]
    if len(lines) < 3 or lines[0] != b"-----BEGIN PUBLIC KEY-----" or lines[-1] != b"-----END PUBLIC KEY-----":
        raise ValueError("not a PEM block PUBLIC KEY")
    der = base64.b64decode(b"".join(lines[1:-1]), validate=True)
    if len(der) != 44 or not der.startswith(_SPKI_PREFIX):
        raise ValueError("not an Ed25519 key")
    return der[12:]
