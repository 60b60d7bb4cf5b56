"""Who may call the Gamification hosts: tenant HMAC, API key, Bearer key, tenant and admin JWT.

Source: Getting Started, chapter 1.3 to 1.5. Codes: AUTH_001 bad signature, key or token; AUTH_002 header missing;
AUTH_004 timestamp expired. Assumptions: an unknown tenant is answered like a bad signature; a repeated header like a
missing one; an API key reaches every tenant that was issued it; `exp` has no leeway, `iat` may lie 300 s ahead.
"""

from dataclasses import dataclass
from typing import Any

from gateway.sandbox.checks import TokenParts, hs256_holds, is_timely, same_text, take_apart, tenant_signature
from gateway.sandbox.wire import Call, Reply, refusal
from gateway.sandbox.world import World

TEXTS = {
    "AUTH_001": "invalid signature or credentials",
    "AUTH_002": "authentication header missing",
    "AUTH_004": "timestamp expired",
}


@dataclass(slots=True)
class Caller:
    """Who calls, and which tenants that reaches; `by` is api_key, bearer, tenant_jwt, admin_jwt or hmac."""

    tenants: tuple[str, ...]
    by: str


class Refused(Exception):
    """Authentication failed; `code` is the vendor's."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code

    def reply(self, route: str) -> Reply:
        """Return the 401."""
        return refusal(401, TEXTS[self.code], self.code, route)


def check_hmac(call: Call, world: World) -> str:
    """Return the tenant that signed this call over its raw bytes and raw path; raises Refused."""
    tenant_id = call.header("X-Tenant-Id")
    timestamp = call.header("X-Timestamp")
    signature = call.header("X-Signature")
    if tenant_id is None or timestamp is None or signature is None:
        raise Refused("AUTH_002")
    if not is_timely(timestamp, world.now()):
        raise Refused("AUTH_004")
    tenant = world.tenants.get(tenant_id)
    if tenant is None or not any(
        same_text(signature, tenant_signature(secret, call.method, call.path, timestamp, call.body))
        for secret in tenant.hmac_secrets
    ):
        raise Refused("AUTH_001")
    return tenant_id


def check_caller(call: Call, world: World) -> Caller:
    """Return who calls the admin or query host, by the first kind of credential present; raises Refused."""
    if "X-API-Key" in call.headers:
        return _by_key(call.header("X-API-Key"), "api_key", world)
    if "Authorization" in call.headers:
        scheme, _, credential = (call.header("Authorization") or "").partition(" ")
        if scheme.lower() != "bearer":
            raise Refused("AUTH_001")
        if credential.count(".") == 2:
            return _by_token(credential, world)
        return _by_key(credential, "bearer", world)
    return Caller((check_hmac(call, world),), "hmac")


def check_token(token: str, kind: str, world: World) -> tuple[str | None, dict[str, Any] | None, str | None]:
    """Check a tenant or admin JWT; return (tenant or None, claims or None, reason it does not hold or None).

    The tenant of an admin token is the one whose API key signed it.
    """
    parts = take_apart(token)
    if parts is None:
        return None, None, "malformed"
    claims = parts.claims
    if claims.get("sub_type") != kind:
        return None, claims, "wrong_sub_type"
    found = _signer(parts, kind, world)
    if found is None:
        return None, claims, "unknown_sub_id"
    tenant_id, keys = found
    if not any(hs256_holds(parts, key) for key in keys):
        return None, claims, "bad_signature"
    return tenant_id, claims, _fault_in_times(claims, world.now())


def _signer(parts: TokenParts, kind: str, world: World) -> tuple[str, list[str]] | None:
    subject = parts.claims.get("sub_id")
    for tenant in world.tenants.values():
        if kind == "tenant" and subject == tenant.tenant_id:
            return tenant.tenant_id, tenant.hmac_secrets
        if kind == "admin" and subject is not None and subject == tenant.admin_api_key_id:
            return tenant.tenant_id, tenant.api_keys
    return None


def _fault_in_times(claims: dict[str, Any], now_s: float) -> str | None:
    subject, expires, issued = claims.get("sub"), claims.get("exp"), claims.get("iat")
    if not isinstance(subject, str) or not subject:
        return "missing_sub"
    if isinstance(expires, bool) or not isinstance(expires, int):
        return "missing_exp"
    if expires <= now_s:
        return "expired"
    if issued is not None and (isinstance(issued, bool) or not isinstance(issued, int) or issued > now_s + 300):
        return "bad_iat"
    return None


def _by_token(token: str, world: World) -> Caller:
    for kind in ("tenant", "admin"):
        tenant_id, _, reason = check_token(token, kind, world)
        if tenant_id is not None and reason is None:
            return Caller((tenant_id,), f"{kind}_jwt")
    raise Refused("AUTH_001")


def _by_key(key: str | None, by: str, world: World) -> Caller:
    if key is None:
        raise Refused("AUTH_002")
    reached = tuple(
        each.tenant_id for each in world.tenants.values() if any(same_text(key, known) for known in each.api_keys)
    )
    if not reached:
        raise Refused("AUTH_001")
    return Caller(reached, by)
