"""The web console, where GATEWAY_CONSOLE asks for it: what its pages read, and who may look."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.config import Config
from gateway.config.identities import check_dev_token
from gateway.front.dispatch import Dispatch
from gateway.front.endpoint import Endpoint
from gateway.front.worker_peers import WorkerPeers
from gateway.interceptors.call_log import record_unexpected
from gateway.interceptors.chain import Chain
from gateway.interceptors.policy import PolicyInForce
from gateway.resilience.clock import Clock
from gateway.server.assembly.controls import CallControls
from gateway.server.assembly.explain import Explaining
from gateway.server.process.inherited import WorkerSeat
from gateway.server.secret_watch import SecretWatch
from gateway.telemetry.call_history import CallHistory, added
from gateway.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from gateway.console.app import Console


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleParts:
    """The pages, and what keeps the last hour for them."""

    console: Console
    history: CallHistory


def build_console(
    config: Config,
    endpoints: Sequence[Endpoint],
    chain: Chain,
    policy: PolicyInForce,
    controls: CallControls,
    explaining: Explaining,
    secrets: SecretWatch,
    clock: Clock,
    metrics: Metrics,
    seat: WorkerSeat | None,
    readiness: Callable[[], Mapping[str, Any]],
) -> ConsoleParts | None:
    """Return the console, not started yet; None where it is off."""
    if not config.has_console:
        return None
    from gateway.console.app import Console  # not loaded where it is off
    from gateway.console.calls import ConsoleCalls
    from gateway.console.day_reports import DayReports
    from gateway.console.visit import LimitInUse, Sources
    from gateway.console.visitors import Visitors

    history = CallHistory(metrics.call_totals, metrics.queue.waiting, clock.now)
    peers = None if seat is None else WorkerPeers(seat.folder)

    async def ready() -> Mapping[str, Any]:
        return readiness() if peers is None else (await peers.readiness())[1]

    async def last_hour() -> Sequence[Mapping[str, Any]]:
        return added([history.report()] if peers is None else await peers.history())

    def limits() -> list[LimitInUse]:
        now = clock.monotonic()
        return [
            LimitInUse(name=name, limit=limit, value=value, share=share)
            for limiter in controls.limiters
            for name, limit, value, share in limiter.in_use(now)
        ]

    token = None if config.dev_token is None else secrets.follow(config.dev_token, check_dev_token)
    by_path = {endpoint.path: endpoint for endpoint in endpoints}
    console = Console(
        ConsoleCalls(by_path, Dispatch(chain, clock, record_unexpected), clock),
        Sources(
            readiness=ready,
            history=last_hour,
            limits=limits,
            explain=explaining.explain,
            days=DayReports(clock),
            tenants=[one.keys.tenant_id for one in config.tenants],
            operators=[(one.keys.operator_code, one.keys.environment) for one in config.operators],
        ),
        Visitors(
            lambda: policy.callers,
            has_tls=config.tls is not None and not config.admin_listen.is_local,
            dev_token=None if token is None else token.current,
        ),
    )
    return ConsoleParts(console=console, history=history)
