"""What each service depends on, and the watch that asks it. A service that is not named here depends on nothing."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from google.protobuf.descriptor import ServiceDescriptor

from gateway.actions.shared.clock_watch import ClockWatch
from gateway.actions.shared.watch_health import Check, HealthWatch
from gateway.config import Config
from gateway.evidence.durable import DurableWalletStore
from gateway.keys.own.keyring import Keyring
from gateway.keys.platform.platform_keys import PlatformKeys
from gateway.keys.platform.settings import KeyUnavailable
from gateway.phoenix.answers import Surface
from gateway.phoenix.http_types import Sender
from gateway.phoenix.reachability import check_reachable
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.server.assembly.controls import CallControls, hold_services
from gateway.server.assembly.own_parts import build_own_parts
from gateway.server.assembly.platform_keys import PlatformKeyRegistry
from gateway.store.database import Database
from gateway.telemetry.metrics import Metrics


def build_health(
    config: Config,
    services: Iterable[ServiceDescriptor],
    sender: Sender,
    platform_keys: PlatformKeyRegistry,
    store: DurableWalletStore,
    database: Database,
    keyring: Keyring,
    controls: CallControls,
    clock: Clock,
    metrics: Metrics,
) -> HealthWatch:
    """Return the watch over all services, not started yet. A kill switch makes a service NOT_SERVING too."""
    services = tuple(services)
    clock_watch = ClockWatch(clock, lambda: database.clock_ahead_s)
    reach = partial(_hosts, sender, clock, clock_watch)
    needed: dict[str, list[Check]] = {
        "EventService": reach({one.ingestion_base_url for one in config.tenants}, Surface.INGESTION),
        "LeaderboardService": reach({one.query_base_url for one in config.tenants}, Surface.QUERY),
        "LeaderboardAdminService": reach({one.admin_base_url for one in config.tenants}, Surface.ADMIN),
        "WalletService": [platform_key_present(keys) for keys in platform_keys.all()],
    }
    health = HealthWatch(
        {service.full_name: needed.get(service.name, []) for service in services},
        clock,
        on_change=metrics.services_serving,
        own=build_own_parts(config, services, database, store, keyring, controls, clock_watch, clock),
        on_not_ready=metrics.not_ready,
    )
    hold_services(controls, health)
    return health


def platform_key_present(keys: PlatformKeys) -> Check:
    """Pass if a platform key is in memory: without one no webhook can be verified."""

    async def check(deadline: Deadline) -> None:
        if keys.current() is None:
            raise KeyUnavailable

    return check


def _hosts(sender: Sender, clock: Clock, clock_watch: ClockWatch, base_urls: set[str], surface: Surface) -> list[Check]:
    """Return a check for each host. Its answers show Phoenix's clock too."""

    def reach(base_url: str) -> Check:
        async def check(deadline: Deadline) -> None:
            sent_at = clock.now()
            headers = await check_reachable(sender, base_url, surface, deadline)
            clock_watch.read(base_url, headers, sent_at, clock.now())

        return check

    return [reach(base_url) for base_url in sorted(base_urls)]
