"""How a request proves to Phoenix who sends it: one function per mode, called again for every try.

The settings `ADMIN_AUTH` and `QUERY_AUTH` choose a mode. Ingestion accepts only the tenant's HMAC signature, the
Operator API only the operator's. `socket.py` opens live sockets. Source: gamification.md 1.3 to 1.5; prediction.md 3.1.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from gateway.core.canonical import operator_request, operator_request_five
from gateway.core.ed25519 import SigningKey
from gateway.core.encoding import b64url_encode
from gateway.core.tokens import admin_claims, sign_hs256, tenant_claims
from gateway.core.types import Environment, OperatorCode, TenantId, UnixSeconds
from gateway.errors import KeyUnknown
from gateway.phoenix.auth.modes import OperatorSignature, UpstreamAuth
from gateway.phoenix.auth.signer import Signer
from gateway.resilience.clock import Clock

Headers = Mapping[str, str]
Authorize = Callable[[str, str, bytes], Headers]
"""Takes method, path as sent (percent-encoded, without query) and body; returns the headers that authenticate them.

Called again for every try, so that a timestamp is never an old one. Raises: KeyUnknown where the key is missing.
"""

AuthorizeAnywhere = Callable[[str, str, bytes], Headers | Awaitable[Headers]]
"""As Authorize; where the key is in a store, the headers are awaited. Raises: SigningKeyUnavailable too."""

OWN_SUBJECT = "phoenix-gateway"
"""`sub` of the tokens that the gateway makes for its own requests."""
TOKEN_S = 300
"""Lifetime of a token that is made for one request: short, and longer than any clock skew that Phoenix tolerates."""


def tenant_hmac(signer: Signer, tenant_id: TenantId, clock: Clock) -> Authorize:
    """Return the mode `hmac`: tenant id, timestamp and a signature over method, path, timestamp and body."""

    def authorize(method: str, path: str, body: bytes) -> Mapping[str, str]:
        now = _now(clock)
        return {
            "x-tenant-id": tenant_id,
            "x-timestamp": str(now),
            "x-signature": signer.sign_request(tenant_id, method, path, now, body),
        }

    return authorize


def api_key(signer: Signer, tenant_id: TenantId) -> Authorize:
    """Return the mode `api_key`."""
    return lambda method, path, body: {"x-api-key": signer.api_key(tenant_id)}


def bearer(signer: Signer, tenant_id: TenantId) -> Authorize:
    """Return the mode `bearer`: the API key itself as a bearer value."""
    return lambda method, path, body: {"authorization": f"Bearer {signer.api_key(tenant_id)}"}


def tenant_jwt(signer: Signer, tenant_id: TenantId, clock: Clock) -> Authorize:
    """Return the mode `jwt` of the query host: a tenant token that the gateway makes."""

    def authorize(method: str, path: str, body: bytes) -> Mapping[str, str]:
        secret = signer.tenant(tenant_id).hmac
        if secret is None:
            raise KeyUnknown("This tenant has no HMAC secret. Set INGESTION_HMAC_SECRET.")
        claims = tenant_claims(OWN_SUBJECT, tenant_id, _now(clock), TOKEN_S, signer.token_backdate_s)
        return {"authorization": f"Bearer {sign_hs256(claims, secret.reveal())}"}

    return authorize


def admin_jwt(signer: Signer, tenant_id: TenantId, clock: Clock) -> Authorize:
    """Return the mode `jwt` of the admin host: an admin token that the gateway makes."""

    def authorize(method: str, path: str, body: bytes) -> Mapping[str, str]:
        keys = signer.tenant(tenant_id)
        if keys.api_key is None or not keys.api_key_id:
            raise KeyUnknown("This tenant has no admin API key with its id. Set ADMIN_API_KEY and ADMIN_API_KEY_ID.")
        claims = admin_claims(OWN_SUBJECT, keys.api_key_id, _now(clock), TOKEN_S, signer.token_backdate_s)
        return {"authorization": f"Bearer {sign_hs256(claims, keys.api_key.reveal())}"}

    return authorize


async def awaited(headers: Headers | Awaitable[Headers]) -> Headers:
    """Return the headers, when a store has signed them if need be."""
    return await headers if isinstance(headers, Awaitable) else headers


def query_host(mode: UpstreamAuth, signer: Signer, tenant_id: TenantId, clock: Clock) -> Authorize:
    """Return how the tenant authenticates at the query host."""
    return _chosen(mode, signer, tenant_id, clock, tenant_jwt)


def admin_host(mode: UpstreamAuth, signer: Signer, tenant_id: TenantId, clock: Clock) -> Authorize:
    """Return how the tenant authenticates at the admin host."""
    return _chosen(mode, signer, tenant_id, clock, admin_jwt)


def operator_signature(
    signer: Signer, operator_code: OperatorCode, environment: Environment, clock: Clock, form: OperatorSignature
) -> AuthorizeAnywhere:
    """Return the Operator API's signature. Source: prediction.md 3.1."""

    def authorize(method: str, path: str, body: bytes) -> Headers | Awaitable[Headers]:
        key = signer.operator(operator_code, environment).signing_key
        if key is None:
            raise KeyUnknown("This operator environment has no launch key. Set PREDICTION_LAUNCH_KEY.")
        now = _now(clock)
        if form is OperatorSignature.FIVE:
            signed = operator_request_five(operator_code=operator_code, at=now, method=method, path=path, body=body)
        else:
            signed = operator_request(
                operator_code=operator_code, environment=environment, at=now, method=method, path=path, body=body
            )
        if isinstance(key, SigningKey):
            return headers(now, key.sign(signed))
        return later(now, key.sign_one(signed))

    def headers(now: UnixSeconds, signature: bytes) -> Headers:
        return {
            "content-type": "application/json",  # Phoenix's sample sends it without a body too
            "x-operator-code": operator_code,
            "x-operator-environment": environment.value,
            "x-signature-timestamp": str(now),
            "x-signature": b64url_encode(signature),
        }

    async def later(now: UnixSeconds, signature: Awaitable[bytes]) -> Headers:
        return headers(now, await signature)

    return authorize


def _chosen(
    mode: UpstreamAuth,
    signer: Signer,
    tenant_id: TenantId,
    clock: Clock,
    jwt: Callable[[Signer, TenantId, Clock], Authorize],
) -> Authorize:
    match mode:
        case UpstreamAuth.API_KEY:
            return api_key(signer, tenant_id)
        case UpstreamAuth.BEARER:
            return bearer(signer, tenant_id)
        case UpstreamAuth.HMAC:
            return tenant_hmac(signer, tenant_id, clock)
        case UpstreamAuth.JWT:
            return jwt(signer, tenant_id, clock)


def _now(clock: Clock) -> UnixSeconds:
    return UnixSeconds(int(clock.now()))
