"""How calls arrive: every method behind the chain, for the listener and for each caller's socket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2

from gateway.actions.shared.call import Peer
from gateway.actions.shared.watch_health import HealthWatch
from gateway.config import Config
from gateway.front.grpc_aio import Endpoint, Front, endpoints_of
from gateway.front.reflection import reflection_endpoints
from gateway.interceptors.call_log import record_unexpected
from gateway.interceptors.chain import Chain
from gateway.interceptors.policy import check_complete
from gateway.interceptors.validation import compile_rules
from gateway.resilience.clock import Clock
from gateway.server.assembly.chain import asks_certificates
from gateway.server.assembly.services import Services
from gateway.server.listener.tls import TlsSource
from gateway.services.health import HealthService
from gateway.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Fronts:
    """`listener` serves GATEWAY_LISTEN, with `tls`; each of `sockets` serves its path, to one caller."""

    listener: Front
    sockets: Mapping[Path, Front]
    tls: TlsSource | None


def build_fronts(
    config: Config,
    services: Services,
    health: HealthWatch,
    chain: Chain,
    clock: Clock,
    metrics: Metrics,
) -> Fronts:
    """Return what the gRPC servers serve.

    Raises: PolicyIncomplete, TlsRefused, protovalidate.CompilationError.
    """
    health_proto: ServiceDescriptor = health_pb2.DESCRIPTOR.services_by_name["Health"]  # type: ignore[assignment]
    all_services = {**services, health_proto: HealthService(health)}
    endpoints = _endpoints(all_services)
    check_complete(endpoint.path for endpoint in endpoints)
    compile_rules(method.input_type for service in all_services for method in service.methods)
    return Fronts(
        listener=Front(endpoints, chain, clock, record_unexpected, reads_certificates=asks_certificates(config)),
        sockets={
            socket.path: Front(endpoints, chain, clock, record_unexpected, peer=Peer(address="", caller=socket.caller))
            for socket in config.sockets
        },
        tls=TlsSource(config.tls, clock, metrics.key_event) if config.tls is not None else None,
    )


def _endpoints(services: Mapping[ServiceDescriptor, object]) -> list[Endpoint]:
    endpoints = [
        endpoint
        for service, servicer in services.items()
        for endpoint in endpoints_of(servicer, service.methods, service.full_name)
    ]
    return endpoints + reflection_endpoints(service.full_name for service in services)
