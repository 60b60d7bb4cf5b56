"""The clients of each operator environment, and the directory that finds one for a call."""

from __future__ import annotations

from gateway.actions.shared.contexts import OperatorContext
from gateway.actions.shared.directory import OnTarget, OperatorDirectory
from gateway.actions.shared.supported_currencies import SupportedCurrencies
from gateway.config import Config, OperatorConfig
from gateway.keys.own.keyring import Keyring
from gateway.keys.platform.platform_keys import PlatformKeys
from gateway.phoenix.auth import authorize
from gateway.phoenix.prediction.operator_api import OperatorApiClient
from gateway.phoenix.retry import RetryingSender
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.server.assembly.platform_keys import PlatformKeyRegistry
from gateway.server.assembly.upstream import Upstream


def build_operators(
    config: Config,
    upstream: Upstream,
    keyring: Keyring,
    platform_keys: PlatformKeyRegistry,
    on_target: OnTarget,
    clock: Clock,
) -> OperatorDirectory[OperatorContext]:
    """Return the operators of the configuration. `on_target` may refuse a call for one of them. Raises: KeyRefused."""
    return OperatorDirectory(
        {
            (one.keys.operator_code, one.keys.environment): operator_context(
                one, platform_keys.keys_of(one), upstream.retrying, keyring, clock
            )
            for one in config.operators
        },
        on_target,
    )


def operator_context(
    config: OperatorConfig, platform_keys: PlatformKeys, retrying: RetryingSender, keyring: Keyring, clock: Clock
) -> OperatorContext:
    """Return what the actions need of one operator environment."""
    code, environment = config.keys.operator_code, config.keys.environment
    operator_api = OperatorApiClient(
        retrying=retrying,
        base_url=config.base_url,
        authorize=authorize.operator_signature(keyring, code, environment, clock, config.signature),
        stats_path=config.stats_path,
    )

    async def supported(deadline: Deadline) -> frozenset[str]:
        return frozenset(one.code for one in (await operator_api.settings(deadline)).currencies)

    return OperatorContext(
        operator_code=code,
        environment=environment,
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
