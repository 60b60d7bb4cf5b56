"""Puts a gateway together: the only place where the rooms meet. It decides nothing about Phoenix or money."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from gateway.actions.shared.watch_health import HealthWatch
from gateway.cache.client import RedisCache
from gateway.cache.outage_log import OutageLog
from gateway.config import Config
from gateway.config.process import check_database_url, redis_target
from gateway.core.secret import Secret
from gateway.interceptors.policy import METHODS, PolicyInForce
from gateway.keys.own.keyring import Keyring
from gateway.keys.platform.platform_keys import PlatformKeys
from gateway.phoenix.transport import Transport
from gateway.resilience.clock import Clock
from gateway.resilience.clock_steps import ClockSteps
from gateway.server.assembly.admin_port import AdminPort, build_admin_port
from gateway.server.assembly.boards import Boards, build_boards
from gateway.server.assembly.chain import build_chain
from gateway.server.assembly.console import build_console
from gateway.server.assembly.controls import CallControls, build_controls
from gateway.server.assembly.events import Events, build_events
from gateway.server.assembly.explain import Explaining, build_explain
from gateway.server.assembly.front import Fronts, build_fronts
from gateway.server.assembly.health import build_health
from gateway.server.assembly.keys import build_keyring
from gateway.server.assembly.operators import build_operators
from gateway.server.assembly.platform_keys import PlatformKeyRegistry
from gateway.server.assembly.services import build_services
from gateway.server.assembly.tenants import build_tenants
from gateway.server.assembly.traces import build_tracing
from gateway.server.assembly.upstream import Upstream, build_upstream
from gateway.server.assembly.wallet import Wallet, build_wallet
from gateway.server.policy_watch import PolicyWatch
from gateway.server.process.inherited import WorkerSeat
from gateway.server.secret_poll import SecretPoll
from gateway.server.secret_watch import SecretWatch
from gateway.store.database import Database, DatabaseSettings
from gateway.store.open_database import open_database
from gateway.telemetry.call_stories import CallStories
from gateway.telemetry.logs import log
from gateway.telemetry.metrics import BuildInfo, Metrics
from gateway.telemetry.spans import unlinked

if TYPE_CHECKING:
    from gateway.telemetry.tracing import Tracing

_USER_REFUSED = {"login", "rights"}
"""Failures of the database that another user of it may end: its store may have one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The parts that are started and stopped; `server/parts.py` gives their order."""

    database: Database
    upstream: Upstream
    redis: RedisCache | None
    keyring: Keyring
    platform_keys: tuple[PlatformKeys, ...]
    policy_watch: PolicyWatch
    secrets: SecretWatch
    secret_poll: SecretPoll
    controls: CallControls
    events: Events
    boards: Boards
    wallet: Wallet
    health: HealthWatch
    fronts: Fronts
    admin_port: AdminPort
    explaining: Explaining
    clock_steps: ClockSteps
    tracing: Tracing | None


def build(config: Config, clock: Clock, seat: WorkerSeat | None = None) -> Gateway:
    """Return a gateway that is not started yet. Args: `seat`: of a worker among several.

    Raises: KeyringRefused, KeyRefused, SecretRefused, PolicyIncomplete, TlsRefused, AdminAddressRefused,
    RulesMissing.
    """
    metrics = _metrics()
    clock_steps = ClockSteps(clock, on_step=partial(_on_clock_step, metrics))
    transport = Transport(ca_file=config.upstream_ca_file)
    keyring = build_keyring(config, transport, clock, metrics)
    upstream = build_upstream(transport, keyring, clock, metrics)
    secrets = SecretWatch(clock=clock, on_event=metrics.key_event, start_only=config.env_file)
    redis = _redis(config, secrets, clock, metrics)
    secret_poll = SecretPoll(
        secrets=config.secret_stores.all(),
        every_s=config.secret_stores.poll_s,
        clock=clock,
        on_read=metrics.secret_read,
        on_failing=metrics.secret_store_failing,
    )
    database = _database(config, secrets, secret_poll, clock, metrics)
    policy = PolicyInForce(config.callers)
    controls = build_controls(config, policy, keyring, redis, database, clock, metrics, seat)
    tracing = build_tracing(config, secrets, _own_version(), metrics)
    stories = CallStories(clock, shares=redis is not None)
    chain = build_chain(config, controls, secrets, keyring, stories, clock, metrics, tracing)

    platform_keys = PlatformKeyRegistry(config, transport, redis, clock, metrics.key_event)
    operators = build_operators(config, upstream, keyring, platform_keys, chain.on_target, clock)
    tenants = build_tenants(config, upstream, keyring, chain.on_target, clock, metrics)

    wallet = build_wallet(config, operators, platform_keys, database, clock, metrics)
    events = build_events(
        *(config, tenants, database, redis, controls, clock, metrics),
        callers_wait=lambda: wallet.store.is_busy or transport.is_crowded,
        linked=unlinked if tracing is None else tracing.delivery,
        stories=stories,
    )
    boards = build_boards(config, tenants.directory, redis, upstream.hosts, clock, metrics, seat)
    services = build_services(
        config, events, boards, wallet, tenants.directory, operators, upstream.retrying, keyring, chain.on_target, clock
    )
    health = build_health(
        config, services, transport, platform_keys, wallet.store, database, keyring, controls, clock, metrics
    )
    database.on_change(health.look_again)
    explaining = build_explain(config, stories, events.queue, wallet.store, redis, clock, seat, policy)
    fronts = build_fronts(config, services, health, chain, policy, clock, metrics)
    make_console = partial(
        build_console,
        *(config, fronts.endpoints, chain, policy, controls, explaining, secrets, clock, metrics, seat),
    )

    return Gateway(
        database=database,
        upstream=upstream,
        redis=redis,
        keyring=keyring,
        platform_keys=platform_keys.all(),
        policy_watch=PolicyWatch(config, policy, metrics, clock),
        secrets=secrets,
        secret_poll=secret_poll,
        controls=controls,
        events=events,
        boards=boards,
        wallet=wallet,
        health=health,
        fronts=fronts,
        admin_port=build_admin_port(
            config,
            health,
            wallet,
            keyring,
            controls,
            redis,
            explaining,
            make_console,
            clock,
            clock_steps,
            metrics,
            seat,
        ),
        explaining=explaining,
        clock_steps=clock_steps,
        tracing=tracing,
    )


def _on_clock_step(metrics: Metrics, step_s: float) -> None:
    metrics.clock_stepped(step_s)
    log().warning(
        "the clock of this host was set",
        trouble=f"by {step_s:+.1f} s",
        advice="let NTP slew the clock; signatures and tokens from before the step may be refused",
    )


def _own_version() -> str:
    try:
        return version("phoenix-gateway")
    except PackageNotFoundError:
        return "unknown"


def _metrics() -> Metrics:
    info = BuildInfo(version=_own_version(), revision="", python=platform.python_version())
    return Metrics(CollectorRegistry(), methods=METHODS, build=info)


def _redis(config: Config, secrets: SecretWatch, clock: Clock, metrics: Metrics) -> RedisCache | None:
    """Return the client of the shared cache, not connected yet; None without REDIS_URL."""
    if config.redis is None:
        return None
    target = config.redis.target
    cache = RedisCache(target, clock, observer=OutageLog(metrics.redis, target.address))

    def check(url: Secret) -> Secret:
        redis_target(url)
        return url

    secrets.follow(config.redis.source, check, lambda url: cache.use_target(redis_target(url)))
    return cache


def _database(config: Config, secrets: SecretWatch, poll: SecretPoll, clock: Clock, metrics: Metrics) -> Database:
    """Return the database, not connected yet. A PostgreSQL follows the file or the store of its URL."""

    is_stored = config.database_source is not None and config.database_source.stored is not None

    def on_failure(cause: str) -> None:
        metrics.store_broke(cause)
        if is_stored and cause in _USER_REFUSED:
            poll.look_soon()

    url = config.database_url.reveal_text() if config.database_url is not None else None
    settings = DatabaseSettings(url=url, data_dir=config.data_dir)
    database = open_database(settings, clock, on_failure=on_failure)
    if config.database_source is not None:
        from gateway.store.postgres import PostgresDatabase  # not loaded for SQLite

        assert isinstance(database, PostgresDatabase)
        use_url = database.use_url
        secrets.follow(config.database_source, check_database_url, lambda new: use_url(new.reveal_text()))
    return database
