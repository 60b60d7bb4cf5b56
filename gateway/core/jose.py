"""Compact JWTs as this gateway needs them: EdDSA and HS256 over keys that stay where they are.

The signatures are ed25519.py's and hmac_sha256.py's. PyJWT writes HS256 tokens; its own HS256 warns of short secrets
and refuses some by their look, but Phoenix hands secrets out and they are used as they are. EdDSA tokens are put
together here: PyJWT takes half as long for a token's three segments as signing it takes. Leaves claims to tokens.py and
launch_token.py. Source: gamification.md 1.5; prediction.md 2.1.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Any, NoReturn

import orjson
from jwt.algorithms import Algorithm
from jwt.api_jws import PyJWS

from gateway.core import hmac_sha256
from gateway.core.ed25519 import SigningKey


class MalformedToken(ValueError):
    """The text is no compact JWT of three base64url parts with JSON objects in the first two."""


class _HS256(Algorithm):
    """Signs with the bytes of a secret, of whatever length and look."""

    def prepare_key(self, key: Any) -> bytes:
        if not isinstance(key, bytes) or not key:
            raise TypeError("HS256 tokens are signed with the bytes of a secret")
        return key

    def sign(self, msg: bytes, key: bytes) -> bytes:
        return hmac_sha256.sign_raw(key, msg)

    def verify(self, msg: bytes, key: bytes, sig: bytes) -> bool:
        return hmac_sha256.verify(key, msg, sig)

    @staticmethod
    def to_jwk(key_obj: Any, as_dict: bool = False) -> NoReturn:
        raise NotImplementedError

    @staticmethod
    def from_jwk(jwk: Any) -> NoReturn:
        raise NotImplementedError


def _writer(name: str, algorithm: Algorithm) -> PyJWS:
    writer = PyJWS(algorithms=[])
    writer.register_algorithm(name, algorithm)
    return writer


_HS256_WRITER = _writer("HS256", _HS256())


def write_eddsa(claims: Mapping[str, Any], key: SigningKey, *, with_key_id: bool) -> str:
    """Return an EdDSA token of `claims`; `kid` is in its header only when asked for."""
    header = _encode(orjson.dumps({**_EDDSA_HEADER, "kid": key.key_id})) if with_key_id else _EDDSA_SEGMENT
    signed = header + b"." + _encode(orjson.dumps(claims))
    return (signed + b"." + _encode(key.sign(signed))).decode("ascii")


def write_hs256(claims: Mapping[str, Any], secret: bytes) -> str:
    """Return an HS256 token of `claims`."""
    return _HS256_WRITER.encode(orjson.dumps(claims), secret, algorithm="HS256")


def take_apart(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    """Return header, claims, signed bytes and signature, none of them verified.

    Raises: MalformedToken; it does not quote the token.
    """
    try:
        signed, _, signature = token.encode("ascii").rpartition(b".")
        header, _, claims = signed.partition(b".")
        read = orjson.loads(_decode(header)), orjson.loads(_decode(claims))
        if not (isinstance(read[0], dict) and isinstance(read[1], dict)):
            raise MalformedToken("no compact JWT")
        return read[0], read[1], signed, _decode(signature)
    except (UnicodeEncodeError, binascii.Error, orjson.JSONDecodeError):
        raise MalformedToken("no compact JWT") from None


def _encode(raw: bytes) -> bytes:
    return binascii.b2a_base64(raw, newline=False).rstrip(b"=").translate(_URL_SAFE)


_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_STANDARD = bytes.maketrans(b"-_+/", b"+/!!")  # the letters of the other alphabet have no place here
_EDDSA_HEADER = {"alg": "EdDSA", "typ": "JWT"}
_EDDSA_SEGMENT = _encode(orjson.dumps(_EDDSA_HEADER))


def _decode(part: bytes) -> bytes:
    return binascii.a2b_base64(part.translate(_STANDARD) + b"=" * (-len(part) % 4), strict_mode=True)
