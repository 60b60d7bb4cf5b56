"""Phoenix's platform keys: one set for all operators with the same host, environment and rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gateway.cache.client import RedisCache
from gateway.config import Config, OperatorConfig
from gateway.core.types import Environment, KeyId
from gateway.keys.platform.key_file import file_settings, read_from
from gateway.keys.platform.platform_keys import PlatformKeys
from gateway.keys.platform.redis_key_cache import RedisKeyCache
from gateway.keys.platform.revocations import RevokedKeys
from gateway.keys.platform.settings import PlatformKeySettings
from gateway.phoenix.http_types import Sender
from gateway.phoenix.prediction.signing_keys import SigningKeysClient
from gateway.resilience.clock import Clock


class PlatformKeyRegistry:
    """Makes a set of platform keys for the first operator that needs it, and shares it with the others."""

    def __init__(
        self, config: Config, sender: Sender, redis: RedisCache | None, clock: Clock, on_event: Callable[[str], None]
    ) -> None:
        self._redis_config = config.redis
        self._sender = sender
        self._redis = redis
        self._clock = clock
        self._on_event = on_event
        self._revoked = RevokedKeys(config.data_dir)
        self._sets: dict[tuple[object, ...], PlatformKeys] = {}
        self._published: dict[tuple[object, ...], PlatformKeys] = {}

    def keys_of(self, operator: OperatorConfig) -> PlatformKeys:
        """Return the operator's platform keys. Raises: KeyRefused for a configured key that is not pinned."""
        environment = operator.keys.environment
        static, file = operator.static_platform_key, operator.platform_key_file
        shared_by = (operator.base_url, environment, operator.platform_keys, static.key_id if static else None, file)
        if shared_by not in self._sets:
            if static is None:
                self._sets[shared_by] = self._fetched(operator, operator.platform_keys, self._revoked)
            else:
                self._sets[shared_by] = PlatformKeys(
                    fetch=None if file is None else read_from(file),
                    clock=self._clock,
                    settings=operator.platform_keys if file is None else file_settings(operator.platform_keys),
                    static_key=static,
                    on_event=self._on_event,
                    revoked=self._revoked,
                    origin="PREDICTION_PLATFORM_KEY" if file is None else str(file),
                    published=None if file is None else self._published_for(operator),
                )
        return self._sets[shared_by]

    def _published_for(self, operator: OperatorConfig) -> PlatformKeys:
        """Return what Phoenix publishes, pinned or not: it verifies nothing. It is fetched only when asked for."""
        settings = replace(operator.platform_keys, pins=frozenset())
        shared_by = (operator.base_url, operator.keys.environment, settings)
        if shared_by not in self._published:
            self._published[shared_by] = self._fetched(operator, settings, None)
        return self._published[shared_by]

    def _fetched(
        self, operator: OperatorConfig, settings: PlatformKeySettings, revoked: RevokedKeys | None
    ) -> PlatformKeys:
        client = SigningKeysClient(sender=self._sender, base_url=operator.base_url, clock=self._clock)
        return PlatformKeys(
            fetch=client.fetch_signing_key,
            clock=self._clock,
            settings=settings,
            shared=self._cache(operator.base_url, operator.keys.environment),
            on_event=self._on_event,
            revoked=revoked,
            origin=operator.base_url,
        )

    def all(self) -> tuple[PlatformKeys, ...]:
        """Return every set."""
        return tuple(self._sets.values())

    def public_key(self, key_id: KeyId) -> bytes | None:
        """Return the platform key with this id if it is in use, or was until a short while ago."""
        for keys in self.all():
            known = list(keys.retired())
            if (current := keys.current()) is not None:
                known.append(current.key)
            for key in known:
                if key.key_id == key_id:
                    return key.raw
        return None

    def _cache(self, host: str, environment: Environment) -> RedisKeyCache | None:
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
