"""Puts the gateway together, read top to bottom: keys, clients, store, actions, services, chain, front.

The only place where the rooms meet. Nothing here decides anything about Phoenix or money.
"""

from __future__ import annotations

import platform
import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import uuid_utils
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2
from prometheus_client import CollectorRegistry

from gateway.actions.admin.administer_leaderboards import AdministerLeaderboards
from gateway.actions.admin.describe_keys import DescribeKeys
from gateway.actions.admin.operator_settings import ManageOperatorSettings
from gateway.actions.boards.cached_read import CachedReads
from gateway.actions.boards.closed_windows import ClosedWindows
from gateway.actions.boards.live_pages import LivePages
from gateway.actions.boards.read_leaderboard import ReadLeaderboard
from gateway.actions.boards.read_snapshots import ReadSnapshots
from gateway.actions.boards.watch_leaderboard import OpenBoard, WatchLeaderboard
from gateway.actions.events.remember_events import EventMemory
from gateway.actions.events.submit_events import SubmitEvents
from gateway.actions.shared.call import Peer
from gateway.actions.shared.directory import OperatorDirectory, TenantDirectory
from gateway.actions.shared.watch_health import Check, HealthWatch
from gateway.actions.tokens.mint_tokens import MintTokens
from gateway.actions.wallet.export_chain import ExportChain
from gateway.actions.wallet.list_evidence import ListEvidence
from gateway.actions.wallet.record_outcome import RecordWalletOutcomes
from gateway.actions.wallet.verify_wallet import VerifyWallet
from gateway.cache.client import PATIENT, RedisCache
from gateway.config import Config
from gateway.core.wallet import same_move
from gateway.evidence.chain.archive import ChainArchive
from gateway.evidence.chain.sequencer import Sequencer
from gateway.evidence.durable import DurableWalletStore
from gateway.front.admin import AdminServer
from gateway.front.channelz import ChannelzServer
from gateway.front.grpc_aio import Endpoint, Front, endpoints_of
from gateway.front.reflection import reflection_endpoints
from gateway.interceptors.call_log import CallLog, note_unexpected
from gateway.interceptors.call_metrics import CallMetrics
from gateway.interceptors.chain import Chain
from gateway.interceptors.deadline import DeadlineLink
from gateway.interceptors.identity import Identity
from gateway.interceptors.policy import METHODS, Policy, PolicyInForce, check_complete
from gateway.interceptors.validation import Validation, compile_rules, validate
from gateway.keys.own.keyring import Keyring
from gateway.keys.platform.platform_keys import PlatformKeys
from gateway.phoenix.answers import Surface
from gateway.phoenix.auth.on_unauthorized import UnauthorizedObserver
from gateway.phoenix.gamification.realtime import RealtimeClient
from gateway.phoenix.http_types import Sender
from gateway.phoenix.retry import RetryingSender
from gateway.phoenix.transport import Transport, upstream_trust
from gateway.resilience.clock import Clock
from gateway.server.any_path import call_phoenix
from gateway.server.clients import (
    PlatformKeyRegistry,
    events_ways,
    open_keyring,
    operator_context,
    published_keys,
    shared_event_ids,
    shared_reads,
    tenant_context,
)
from gateway.server.controls import CallControls, hold_services, open_controls
from gateway.server.event_queue import DurableEvents, durable_events
from gateway.server.evidence import evidence_head, public_key_of, sequencer
from gateway.server.health_checks import platform_key_present, reachable
from gateway.server.policy_watch import PolicyWatch
from gateway.server.tls import AdminTls, TlsSource
from gateway.services.board_messages import BoardMessages
from gateway.services.events import EventService
from gateway.services.health import HealthService
from gateway.services.keys import KeyService
from gateway.services.leaderboard_admin import LeaderboardAdminService
from gateway.services.leaderboards import LeaderboardService
from gateway.services.operator import OperatorService
from gateway.services.ordered_acks import StreamGate
from gateway.services.phoenix import PhoenixService
from gateway.services.tokens import TokenService
from gateway.services.wallet import WalletService
from gateway.store.database import DatabaseSettings
from gateway.store.open_database import open_database
from gateway.streams.hub import Hub
from gateway.streams.link import HubDependencies
from gateway.telemetry.metrics import BuildInfo, Metrics
from gateway.v1 import (
    events_pb2,
    keys_pb2,
    leaderboard_admin_pb2,
    leaderboards_pb2,
    operator_pb2,
    phoenix_pb2,
    tokens_pb2,
    wallet_pb2,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Everything that is started and stopped.

    `front` is what the gRPC server serves, with `tls`; each of `sockets` is served by its path, to one caller.
    """

    front: Front
    sockets: dict[Path, Front]
    tls: TlsSource | None
    admin_tls: AdminTls | None
    policy_watch: PolicyWatch
    guards: CallControls
    channelz: ChannelzServer
    admin: AdminServer
    health: HealthWatch
    metrics: Metrics
    keyring: Keyring
    platform_keys: tuple[PlatformKeys, ...]
    redis: RedisCache | None
    key_redis: RedisCache | None
    reads: CachedReads
    realtime: RealtimeClient
    hub: Hub
    intake: StreamGate
    store: DurableWalletStore
    durable: DurableEvents
    sequencer: Sequencer
    transport: Transport


def build(config: Config, clock: Clock) -> Gateway:
    """Return a gateway that is not started yet.

    Raises: PolicyIncomplete, KeyringRefused, KeyRefused, protovalidate.CompilationError: a start must not go on.
    """
    # What is counted, and the way out to Phoenix.
    metrics = Metrics(CollectorRegistry(), methods=METHODS, build=_build_info())
    transport = Transport(ca_file=config.upstream_ca_file)

    # Keys: our own, and Phoenix's. What Phoenix rejects makes the keyring look for a key that it takes.
    keyring = open_keyring(config, transport, clock, metrics)
    sender = UnauthorizedObserver(transport, keyring, clock)
    courier = RetryingSender(sender=sender, clock=clock, observer=metrics)
    redis = RedisCache(config.redis.target, clock) if config.redis is not None else None
    key_redis = RedisCache(config.redis.target, clock, PATIENT) if config.redis is not None else None
    shelf = PlatformKeyRegistry(config, transport, key_redis, clock, metrics.key_event)

    # What stands before the secrets: policy, audit, limits, switches.
    policy = PolicyInForce(config.callers)
    admin_certificates: AdminTls | None = None
    if config.tls is not None and not config.admin_listen.is_local:
        admin_certificates = AdminTls(config.tls, clock)
    url = config.database_url.reveal_text() if config.database_url is not None else None
    database = open_database(DatabaseSettings(url=url, data_dir=config.data_dir), clock)
    guards = open_controls(config, policy, keyring, redis, database, clock, metrics)

    # The store, and what there is of each tenant and operator.
    store = DurableWalletStore(
        database,
        same_move=same_move,
        clock=clock,
        observer=metrics,
        hash_only=frozenset(
            (one.keys.operator_code, one.keys.environment) for one in config.operators if not one.keeps_response_bodies
        ),
        public_key_of=public_key_of(shelf),
    )
    ways = {one.keys.tenant_id: events_ways(one, sender, keyring, clock, metrics) for one in config.tenants}
    tenants = TenantDirectory(
        {
            one.keys.tenant_id: tenant_context(one, courier, ways[one.keys.tenant_id].direct, keyring, clock)
            for one in config.tenants
        },
        guards.admit,
    )
    durable = durable_events(config, database, ways, tenants, clock, metrics, guards)
    operators = OperatorDirectory(
        {
            (operator.keys.operator_code, operator.keys.environment): operator_context(
                operator, shelf.keys_of(operator), courier, keyring, clock
            )
            for operator in config.operators
        },
        guards.admit,
    )

    # Reads of boards share one cache.
    reads = CachedReads(
        clock=clock,
        settings=config.reads,
        shared=shared_reads(config, redis, clock, metrics),
        on_lookup=metrics.cache_looked_up,
    )
    messages, closed = BoardMessages(), ClosedWindows()

    # Live boards: one socket each, whoever watches.
    realtime = RealtimeClient(trust=lambda: upstream_trust(config.upstream_ca_file), clock=clock)
    hub = Hub(
        HubDependencies(
            open_topic=OpenBoard(tenants, realtime, clock),
            encode=messages.watched,
            clock=clock,
            new_epoch=lambda: uuid.uuid4().hex,
            chance=random.random,
            on_event=metrics.live_board_event,
        )
    )

    # Services over actions.
    archive, listing = ChainArchive(database), ListEvidence(operators, store, clock)
    intake = StreamGate()
    servicers: dict[ServiceDescriptor, object] = {
        _service(events_pb2, "EventService"): EventService(
            SubmitEvents(
                tenants,
                clock,
                lambda: str(uuid_utils.uuid7()),
                EventMemory(clock, shared_event_ids(config, key_redis, clock, metrics)),
                queue=durable.events,
            ),
            validate,
            intake,
            dead_letters=durable.dead_letters,
        ),
        _service(leaderboards_pb2, "LeaderboardService"): LeaderboardService(
            ReadLeaderboard(
                tenants,
                reads,
                messages,
                closed,
                clock,
                LivePages(hub, messages, config.reads, clock, metrics.cache_looked_up),
            ),
            ReadSnapshots(tenants, reads, messages, closed, clock),
            WatchLeaderboard(tenants, hub),
            validate,
        ),
        _service(leaderboard_admin_pb2, "LeaderboardAdminService"): LeaderboardAdminService(
            AdministerLeaderboards(tenants, clock)
        ),
        _service(tokens_pb2, "TokenService"): TokenService(MintTokens(tenants, operators, keyring, clock), validate),
        _service(wallet_pb2, "WalletService"): WalletService(
            VerifyWallet(operators, store, clock),
            RecordWalletOutcomes(operators, store),
            listing,
            ExportChain(operators, listing, archive, clock),
        ),
        _service(operator_pb2, "OperatorService"): OperatorService(ManageOperatorSettings(operators, clock)),
        _service(phoenix_pb2, "PhoenixService"): PhoenixService(
            call_phoenix(config, courier, keyring, clock, guards.admit)
        ),
        _service(keys_pb2, "KeyService"): KeyService(DescribeKeys(operators, keyring)),
    }
    health = HealthWatch(
        guards.checks(_checks(config, list(servicers), transport, shelf, store)),
        clock,
        on_change=metrics.services_serving,
    )
    hold_services(guards, health)
    servicers[_service(health_pb2, "Health")] = HealthService(health)

    # The chain, in its order, and the front over all.
    certificates = config.tls is not None and config.tls.client_ca_file is not None
    chain = Chain(
        [
            CallMetrics(metrics, clock),
            CallLog(clock),
            Identity(
                policy,
                certificates_required=certificates,
                trusted_proxies=config.trusted_proxies,
                dev_token=config.dev_token,
            ),
            *guards.behind_identity(),
            Policy(),
            guards.switched,
            DeadlineLink(clock),
            guards.limits,
            Validation(),
        ]
    )
    channelz = ChannelzServer()
    endpoints = guards.with_audit(_endpoints(servicers))
    check_complete(endpoint.path for endpoint in endpoints)
    compile_rules(method.input_type for service in servicers for method in service.methods)
    return Gateway(
        front=Front(endpoints, chain, clock, note_unexpected, reads_certificates=certificates),
        sockets={
            socket.path: Front(endpoints, chain, clock, note_unexpected, peer=Peer(address="", caller=socket.caller))
            for socket in config.sockets
        },
        tls=TlsSource(config.tls, clock, metrics.key_event) if config.tls is not None else None,
        admin_tls=admin_certificates,
        policy_watch=PolicyWatch(config, policy, metrics, clock),
        guards=guards,
        channelz=channelz,
        admin=AdminServer(
            config.admin_listen.target,
            metrics,
            lambda: True,
            health.readiness,
            channelz,
            allow_remote=config.tls is not None,
            what_is_off=guards.told,
            pages=[published_keys(config, keyring).page],
            evidence_head=evidence_head(archive, clock),
            tls=admin_certificates.context if admin_certificates is not None else None,
        ),
        health=health,
        metrics=metrics,
        keyring=keyring,
        platform_keys=shelf.all(),
        redis=redis,
        key_redis=key_redis,
        reads=reads,
        realtime=realtime,
        hub=hub,
        intake=intake,
        store=store,
        durable=durable,
        sequencer=sequencer(config, database, clock, metrics),
        transport=transport,
    )


def _service(module: Any, name: str) -> ServiceDescriptor:
    found: ServiceDescriptor = module.DESCRIPTOR.services_by_name[name]
    return found


def _endpoints(servicers: Mapping[ServiceDescriptor, object]) -> list[Endpoint]:
    endpoints = [
        endpoint
        for service, servicer in servicers.items()
        for endpoint in endpoints_of(servicer, service.methods, service.full_name)
    ]
    return endpoints + reflection_endpoints(service.full_name for service in servicers)


def _checks(
    config: Config,
    services: Sequence[ServiceDescriptor],
    sender: Sender,
    shelf: PlatformKeyRegistry,
    store: DurableWalletStore,
) -> dict[str, list[Check]]:
    """Return what each service stands on; what is not named here stands on nothing outside."""
    stands_on: dict[str, list[Check]] = {
        "EventService": _hosts(sender, {one.ingestion_base_url for one in config.tenants}, Surface.INGESTION),
        "LeaderboardService": _hosts(sender, {one.query_base_url for one in config.tenants}, Surface.QUERY),
        "LeaderboardAdminService": _hosts(sender, {one.admin_base_url for one in config.tenants}, Surface.ADMIN),
        "WalletService": [store.check, *(platform_key_present(keys) for keys in shelf.all())],
    }
    return {service.full_name: stands_on.get(service.name, []) for service in services}


def _hosts(sender: Sender, base_urls: set[str], surface: Surface) -> list[Check]:
    return [reachable(sender, base_url, surface) for base_url in sorted(base_urls)]


def _build_info() -> BuildInfo:
    try:
        own = version("phoenix-gateway")
    except PackageNotFoundError:
        own = "unknown"
    return BuildInfo(version=own, revision="", python=platform.python_version())
