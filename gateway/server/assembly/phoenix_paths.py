"""What PhoenixService sends through: the hosts of each tenant and operator, by every way to authenticate.

Made from the configuration alone, so that a caller can reach configured hosts only.
"""

from __future__ import annotations

from gateway.actions.admin.call_phoenix import CallAuth, CallPhoenix, CallSurface, OperatorSurface, TenantSurfaces
from gateway.actions.shared.directory import OnTarget, OperatorDirectory, TenantDirectory
from gateway.config import Config, OperatorConfig, TenantConfig
from gateway.keys.own.keyring import Keyring
from gateway.phoenix.answers import Surface
from gateway.phoenix.any_path import PathClient
from gateway.phoenix.auth import authorize
from gateway.phoenix.auth.authorize import Authorize
from gateway.phoenix.retry import RetryingSender
from gateway.resilience.clock import Clock


def call_phoenix(
    config: Config, retrying: RetryingSender, keyring: Keyring, clock: Clock, on_target: OnTarget
) -> CallPhoenix:
    """Return the action behind PhoenixService, for every tenant and operator."""
    tenants = {one.keys.tenant_id: tenant_surfaces(one, retrying, keyring, clock) for one in config.tenants}
    operators = {
        (one.keys.operator_code, one.keys.environment): operator_surface(one, retrying, keyring, clock)
        for one in config.operators
    }
    return CallPhoenix(TenantDirectory(tenants, on_target), OperatorDirectory(operators, on_target))


def tenant_surfaces(config: TenantConfig, retrying: RetryingSender, keyring: Keyring, clock: Clock) -> TenantSurfaces:
    """Return a tenant's hosts."""
    tenant_id = config.keys.tenant_id
    hmac = authorize.tenant_hmac(keyring, tenant_id, clock)
    by_name: dict[CallAuth, Authorize] = {
        CallAuth.API_KEY: authorize.api_key(keyring, tenant_id),
        CallAuth.TENANT_HMAC: hmac,
        CallAuth.TENANT_JWT: authorize.tenant_jwt(keyring, tenant_id, clock),
        CallAuth.ADMIN_JWT: authorize.admin_jwt(keyring, tenant_id, clock),
    }
    query = authorize.query_host(config.query_auth, keyring, tenant_id, clock)
    admin = authorize.admin_host(config.admin_auth, keyring, tenant_id, clock)
    hosts = (
        (CallSurface.INGESTION, Surface.INGESTION, config.ingestion_base_url, hmac),
        (CallSurface.QUERY, Surface.QUERY, config.query_base_url, query),
        (CallSurface.ADMIN, Surface.ADMIN, config.admin_base_url, admin),
    )
    return TenantSurfaces(
        tenant_id=tenant_id,
        clients={
            (host, auth): PathClient(retrying=retrying, base_url=base_url, surface=surface, authorize=way)
            for host, surface, base_url, default in hosts
            for auth, way in {CallAuth.DEFAULT: default, **by_name}.items()
        },
    )


def operator_surface(
    config: OperatorConfig, retrying: RetryingSender, keyring: Keyring, clock: Clock
) -> OperatorSurface:
    """Return an operator environment's Operator API."""
    code, environment = config.keys.operator_code, config.keys.environment
    signed = authorize.operator_signature(keyring, code, environment, clock, config.signature)
    return OperatorSurface(
        operator_code=code,
        environment=environment,
        client=PathClient(retrying=retrying, base_url=config.base_url, surface=Surface.PREDICTION, authorize=signed),
    )
