"""Authentication at the Gamification hosts: tenant HMAC, API key, Bearer key, tenant JWT and admin JWT.

Source: Getting Started, chapter 1.3 to 1.5. Error codes: AUTH_001 wrong signature, key or token; AUTH_002 header
missing; AUTH_004 timestamp expired.

Assumptions: an unknown tenant gets the same answer as a wrong signature. A repeated header counts as missing. An API
key gives access to every tenant that has this key. `exp` has no leeway. `iat` may be up to 300 s in the future.
"""

from dataclasses import dataclass
from typing import Any

from gateway.sandbox.http_types import Call, Reply, error_reply
from gateway.sandbox.signatures import (
    ParsedToken,
    constant_time_equal,
    is_within_tolerance,
    parse_token,
    tenant_signature,
    verify_hs256,
)
from gateway.sandbox.state import SandboxState

TEXTS = {
    "AUTH_001": "invalid signature or credentials",
    "AUTH_002": "authentication header missing",
    "AUTH_004": "timestamp expired",
}


@dataclass(slots=True)
class Caller:
    """An authenticated caller. `credential` is api_key, bearer, tenant_jwt, admin_jwt or hmac."""

    tenants: tuple[str, ...]
    credential: str


class AuthenticationFailed(Exception):
    """Authentication failed. `code` is the vendor's error code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code

    def reply(self, route: str) -> Reply:
        """Return the 401."""
        return error_reply(401, TEXTS[self.code], self.code, route)


def authenticate_hmac(call: Call, state: SandboxState) -> str:
    """Return the tenant whose HMAC covers the raw body and the raw path. Raise AuthenticationFailed otherwise."""
    tenant_id = call.header("X-Tenant-Id")
    timestamp = call.header("X-Timestamp")
    signature = call.header("X-Signature")
    if tenant_id is None or timestamp is None or signature is None:
        raise AuthenticationFailed("AUTH_002")
    if not is_within_tolerance(timestamp, state.now()):
        raise AuthenticationFailed("AUTH_004")
    tenant = state.tenants.get(tenant_id)
    if tenant is None or not any(
        constant_time_equal(signature, tenant_signature(secret, call.method, call.path, timestamp, call.body))
        for secret in tenant.hmac_secrets
    ):
        raise AuthenticationFailed("AUTH_001")
    return tenant_id


def authenticate(call: Call, state: SandboxState) -> Caller:
    """Return the caller of the admin or query host. The first kind of credential that is present counts."""
    if "X-API-Key" in call.headers:
        return _authenticate_key(call.header("X-API-Key"), "api_key", state)
    if "Authorization" in call.headers:
        scheme, _, value = (call.header("Authorization") or "").partition(" ")
        if scheme.lower() != "bearer":
            raise AuthenticationFailed("AUTH_001")
        if value.count(".") == 2:
            return _authenticate_token(value, state)
        return _authenticate_key(value, "bearer", state)
    return Caller((authenticate_hmac(call, state),), "hmac")


def check_token(token: str, kind: str, state: SandboxState) -> tuple[str | None, dict[str, Any] | None, str | None]:
    """Check a tenant or admin JWT. Return (tenant, claims, error), each None if there is none.

    The tenant of an admin token is the one whose API key signed it.
    """
    parts = parse_token(token)
    if parts is None:
        return None, None, "malformed"
    claims = parts.claims
    if claims.get("sub_type") != kind:
        return None, claims, "wrong_sub_type"
    found = _signer(parts, kind, state)
    if found is None:
        return None, claims, "unknown_sub_id"
    tenant_id, keys = found
    if not any(verify_hs256(parts, key) for key in keys):
        return None, claims, "bad_signature"
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        return tenant_id, claims, "missing_sub"
    return tenant_id, claims, time_claims_error(claims, state.now())


def _signer(parts: ParsedToken, kind: str, state: SandboxState) -> tuple[str, list[str]] | None:
    subject = parts.claims.get("sub_id")
    for tenant in state.tenants.values():
        if kind == "tenant" and subject == tenant.tenant_id:
            return tenant.tenant_id, tenant.hmac_secrets
        if kind == "admin" and subject is not None and subject == tenant.admin_api_key_id:
            return tenant.tenant_id, tenant.api_keys
    return None


def time_claims_error(claims: dict[str, Any], now_s: float) -> str | None:
    """Return what is wrong with `exp` and `iat`, or None."""
    expires, issued = claims.get("exp"), claims.get("iat")
    if isinstance(expires, bool) or not isinstance(expires, int):
        return "missing_exp"
    if expires <= now_s:
        return "expired"
    if issued is not None and (isinstance(issued, bool) or not isinstance(issued, int) or issued > now_s + 300):
        return "bad_iat"
    return None


def _authenticate_token(token: str, state: SandboxState) -> Caller:
    for kind in ("tenant", "admin"):
        tenant_id, _, reason = check_token(token, kind, state)
        if tenant_id is not None and reason is None:
            return Caller((tenant_id,), f"{kind}_jwt")
    raise AuthenticationFailed("AUTH_001")


def _authenticate_key(key: str | None, credential: str, state: SandboxState) -> Caller:
    if key is None:
        raise AuthenticationFailed("AUTH_002")
    reached = tuple(
        each.tenant_id
        for each in state.tenants.values()
        if any(constant_time_equal(key, known) for known in each.api_keys)
    )
    if not reached:
        raise AuthenticationFailed("AUTH_001")
    return Caller(reached, credential)
