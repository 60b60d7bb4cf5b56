"""PyJWT's two algorithms as this gateway needs them: EdDSA and HS256 over keys that stay where they are.

PyJWT writes header and segments; the signatures are ed25519.py's and hmac_sha256.py's. Its own HS256
warns of short secrets and refuses some by their look, but Phoenix hands secrets out and they are used
as they are. Leaves claims to tokens.py and launch_token.py. Source: gamification.md 1.5; prediction.md 2.1.
"""

from __future__ import annotations

import base64
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


class _EdDSA(Algorithm):
    """Signs with a SigningKey; verifying is done by whoever holds the VerifyingKey."""

    def prepare_key(self, key: Any) -> SigningKey:
        if not isinstance(key, SigningKey):
            raise TypeError("EdDSA tokens are signed with a SigningKey")
        return key

    def sign(self, msg: bytes, key: SigningKey) -> bytes:
        return key.sign(msg)

    def verify(self, msg: bytes, key: SigningKey, sig: bytes) -> bool:
        return key.public.verify(msg, sig)

    @staticmethod
    def to_jwk(key_obj: Any, as_dict: bool = False) -> NoReturn:
        raise NotImplementedError

    @staticmethod
    def from_jwk(jwk: Any) -> NoReturn:
        raise NotImplementedError


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


_EDDSA = _writer("EdDSA", _EdDSA())
_HS256_WRITER = _writer("HS256", _HS256())


def write_eddsa(claims: Mapping[str, Any], key: SigningKey, *, with_key_id: bool) -> str:
    """Return an EdDSA token of `claims`; `kid` is in its header only when asked for."""
    headers = {"kid": key.key_id} if with_key_id else None
    # PyJWT's annotation knows only the key classes of its own algorithms.
    return _EDDSA.encode(orjson.dumps(claims), key, algorithm="EdDSA", headers=headers)  # type: ignore[arg-type]


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


def _decode(part: bytes) -> bytes:
    return base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
