"""Compact JWTs by PyJWT, signed with the keys of this gateway: EdDSA and HS256.

PyJWT writes and reads the tokens; the signatures are those of ed25519.py and hmac_sha256.py. PyJWT's own HS256 warns of
short secrets and refuses some by their look. Phoenix issues the secrets, so they are used as they are. tokens.py and
launch_token.py decide the claims. Source: gamification.md 1.5; prediction.md 2.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import orjson
from jwt.algorithms import Algorithm
from jwt.api_jws import PyJWS
from jwt.exceptions import InvalidTokenError

from gateway.core import hmac_sha256
from gateway.core.ed25519 import SigningKey, VerifyingKey


class TokenRefused(ValueError):
    """A token does not say what it should, or its signature does not verify."""


class _HS256(Algorithm):
    """Signs with the bytes of a secret, whatever their length and look."""

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


class _EdDSA(Algorithm):
    """Signs with a SigningKey and verifies with a VerifyingKey, by libsodium and with keys that were judged at load."""

    def prepare_key(self, key: Any) -> SigningKey | VerifyingKey:
        if not isinstance(key, SigningKey | VerifyingKey):
            raise TypeError("EdDSA tokens are signed with a SigningKey and verified with a VerifyingKey")
        return key

    def sign(self, msg: bytes, key: SigningKey) -> bytes:
        return key.sign(msg)

    def verify(self, msg: bytes, key: VerifyingKey, sig: bytes) -> bool:
        return key.verify(msg, sig)

    @staticmethod
    def to_jwk(key_obj: Any, as_dict: bool = False) -> NoReturn:
        raise NotImplementedError

    @staticmethod
    def from_jwk(jwk: Any) -> NoReturn:
        raise NotImplementedError


_JWS = PyJWS(algorithms=[])
_JWS.register_algorithm("HS256", _HS256())
_JWS.register_algorithm("EdDSA", _EdDSA())


def write_eddsa(claims: Mapping[str, Any], key: SigningKey, *, with_key_id: bool) -> str:
    """Return an EdDSA token of `claims`; its header holds `kid` only when asked for."""
    headers = {"kid": key.key_id} if with_key_id else None
    return _JWS.encode(orjson.dumps(claims), key, algorithm="EdDSA", headers=headers)  # type: ignore[arg-type]


def write_hs256(claims: Mapping[str, Any], secret: bytes) -> str:
    """Return an HS256 token of `claims`."""
    return _JWS.encode(orjson.dumps(claims), secret, algorithm="HS256")


def check_eddsa(token: str, key: VerifyingKey, claims: Mapping[str, Any]) -> None:
    """Check that `key` verifies the token and that it holds exactly these claims; its header may hold the key's id.

    Raises: TokenRefused; it does not quote the token.
    """
    header = _check(token, key, "EdDSA", claims)
    if header.pop("kid", key.key_id) != key.key_id or header != {"alg": "EdDSA", "typ": "JWT"}:
        raise TokenRefused("the header is not that of an EdDSA token of this key")


def check_hs256(token: str, secret: bytes, claims: Mapping[str, Any]) -> None:
    """Check that the token is signed with `secret` and holds exactly these claims. Raises: as `check_eddsa`."""
    if _check(token, secret, "HS256", claims) != {"alg": "HS256", "typ": "JWT"}:
        raise TokenRefused("the header is not that of an HS256 token")


def _check(token: str, key: Any, algorithm: str, claims: Mapping[str, Any]) -> dict[str, Any]:
    """Return the header."""
    try:
        read = _JWS.decode_complete(token, key, algorithms=[algorithm])
        written = orjson.loads(read["payload"])
    except (InvalidTokenError, orjson.JSONDecodeError, UnicodeEncodeError):
        raise TokenRefused("the token is malformed or its signature does not verify") from None
    if written != claims:
        raise TokenRefused("the token does not hold the claims that it should")
    header: dict[str, Any] = read["header"]
    return header
