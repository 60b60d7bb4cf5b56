"""Gamification tokens: a tenant's token for one user, and an administrator's token. Both use HS256.

gateway/keys owns the secrets; the actions decide who may mint. Phoenix does not name the algorithm; HS256 fits a shared
secret. Source: gamification.md 1.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.core import jose
from gateway.core.types import TenantId, UnixSeconds, is_plain_text
from gateway.errors import FieldFault, InternalFault, InvalidField

MAX_TENANT_TTL_S = 86400
MAX_ADMIN_TTL_S = 3600
TOKEN_BACKDATE_S = 5
"""Default for how far back `iat` of every token is, so that a verifier whose clock is behind accepts it."""
_MAX_SUBJECT_CHARACTERS = 256


def tenant_claims(
    user_id: str, tenant_id: TenantId, now: UnixSeconds, ttl_s: int, backdate_s: int = 0
) -> dict[str, Any]:
    """Return the claims of a token that lets `user_id` call Phoenix as a user of the tenant.

    Args: `ttl_s` 1 to 86,400 seconds, from `now`; `backdate_s`: seconds from `iat` to `now`.
    Raises: InvalidField naming `user_id` or `ttl`.
    """
    _check("user_id", user_id, ttl_s, MAX_TENANT_TTL_S)
    return {"sub": user_id, "sub_type": "tenant", "sub_id": tenant_id, "iat": now - backdate_s, "exp": now + ttl_s}


def admin_claims(subject: str, api_key_id: str, now: UnixSeconds, ttl_s: int, backdate_s: int = 0) -> dict[str, Any]:
    """Return the claims of an administrator's token; `api_key_id` is the API key's UUID.

    Args: `ttl_s` 1 to 3,600 seconds, from `now`; `backdate_s`: seconds from `iat` to `now`.
    Raises: InvalidField naming `subject` or `ttl`.
    """
    _check("subject", subject, ttl_s, MAX_ADMIN_TTL_S)
    return {"sub": subject, "sub_type": "admin", "sub_id": api_key_id, "iat": now - backdate_s, "exp": now + ttl_s}


def sign_hs256(claims: Mapping[str, Any], secret: bytes) -> str:
    """Return the signed token. `secret`: the tenant's HMAC secret, or the text of the API key for administrators."""
    return jose.write_hs256(claims, secret)


def check_hs256(token: str, secret: bytes, claims: Mapping[str, Any]) -> None:
    """Check a token of our own before it leaves: its algorithm, its signature, exactly these claims.

    Raises: InternalFault.
    """
    try:
        jose.check_hs256(token, secret, claims)
    except jose.TokenRefused:
        raise InternalFault from None


def _check(field: str, subject: str, ttl_s: int, max_ttl_s: int) -> None:
    faults = []
    if not is_plain_text(subject, _MAX_SUBJECT_CHARACTERS):
        faults.append(FieldFault(field=field, description="must be 1 to 256 characters, no control characters"))
    if not 1 <= ttl_s <= max_ttl_s:
        faults.append(FieldFault(field="ttl", description=f"must be 1 to {max_ttl_s} seconds"))
    if faults:
        raise InvalidField(faults)
