"""The clients of each tenant, and the directory that finds a tenant for a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.actions.shared.contexts import TenantContext
from gateway.actions.shared.directory import OnTarget, TenantDirectory
from gateway.config import BulkEvents, Config, TenantConfig
from gateway.core.types import TenantId
from gateway.core.wire import BulkEnvelope
from gateway.keys.own.keyring import Keyring
from gateway.phoenix.answers import Surface
from gateway.phoenix.auth import authorize
from gateway.phoenix.auth.socket import authorize_socket
from gateway.phoenix.gamification.admin import AdminClient
from gateway.phoenix.gamification.events import EventsClient
from gateway.phoenix.gamification.leaderboards import LeaderboardsClient
from gateway.phoenix.gamification.snapshots import SnapshotsClient
from gateway.phoenix.retry import RetryingSender, RetryPolicy
from gateway.resilience.breaker import Breaker
from gateway.resilience.clock import Clock
from gateway.resilience.retry import RetrySettings
from gateway.resilience.retry_budget import RetryBudget
from gateway.server.assembly.upstream import Upstream
from gateway.telemetry.metrics import Metrics

_ENVELOPES: dict[BulkEvents, BulkEnvelope | None] = {
    BulkEvents.OFF: None,
    BulkEvents.ARRAY: "array",
    BulkEvents.EVENTS: "events",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventClients:
    """One tenant's clients for events, which share a circuit breaker.

    `queued` tries each request once: the queue of durable events has retries of its own and records each of them.
    """

    direct: EventsClient
    queued: EventsClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenants:
    """Every tenant."""

    directory: TenantDirectory[TenantContext]
    event_clients: Mapping[TenantId, EventClients]


def build_tenants(
    config: Config, upstream: Upstream, keyring: Keyring, on_target: OnTarget, clock: Clock, metrics: Metrics
) -> Tenants:
    """Return the tenants of the configuration. `on_target` may refuse a call for one of them."""
    clients = {one.keys.tenant_id: event_clients(one, upstream, keyring, clock, metrics) for one in config.tenants}
    contexts = {
        one.keys.tenant_id: tenant_context(one, upstream.retrying, clients[one.keys.tenant_id].direct, keyring, clock)
        for one in config.tenants
    }
    return Tenants(directory=TenantDirectory(contexts, on_target), event_clients=clients)


def event_clients(
    config: TenantConfig, upstream: Upstream, keyring: Keyring, clock: Clock, metrics: Metrics
) -> EventClients:
    """Return one tenant's clients for events."""
    tenant_id = config.keys.tenant_id
    breaker = Breaker(clock, on_change=lambda circuit: metrics.circuit_changed(Surface.INGESTION.value, circuit.value))

    def client(policy: RetryPolicy, budgets: Mapping[Surface, RetryBudget] | None) -> EventsClient:
        return EventsClient(
            retrying=RetryingSender(
                sender=upstream.sender, clock=clock, observer=metrics, settings=policy, budgets=budgets
            ),
            base_url=config.ingestion_base_url,
            tenant_id=tenant_id,
            authorize=authorize.tenant_hmac(keyring, tenant_id, clock),
            settings=replace(config.events, bulk=_ENVELOPES[config.bulk_events]),
            breaker=breaker,
            on_event=metrics.event_sending,
        )

    return EventClients(
        direct=client(RetryPolicy(), upstream.budgets),
        queued=client(RetryPolicy(retry=RetrySettings(max_tries=1)), None),  # the queue repeats at its own pace
    )


def tenant_context(
    config: TenantConfig, retrying: RetryingSender, events: EventsClient, keyring: Keyring, clock: Clock
) -> TenantContext:
    """Return what the actions need of one tenant."""
    tenant_id = config.keys.tenant_id
    at_query_host = authorize.query_host(config.query_auth, keyring, tenant_id, clock)
    return TenantContext(
        tenant_id=tenant_id,
        events=events,
        boards=LeaderboardsClient(
            retrying=retrying, base_url=config.query_base_url, tenant_id=tenant_id, authorize=at_query_host
        ),
        snapshots=SnapshotsClient(
            retrying=retrying, base_url=config.query_base_url, tenant_id=tenant_id, authorize=at_query_host
        ),
        admin=AdminClient(
            retrying=retrying,
            base_url=config.admin_base_url,
            tenant_id=tenant_id,
            authorize=authorize.admin_host(config.admin_auth, keyring, tenant_id, clock),
        ),
        socket_base_url=config.socket_base_url,
        authorize_socket=authorize_socket(config.socket_auth, keyring, tenant_id, clock),
        send_event_id=config.events.sends_event_id,
    )
