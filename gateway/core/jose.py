"""Write and check compact JWTs (RFC 7515), signed with the keys of this gateway: EdDSA and HS256.

The signatures are those of ed25519.py and hmac_sha256.py. Only tokens of our own are read, so the check is strict: one
header, one spelling of each part. A general JWT library takes 30 % of the CPU time of a token for what this leaves out
(docs/adr/0035); the tests read each token with one. Phoenix issues the secrets: any length and look is accepted.
tokens.py and launch_token.py decide the claims. Source: gamification.md 1.5; prediction.md 2.1.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from gateway.core import hmac_sha256
from gateway.core.ed25519 import SigningKey, VerifyingKey

_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")


class TokenRefused(ValueError):
    """A token does not say what it should, or its signature does not verify."""


def _encoded(raw: bytes) -> bytes:
    return binascii.b2a_base64(raw, newline=False).translate(_TO_URL, b"=")


def _header(algorithm: str, **members: str) -> bytes:
    return _encoded(orjson.dumps({"alg": algorithm, **members, "typ": "JWT"}))


_EDDSA = _header("EdDSA")
_HS256 = _header("HS256")


def write_eddsa(claims: Mapping[str, Any], key: SigningKey, *, with_key_id: bool) -> str:
    """Return an EdDSA token of `claims`; its header holds `kid` only when asked for."""
    return _written(_header("EdDSA", kid=key.key_id) if with_key_id else _EDDSA, claims, key.sign)


def unsigned_eddsa(claims: Mapping[str, Any]) -> bytes:
    """Return what the signature of an EdDSA token of `claims` covers, for a key that is not in this process."""
    return _EDDSA + b"." + _encoded(orjson.dumps(claims))


def join_eddsa(unsigned: bytes, signature: bytes) -> str:
    """Return the token of a part made by `unsigned_eddsa` and its signature."""
    return (unsigned + b"." + _encoded(signature)).decode("ascii")


def write_hs256(claims: Mapping[str, Any], secret: bytes) -> str:
    """Return an HS256 token of `claims`. Raises: TypeError for an empty secret."""
    if not secret:
        raise TypeError("HS256 tokens are signed with the bytes of a secret")
    return _written(_HS256, claims, lambda signed: hmac_sha256.sign_raw(secret, signed))


def check_eddsa(token: str, key: VerifyingKey, claims: Mapping[str, Any]) -> None:
    """Check that `key` verifies the token and that it holds exactly these claims; its header may hold the key's id.

    Raises: TokenRefused; it does not quote the token.
    """
    header = _checked(token, key.verify, claims)
    if header != _EDDSA and header != _header("EdDSA", kid=key.key_id):
        raise TokenRefused("the header is not that of an EdDSA token of this key")


def check_hs256(token: str, secret: bytes, claims: Mapping[str, Any]) -> None:
    """Check that the token is signed with `secret` and holds exactly these claims. Raises: as `check_eddsa`."""
    if _checked(token, lambda signed, signature: hmac_sha256.verify(secret, signed, signature), claims) != _HS256:
        raise TokenRefused("the header is not that of an HS256 token")


def _written(header: bytes, claims: Mapping[str, Any], sign: Callable[[bytes], bytes]) -> str:
    signed = header + b"." + _encoded(orjson.dumps(claims))
    return (signed + b"." + _encoded(sign(signed))).decode("ascii")


def _checked(token: str, verify: Callable[[bytes, bytes], bool], claims: Mapping[str, Any]) -> bytes:
    """Return the header as it is written, of a token that `verify` accepts and that holds exactly these claims."""
    try:
        signed, _, signature = token.encode("ascii").rpartition(b".")
        header, _, payload = signed.partition(b".")
        if not verify(signed, _decoded(signature)):
            raise TokenRefused("the signature does not verify")
        held = orjson.loads(_decoded(payload))
    except (UnicodeEncodeError, binascii.Error, orjson.JSONDecodeError):
        raise TokenRefused("the token is malformed") from None
    if held != claims:
        raise TokenRefused("the token does not hold the claims that it should")
    return header


def _decoded(part: bytes) -> bytes:
    """Return the bytes of a part in its one spelling. Raises: TokenRefused, binascii.Error."""
    raw = binascii.a2b_base64(part.translate(_FROM_URL) + b"=" * (-len(part) % 4))
    if _encoded(raw) != part:
        raise TokenRefused("a part of the token is not canonical base64url")
    return raw
