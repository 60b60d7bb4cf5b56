"""Clients and keys of each tenant and operator, made from the configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from gateway.actions.shared.contexts import OperatorContext, TenantContext
from gateway.actions.tokens.supported_currencies import SupportedCurrencies
from gateway.cache.client import RedisCache
from gateway.cache.event_ids import RedisEventIds
from gateway.cache.reads import RedisReadCache
from gateway.config import BulkEvents, Config, OperatorConfig, TenantConfig
from gateway.core.types import Environment
from gateway.core.wire import BulkEnvelope
from gateway.front.published_keys import PublishedKeys
from gateway.keys.own.keyring import Keyring
from gateway.keys.platform.platform_keys import PlatformKeys
from gateway.keys.platform.redis_key_cache import RedisKeyCache
from gateway.keys.platform.revocations import RevokedKeys
from gateway.phoenix.answers import Surface
from gateway.phoenix.auth import authorize
from gateway.phoenix.auth.authorize import Authorize
from gateway.phoenix.auth.credential_trial import CredentialTrial
from gateway.phoenix.auth.socket import authorize_socket
from gateway.phoenix.gamification.admin import AdminClient
from gateway.phoenix.gamification.events import EventsClient
from gateway.phoenix.gamification.leaderboards import LeaderboardsClient
from gateway.phoenix.gamification.snapshots import SnapshotsClient
from gateway.phoenix.http_types import Sender
from gateway.phoenix.prediction.operator_api import OperatorApiClient
from gateway.phoenix.prediction.signing_keys import SigningKeysClient
from gateway.phoenix.retry import RetryingSender, RetryPolicy
from gateway.resilience.breaker import Breaker
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.resilience.retry import RetrySettings
from gateway.server.key_trials import KeyTrials
from gateway.telemetry.metrics import Metrics

OnEvent = Callable[[str], None]


_ENVELOPES: dict[BulkEvents, BulkEnvelope | None] = {
    BulkEvents.OFF: None,
    BulkEvents.ARRAY: "array",
    BulkEvents.EVENTS: "events",
}


def tenant_context(
    config: TenantConfig, courier: RetryingSender, events: EventsClient, keyring: Keyring, clock: Clock
) -> TenantContext:
    """Return what the gateway has for one tenant."""
    tenant_id = config.keys.tenant_id
    read_as = authorize.query_host(config.query_auth, keyring, tenant_id, clock)
    return TenantContext(
        tenant_id=tenant_id,
        events=events,
        boards=LeaderboardsClient(
            courier=courier,
            base_url=config.query_base_url,
            tenant_id=tenant_id,
            authorize=read_as,
        ),
        snapshots=SnapshotsClient(
            courier=courier, base_url=config.query_base_url, tenant_id=tenant_id, authorize=read_as
        ),
        admin=AdminClient(
            courier=courier,
            base_url=config.admin_base_url,
            tenant_id=tenant_id,
            authorize=authorize.admin_host(config.admin_auth, keyring, tenant_id, clock),
        ),
        socket_base_url=config.socket_base_url,
        authorize_socket=authorize_socket(config.socket_auth, keyring, tenant_id, clock),
        send_event_id=config.events.sends_event_id,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsWays:
    """One tenant's ways to Phoenix for events, behind one breaker.

    `queued` tries each request once: the queue of durable events tries again by itself, and writes down each try.
    """

    direct: EventsClient
    queued: EventsClient


def events_ways(config: TenantConfig, sender: Sender, keyring: Keyring, clock: Clock, metrics: Metrics) -> EventsWays:
    """Return one tenant's ways."""
    tenant_id = config.keys.tenant_id
    before_both = breaker(Surface.INGESTION, clock, metrics)

    def way(tries: RetryPolicy) -> EventsClient:
        return EventsClient(
            courier=RetryingSender(sender=sender, clock=clock, observer=metrics, settings=tries),
            base_url=config.ingestion_base_url,
            tenant_id=tenant_id,
            authorize=authorize.tenant_hmac(keyring, tenant_id, clock),
            settings=replace(config.events, bulk=_ENVELOPES[config.bulk_events]),
            breaker=before_both,
            on_event=metrics.event_sending,
        )

    return EventsWays(direct=way(RetryPolicy()), queued=way(RetryPolicy(retry=RetrySettings(max_tries=1))))


def breaker(surface: Surface, clock: Clock, metrics: Metrics) -> Breaker:
    """Return a breaker for one tenant's way to one surface."""
    return Breaker(clock, on_change=lambda circuit: metrics.circuit_changed(surface.value, circuit.value))


