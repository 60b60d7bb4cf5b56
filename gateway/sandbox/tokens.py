"""Launch tokens as Phoenix checks them at connect.

Source: Launch Tokens, Integration Checklist. `sub` alone makes a player; `typ` and `aud` are not checked.
Assumptions: no leeway on `exp`; `iat` may lie 300 s ahead; unknown claims are ignored.
"""

from typing import Any

from gateway.sandbox.access import check_token
from gateway.sandbox.checks import eddsa_holds, take_apart
from gateway.sandbox.world import World

KINDS = ("launch", "tenant", "admin")


def verify(token: str, kind: str, world: World) -> dict[str, Any]:
    """Return {ok, reason, claims} for a token of one of KINDS; claims None where it cannot be read."""
    if kind == "launch":
        claims, reason = check_launch(token, world)
    else:
        _, claims, reason = check_token(token, kind, world)
    return {"ok": reason is None, "reason": reason, "claims": claims}


def check_launch(token: str, world: World) -> tuple[dict[str, Any] | None, str | None]:
    """Return (claims, reason Phoenix would refuse or None)."""
    parts = take_apart(token)
    if parts is None:
        return None, "malformed"
    claims = parts.claims
    code, environment = claims.get("iss"), claims.get("env")
    if environment == "production":
        return claims, "env_production"
    if environment not in ("sandbox", "prod"):
        return claims, "unknown_env"
    operator = world.operators.get((code, environment)) if isinstance(code, str) else None
    if operator is None:
        return claims, "unknown_operator"
    if not any(eddsa_holds(parts, key) for key in operator.public_keys):
        return claims, "bad_signature"
    return claims, _fault_in_claims(claims, operator.currencies, world.now())


def _fault_in_claims(claims: dict[str, Any], currencies: list[str], now_s: float) -> str | None:
    expires, issued = claims.get("exp"), claims.get("iat")
    if isinstance(expires, bool) or not isinstance(expires, int):
        return "missing_exp"
    if expires <= now_s:
        return "expired"
    if issued is not None and (isinstance(issued, bool) or not isinstance(issued, int) or issued > now_s + 300):
        return "bad_iat"
    for name in ("avatar", "cfg"):
        if name in claims and not isinstance(claims[name], dict):
            return f"bad_{name}"
    if "sub" not in claims:
        return None
    if not isinstance(claims["sub"], str) or not claims["sub"]:
        return "bad_sub"
    if "currency" not in claims:
        return "missing_currency"
    return None if claims["currency"] in currencies else "unsupported_currency"
