"""What each service depends on, and the watch that asks it. A service that is not named here depends on nothing."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from google.protobuf.descriptor import ServiceDescriptor

from gateway.actions.shared.watch_health import Check, HealthWatch
from gateway.config import Config
from gateway.evidence.durable import DurableWalletStore
from gateway.keys.platform.platform_keys import PlatformKeys
from gateway.keys.platform.settings import KeyUnavailable
from gateway.phoenix.answers import Surface
from gateway.phoenix.http_types import Sender
from gateway.phoenix.reachability import check_reachable
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.server.assembly.controls import CallControls, hold_services
from gateway.server.assembly.platform_keys import PlatformKeyRegistry
from gateway.telemetry.metrics import Metrics


def build_health(
    config: Config,
    services: Iterable[ServiceDescriptor],
    sender: Sender,
    platform_keys: PlatformKeyRegistry,
    store: DurableWalletStore,
    controls: CallControls,
    clock: Clock,
    metrics: Metrics,
) -> HealthWatch:
    """Return the watch over all services, not started yet. A kill switch makes a service NOT_SERVING too."""
    needed: dict[str, list[Check]] = {
        "EventService": _hosts(sender, {one.ingestion_base_url for one in config.tenants}, Surface.INGESTION),
        "LeaderboardService": _hosts(sender, {one.query_base_url for one in config.tenants}, Surface.QUERY),
        "LeaderboardAdminService": _hosts(sender, {one.admin_base_url for one in config.tenants}, Surface.ADMIN),
        "WalletService": [store.check, *(platform_key_present(keys) for keys in platform_keys.all())],
    }
    checks = {service.full_name: needed.get(service.name, []) for service in services}
    health = HealthWatch(controls.checks(checks), clock, on_change=metrics.services_serving)
    hold_services(controls, health)
    return health


def platform_key_present(keys: PlatformKeys) -> Check:
    """Pass if a platform key is in memory: without one no webhook can be verified."""

    async def check(deadline: Deadline) -> None:
        if keys.current() is None:
            raise KeyUnavailable

    return check


def _hosts(sender: Sender, base_urls: set[str], surface: Surface) -> list[Check]:
    return [partial(check_reachable, sender, base_url, surface) for base_url in sorted(base_urls)]
