"""Clients and keys of each tenant and operator, made from the configuration."""

from __future__ import annotations

from collections.abc import Callable

from gateway.actions.rooms import OperatorRoom, TenantRoom
from gateway.config import Config, OperatorConfig, TenantConfig
from gateway.core.types import Environment
from gateway.keys.keyring import Keyring
from gateway.keys.platform_keys import PlatformKeys
from gateway.keys.redis_cache import RedisCache
from gateway.keys.redis_key_cache import RedisKeyCache
from gateway.phoenix.exchange import Sender
from gateway.phoenix.gamification.admin import AdminClient
from gateway.phoenix.gamification.events import EventsClient
from gateway.phoenix.gamification.leaderboards import LeaderboardsClient
from gateway.phoenix.prediction.signing_keys import SigningKeysClient
from gateway.phoenix.tries import Courier
from gateway.resilience.clock import Clock
from gateway.server import authorize

OnEvent = Callable[[str], None]


def tenant_room(config: TenantConfig, courier: Courier, keyring: Keyring, clock: Clock) -> TenantRoom:
    """Return what the gateway has for one tenant."""
    tenant_id = config.keys.tenant_id
    return TenantRoom(
        tenant_id=tenant_id,
        events=EventsClient(
            courier=courier,
            base_url=config.ingestion_base_url,
            tenant_id=tenant_id,
            authorize=authorize.tenant_hmac(keyring, tenant_id, clock),
            settings=config.events,
        ),
        boards=LeaderboardsClient(
            courier=courier,
            base_url=config.query_base_url,
            tenant_id=tenant_id,
            authorize=authorize.choose(config.query_auth, keyring, tenant_id, clock, jwt=authorize.tenant_jwt),
        ),
        admin=AdminClient(
            courier=courier,
            base_url=config.admin_base_url,
            tenant_id=tenant_id,
            authorize=authorize.choose(config.admin_auth, keyring, tenant_id, clock, jwt=authorize.admin_jwt),
        ),
        socket_base_url=config.socket_base_url,
        send_event_id=config.events.sends_event_id,
    )


class PlatformKeyShelf:
    """Phoenix's platform keys: one set for all operators of the same host, environment and rules."""

    def __init__(
        self, config: Config, sender: Sender, redis: RedisCache | None, clock: Clock, on_event: OnEvent
    ) -> None:
        self._redis_config = config.redis
        self._sender = sender
        self._redis = redis
        self._clock = clock
        self._on_event = on_event
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


def operator_room(config: OperatorConfig, platform_keys: PlatformKeys) -> OperatorRoom:
    """Return what the gateway has for one operator environment."""
    return OperatorRoom(
        operator_code=config.keys.operator_code,
        environment=config.keys.environment,
        operator_id=config.keys.operator_id,
        platform_keys=platform_keys,
        embed_url=config.embed_url,
        lease_s=config.wallet_lease_s,
        wallet=config.wallet,
    )
