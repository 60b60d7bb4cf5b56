"""Which version of which of our keys a call uses, for the audit log.

The service of the call, and how its host authenticates, decide. Actions that mint launch tokens or verify webhooks
record their key themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.actions.shared.call import Call
from gateway.config import Config, TenantConfig
from gateway.core.types import Environment, TenantId
from gateway.keys.descriptions import KeyKind
from gateway.keys.own.keyring import Keyring
from gateway.phoenix.auth.modes import UpstreamAuth

_TOKENS: Mapping[str, KeyKind] = {
    "MintTenantJWT": KeyKind.TENANT_HMAC,
    "MintAdminJWT": KeyKind.ADMIN_API_KEY,
    "SignLeaderboardSocket": KeyKind.TENANT_HMAC,
}


class KeysUsed:
    """Asked when the tenant or operator of a call is known."""

    def __init__(self, config: Config, keyring: Keyring) -> None:
        self._keyring = keyring
        self._by_service: dict[tuple[TenantId, str], KeyKind] = {}
        for tenant in config.tenants:
            for service, kind in _kinds(tenant).items():
                self._by_service[tenant.keys.tenant_id, service] = kind

    def of(self, call: Call) -> str:
        """Return the version as `ListKeys` names it; "" if the call uses none of our keys, or its key is unknown."""
        record = call.record
        service, _, method = call.method.rpartition(".")[2].partition("/")
        if record.tenant is not None:
            # PhoenixService uses the key of the surface that it calls.
            place = record.surface or "" if service == "PhoenixService" else service
            kind = _TOKENS.get(method) or self._by_service.get((TenantId(record.tenant), place))
            return "" if kind is None else self._keyring.in_use(kind, record.tenant)
        if record.operator is not None and service in ("OperatorService", "PhoenixService"):
            environment = Environment(record.environment or "sandbox")
            return self._keyring.in_use(KeyKind.OPERATOR, record.operator, environment)
        return ""


def _kinds(tenant: TenantConfig) -> dict[str, KeyKind]:
    query, admin = (
        _kind(tenant.query_auth, jwt=KeyKind.TENANT_HMAC),
        _kind(tenant.admin_auth, jwt=KeyKind.ADMIN_API_KEY),
    )
    return {
        "EventService": KeyKind.TENANT_HMAC,
        "LeaderboardService": query,
        "LeaderboardAdminService": admin,
        "ingestion": KeyKind.TENANT_HMAC,
        "query": query,
        "admin": admin,
    }


def _kind(auth: UpstreamAuth, *, jwt: KeyKind) -> KeyKind:
    if auth is UpstreamAuth.HMAC:
        return KeyKind.TENANT_HMAC
    return jwt if auth is UpstreamAuth.JWT else KeyKind.ADMIN_API_KEY