def open_keyring(config: Config, sender: Sender, clock: Clock, metrics: Metrics) -> Keyring:
    """Return our own keys; new ones are tried at Phoenix. Raises: KeyringRefused."""
    trial = KeyTrials(
        CredentialTrial(sender, clock),
        clock,
        {one.keys.tenant_id: one for one in config.tenants},
        {(one.keys.operator_code, one.keys.environment): one for one in config.operators},
    )
    return Keyring(
        tenants=[tenant.keys for tenant in config.tenants],
        operators=[operator.keys for operator in config.operators],
        clock=clock,
        on_event=metrics.key_event,
        trial=trial,
        seal_keys=None if config.redis is None else (config.redis.seal_keys, config.redis.seal_source),
    )


def published_keys(config: Config, keyring: Keyring) -> PublishedKeys:
    """Return what the admin port shows of our keys."""
    lead_s = min((one.keys.lead_s for one in config.operators), default=0.0)
    return PublishedKeys(keyring.published, lead_s=lead_s)


class PlatformKeyRegistry:
    """Phoenix's platform keys: one set for all operators of the same host, environment and rules."""

    def __init__(
        self, config: Config, sender: Sender, redis: RedisCache | None, clock: Clock, on_event: OnEvent
    ) -> None:
        self._redis_config = config.redis
        self._sender = sender
        self._redis = redis
        self._clock = clock
        self._on_event = on_event
        self._revoked = RevokedKeys(config.data_dir)
        self._made: dict[tuple[object, ...], PlatformKeys] = {}

    def keys_of(self, operator: OperatorConfig) -> PlatformKeys:
        """Return the operator's platform keys. Raises: KeyRefused for a configured key that is not pinned."""
        environment = operator.keys.environment
        static = operator.static_platform_key
        place = (operator.base_url, environment, operator.platform_keys, static.key_id if static else None)
        if place not in self._made:
            client = SigningKeysClient(sender=self._sender, base_url=operator.base_url, clock=self._clock)
            self._made[place] = PlatformKeys(
                fetch=client.fetch_signing_key,
                clock=self._clock,
                settings=operator.platform_keys,
                shared=self._shared(operator.base_url, environment),
                static_key=static,
                on_event=self._on_event,
                revoked=self._revoked,
            )
        return self._made[place]

    def all(self) -> tuple[PlatformKeys, ...]:
        """Return every set that was made."""
        return tuple(self._made.values())

    def _shared(self, host: str, environment: Environment) -> RedisKeyCache | None:
        if self._redis is None or self._redis_config is None:
            return None
        return RedisKeyCache(
            cache=self._redis,
            seal_keys=self._redis_config.seal_keys,
            clock=self._clock,
            host=host,
            environment=environment,
            on_event=self._on_event,
        )


def operator_context(
    config: OperatorConfig, platform_keys: PlatformKeys, courier: RetryingSender, keyring: Keyring, clock: Clock
) -> OperatorContext:
    """Return what the gateway has for one operator environment."""
    operator_api = OperatorApiClient(
        courier=courier,
        base_url=config.base_url,
        authorize=_signed(config, keyring, clock),
        stats_path=config.stats_path,
    )

    async def supported(deadline: Deadline) -> frozenset[str]:
        return frozenset(one.code for one in (await operator_api.settings(deadline)).currencies)

    return OperatorContext(
        operator_code=config.keys.operator_code,
        environment=config.keys.environment,
        operator_id=config.keys.operator_id,
        platform_keys=platform_keys,
        operator_api=operator_api,
        embed_url=config.embed_url,
        lease_s=config.wallet_lease_s,
        launch=config.launch,
        supported=None if config.currencies else SupportedCurrencies(supported, clock),
        currencies=config.currencies,
        wallet=config.wallet,
        held_operations=config.held_operations,
    )


def _signed(config: OperatorConfig, keyring: Keyring, clock: Clock) -> Authorize:
    return authorize.operator_signature(
        keyring, config.keys.operator_code, config.keys.environment, clock, config.signature
    )


def shared_event_ids(config: Config, redis: RedisCache | None, clock: Clock, metrics: Metrics) -> RedisEventIds | None:
    """Return what the fleet remembers of event ids; None without Redis."""
    if redis is None or config.redis is None:
        return None
    return RedisEventIds(cache=redis, seal_keys=config.redis.seal_keys, clock=clock, on_event=metrics.event_sending)


def shared_reads(config: Config, redis: RedisCache | None, clock: Clock, metrics: Metrics) -> RedisReadCache | None:
    """Return what the fleet shares of answers about boards; None without Redis."""
    if redis is None or config.redis is None:
        return None
    return RedisReadCache(
        cache=redis,
        seal_keys=config.redis.seal_keys,
        clock=clock,
        on_event=lambda name: metrics.cache_looked_up("leaderboard", "refused"),
    )
