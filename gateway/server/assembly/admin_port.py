"""The admin port: health, metrics, public keys and channelz for the people who run the gateway."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from gateway.actions.shared.watch_health import HealthWatch
from gateway.cache.client import RedisCache
from gateway.config import Config
from gateway.config.model import AdminClientAuth, FrontKind
from gateway.front.admin import AdminServer
from gateway.front.channelz import channelz_page, other_front_page
from gateway.front.worker_peers import WorkerPeers
from gateway.keys.own.keyring import Keyring
from gateway.resilience.clock import Clock
from gateway.resilience.clock_steps import ClockSteps
from gateway.server.assembly.console import ConsoleParts
from gateway.server.assembly.controls import CallControls
from gateway.server.assembly.explain import Explaining
from gateway.server.assembly.keys import published_keys
from gateway.server.assembly.wallet import Wallet
from gateway.server.listener.tls import AdminTls
from gateway.server.process.inherited import WorkerSeat
from gateway.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminPort:
    """`tls` is None where the port is local or plaintext. `worker` answers for one worker among several.

    `console`: None where it is off.
    """

    server: AdminServer
    worker: AdminServer | None
    tls: AdminTls | None
    console: ConsoleParts | None


def build_admin_port(
    config: Config,
    health: HealthWatch,
    wallet: Wallet,
    keyring: Keyring,
    controls: CallControls,
    redis: RedisCache | None,
    explaining: Explaining,
    make_console: Callable[[Callable[[], Mapping[str, Any]]], ConsoleParts | None],
    clock: Clock,
    steps: ClockSteps,
    metrics: Metrics,
    seat: WorkerSeat | None,
) -> AdminPort:
    """Return the port, which does not listen yet. Raises: AdminAddressRefused, TlsRefused."""
    tls: AdminTls | None = None
    if config.tls is not None and not config.admin_listen.is_local:
        tls = AdminTls(config.tls, clock, config.admin_client_auth)

    def degraded() -> dict[str, str]:
        """Return what calls do without now, and what may be wrong with them."""
        fault = None if redis is None else redis.fault
        found = {"redis": None if fault is None else fault.kind.value, "clock_steps": steps.trouble()}
        outages = {str(one.reference): one.outage for one in config.secret_stores.all() if one.outage}
        return {
            **health.degraded(),
            **{part: trouble for part, trouble in found.items() if trouble is not None},
            **outages,
            **keyring.store_outages(),
        }

    def report() -> Mapping[str, Any]:
        """Return what /readyz says of this process."""
        return {**health.readiness(), "switched_off": controls.switched_off(), "degraded": degraded()}

    console = make_console(report)
    own = partial(
        AdminServer,
        metrics=metrics,
        is_live=lambda: True,
        is_ready=health.readiness,
        what_is_off=controls.switched_off,
        degraded=degraded,
        has_traces=config.traces is not None,
        channelz=channelz_page if config.front is FrontKind.GRPC else other_front_page,
    )
    server = own(
        config.admin_listen.target,
        allow_remote=config.tls is not None,
        listening=None if seat is None else seat.admin_socket(),
        peers=None if seat is None else WorkerPeers(seat.folder),
        explain=explaining.explain,
        console=None if console is None else console.console,
        pages=[published_keys(config, keyring).page],
        evidence_head=wallet.read_head,
        tls=tls.context if tls is not None else None,
        asks_certificates=tls is not None
        and config.tls is not None
        and config.tls.client_ca_file is not None
        and config.admin_client_auth is not AdminClientAuth.NONE,
    )
    history = None if console is None else console.history
    worker = None
    if seat is not None:
        worker = own(
            f"unix:{seat.socket_path}",
            explain=explaining.explain_here,
            history=None if history is None else history.report,
        )
    return AdminPort(server=server, worker=worker, tls=tls, console=console)
