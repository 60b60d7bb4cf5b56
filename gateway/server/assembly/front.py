"""How calls arrive: every method behind the chain, for the listener and for each caller's socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2

from gateway.actions.shared.call import Peer
from gateway.actions.shared.watch_health import HealthWatch
from gateway.config import Config
from gateway.config.model import FrontKind
from gateway.errors import Overloaded
from gateway.front.dispatch import UNNAMED
from gateway.front.endpoint import Endpoint, endpoints_of
from gateway.front.grpc_aio import Front
from gateway.front.http2.engines import find_engine
from gateway.front.http2.fair_queue import Priority
from gateway.front.http2.gate import Gate
from gateway.front.http2.server import Http2Server
from gateway.front.reflection import reflection_endpoints
from gateway.interceptors.call_log import record_unexpected
from gateway.interceptors.chain import Chain
from gateway.interceptors.identity import caller_of
from gateway.interceptors.policy import PolicyInForce, check_complete
from gateway.interceptors.validation import find_checks
from gateway.resilience.clock import Clock
from gateway.server.assembly.chain import asks_certificates
from gateway.server.assembly.services import Services
from gateway.server.listener.tls import TlsSource
from gateway.services.health import HealthService
from gateway.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Fronts:
    """`listener` serves GATEWAY_LISTEN, with `tls`; each of `sockets` serves its path, to one caller.

    `endpoints`: what each of them serves.
    """

    listener: Front | Http2Server
    sockets: Mapping[Path, Front | Http2Server]
    tls: TlsSource | None
    endpoints: Sequence[Endpoint]


def build_fronts(
    config: Config,
    services: Services,
    health: HealthWatch,
    chain: Chain,
    policy: PolicyInForce,
    clock: Clock,
    metrics: Metrics,
) -> Fronts:
    """Return what the gRPC servers serve.

    Raises: PolicyIncomplete, TlsRefused, RulesMissing.
    """
    health_proto: ServiceDescriptor = health_pb2.DESCRIPTOR.services_by_name["Health"]  # type: ignore[assignment]
    all_services = {**services, health_proto: HealthService(health)}
    endpoints = _endpoints(all_services)
    check_complete(endpoint.path for endpoint in endpoints)
    find_checks(method.input_type for service in all_services for method in service.methods)
    make = _front_of(config, endpoints, chain, policy, clock, metrics)
    tls = TlsSource(config.tls, clock, metrics.key_event) if config.tls is not None else None
    if tls is not None:
        metrics.dates.follow_certificates(tls.ends_at)
    return Fronts(
        listener=make(UNNAMED, reads_certificates=asks_certificates(config)),
        sockets={
            socket.path: make(Peer(address="", caller=socket.caller), reads_certificates=False)
            for socket in config.sockets
        },
        tls=tls,
        endpoints=endpoints,
    )


class _MakeFront(Protocol):
    """Makes the front of one listener."""

    def __call__(self, peer: Peer, *, reads_certificates: bool) -> Front | Http2Server: ...


def _front_of(
    config: Config, endpoints: Sequence[Endpoint], chain: Chain, policy: PolicyInForce, clock: Clock, metrics: Metrics
) -> _MakeFront:
    """Return the configured front; grpc.aio where no HTTP/2 engine is installed."""
    engine = find_engine()[0] if config.front is FrontKind.HTTP2 else None
    gate = Gate(
        clock,
        priority_of=_priority_of,
        caller_of=caller_of(policy, config.trusted_proxies),
        on_refused=partial(_count_refused, metrics),
        on_parked=metrics.connection_parked,
    )

    def make(peer: Peer, *, reads_certificates: bool) -> Front | Http2Server:
        if engine is None:
            return Front(endpoints, chain, clock, record_unexpected, peer=peer, reads_certificates=reads_certificates)
        return Http2Server(
            {endpoint.path: endpoint for endpoint in endpoints},
            chain,
            clock,
            record_unexpected,
            engine,
            peer=peer,
            reads_certificates=reads_certificates,
            gate=gate,
        )

    return make


def _count_refused(metrics: Metrics, path: str) -> None:
    metrics.call_began(path)
    metrics.call_ended(path, Overloaded.code, Overloaded.reason, 0.0)


def _priority_of(path: str) -> Priority:
    """Return what goes first under load: outcomes; then moves of money, tokens and single events; reads; batches."""
    service, _, method = path.rpartition("/")
    if method == "RecordWalletOutcome":
        return Priority.OUTCOME
    if method.startswith(("Batch", "List", "Export")) or method == "SubmitEvents":
        return Priority.BATCH
    first = service.endswith(("WalletService", "TokenService", "Health")) or method == "SubmitEvent"
    return Priority.MONEY if first else Priority.READ


def _endpoints(services: Mapping[ServiceDescriptor, object]) -> list[Endpoint]:
    endpoints = [
        endpoint
        for service, servicer in services.items()
        for endpoint in endpoints_of(servicer, service.methods, service.full_name)
    ]
    return endpoints + reflection_endpoints(service.full_name for service in services)
