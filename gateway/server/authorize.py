"""How the gateway proves to Phoenix who it is: one function per mode, called anew for every try.

`ADMIN_AUTH` and `QUERY_AUTH` choose; ingestion takes the tenant's HMAC only, the Operator API the operator's signature.
Source: gamification.md 1.3 to 1.5; prediction.md 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import quote

from gateway.config import OperatorSignature, SocketAuth, UpstreamAuth
from gateway.core.canonical import operator_request, operator_request_five
from gateway.core.encoding import b64url_encode
from gateway.core.tokens import admin_claims, sign_hs256, tenant_claims
from gateway.core.types import Environment, OperatorCode, TenantId, UnixSeconds
from gateway.errors import KeyUnknown
from gateway.keys.own.keyring import Keyring
from gateway.phoenix.gamification.client import Authorize
from gateway.phoenix.gamification.realtime import AuthorizeSocket, Opening, bearer_path, tenant_path
from gateway.resilience.clock import Clock

OWN_SUBJECT = "phoenix-gateway"
"""`sub` of tokens that the gateway uses itself."""
TOKEN_S = 300
"""Lifetime of a token that is made for one request: short, yet longer than any allowed clock skew hurts."""


def tenant_hmac(keyring: Keyring, tenant_id: TenantId, clock: Clock) -> Authorize:
    """Return the mode `hmac`: tenant id, timestamp and signature over method, path, timestamp and body."""

    def authorize(method: str, path: str, body: bytes) -> Mapping[str, str]:
        now = _now(clock)
        return {
            "x-tenant-id": tenant_id,
            "x-timestamp": str(now),
            "x-signature": keyring.sign_request(tenant_id, method, path, now, body),
        }

    return authorize


def api_key(keyring: Keyring, tenant_id: TenantId) -> Authorize:
    """Return the mode `api_key`."""
    return lambda method, path, body: {"x-api-key": keyring.api_key(tenant_id)}


def bearer(keyring: Keyring, tenant_id: TenantId) -> Authorize:
    """Return the mode `bearer`: the API key itself as a bearer value."""
    return lambda method, path, body: {"authorization": f"Bearer {keyring.api_key(tenant_id)}"}


def tenant_jwt(keyring: Keyring, tenant_id: TenantId, clock: Clock) -> Authorize:
    """Return the mode `jwt` of the query gateway: a tenant token of our own."""

    def authorize(method: str, path: str, body: bytes) -> Mapping[str, str]:
        secret = keyring.tenant(tenant_id).hmac
        if secret is None:
            raise KeyUnknown("This tenant has no HMAC secret. Set INGESTION_HMAC_SECRET.")
        claims = tenant_claims(OWN_SUBJECT, tenant_id, _now(clock), TOKEN_S)
        return {"authorization": f"Bearer {sign_hs256(claims, secret.reveal())}"}

    return authorize


def admin_jwt(keyring: Keyring, tenant_id: TenantId, clock: Clock) -> Authorize:
    """Return the mode `jwt` of the admin gateway: an admin token of our own."""

    def authorize(method: str, path: str, body: bytes) -> Mapping[str, str]:
        keys = keyring.tenant(tenant_id)
        if keys.api_key is None or not keys.api_key_id:
            raise KeyUnknown("This tenant has no admin API key with its id. Set ADMIN_API_KEY and ADMIN_API_KEY_ID.")
        claims = admin_claims(OWN_SUBJECT, keys.api_key_id, _now(clock), TOKEN_S)
        return {"authorization": f"Bearer {sign_hs256(claims, keys.api_key.reveal())}"}

    return authorize


def operator_signature(
    keyring: Keyring, operator_code: OperatorCode, environment: Environment, clock: Clock, form: OperatorSignature
) -> Authorize:
    """Return the Operator API's signature, over six parts or the older generation's five. Source: prediction.md 3.1."""

    def authorize(method: str, path: str, body: bytes) -> Mapping[str, str]:
        key = keyring.operator(operator_code, environment).signing_key
        if key is None:
            raise KeyUnknown("This operator environment has no launch key. Set PREDICTION_LAUNCH_KEY.")
        now = _now(clock)
        if form is OperatorSignature.FIVE:
            signed = operator_request_five(operator_code=operator_code, at=now, method=method, path=path, body=body)
        else:
            signed = operator_request(
                operator_code=operator_code, environment=environment, at=now, method=method, path=path, body=body
            )
        return {
            "content-type": "application/json",  # the vendor's sample sets it without a body too
            "x-operator-code": operator_code,
            "x-operator-environment": environment.value,
            "x-signature-timestamp": str(now),
            "x-signature": b64url_encode(key.sign(signed)),
        }

    return authorize


def choose(
    mode: UpstreamAuth, keyring: Keyring, tenant_id: TenantId, clock: Clock, *, jwt: Callable[..., Authorize]
) -> Authorize:
    """Return the function of a mode; `jwt` makes the token of the surface in question."""
    match mode:
        case UpstreamAuth.API_KEY:
            return api_key(keyring, tenant_id)
        case UpstreamAuth.BEARER:
            return bearer(keyring, tenant_id)
        case UpstreamAuth.HMAC:
            return tenant_hmac(keyring, tenant_id, clock)
        case UpstreamAuth.JWT:
            return jwt(keyring, tenant_id, clock)


def socket(mode: SocketAuth, keyring: Keyring, tenant_id: TenantId, clock: Clock) -> AuthorizeSocket:
    """Return how a board's live socket is opened. Source: gamification.md 3.1."""
    if mode is SocketAuth.BEARER:
        authorize = tenant_jwt(keyring, tenant_id, clock)

        def bearer_opening(leaderboard_id: str) -> Opening:
            path = bearer_path(leaderboard_id)
            return Opening(path=path, headers=dict(authorize("GET", path, b"")))

        return bearer_opening

    def signed_opening(leaderboard_id: str) -> Opening:
        path, now = tenant_path(tenant_id, leaderboard_id), _now(clock)
        signature = keyring.sign_socket(tenant_id, path, now)
        return Opening(path=path, query=f"timestamp={now}&signature={quote(signature, safe='')}")

    return signed_opening


def _now(clock: Clock) -> UnixSeconds:
    return UnixSeconds(int(clock.now()))
