"""Checks of launch tokens, as Phoenix does them when a player connects.

Source: Launch Tokens, Integration Checklist. `sub` identifies the player. `typ` and `aud` are not checked.
Assumptions: `exp` has no leeway. `iat` may be up to 300 s in the future. Unknown claims are ignored.
"""

from typing import Any

from gateway.sandbox.authentication import check_token, time_claims_error
from gateway.sandbox.signatures import parse_token, verify_eddsa
from gateway.sandbox.state import SandboxState

KINDS = ("launch", "tenant", "admin")


def verify(token: str, kind: str, state: SandboxState) -> dict[str, Any]:
    """Return {ok, reason, claims} for a token of one of KINDS. `claims` is None if the token cannot be parsed."""
    if kind == "launch":
        claims, reason = check_launch(token, state)
    else:
        _, claims, reason = check_token(token, kind, state)
    return {"ok": reason is None, "reason": reason, "claims": claims}


def check_launch(token: str, state: SandboxState) -> tuple[dict[str, Any] | None, str | None]:
    """Return (claims, reason for a refusal), each None if there is none."""
    parts = parse_token(token)
    if parts is None:
        return None, "malformed"
    claims = parts.claims
    code, environment = claims.get("iss"), claims.get("env")
    if environment == "production":
        return claims, "env_production"
    if environment not in ("sandbox", "prod"):
        return claims, "unknown_env"
    operator = state.operators.get((code, environment)) if isinstance(code, str) else None
    if operator is None:
        return claims, "unknown_operator"
    if not any(verify_eddsa(parts, key) for key in operator.public_keys):
        return claims, "bad_signature"
    return claims, _claims_error(claims, operator.currencies, state.now())


def _claims_error(claims: dict[str, Any], currencies: list[str], now_s: float) -> str | None:
    error = time_claims_error(claims, now_s)
    if error is not None:
        return error
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
