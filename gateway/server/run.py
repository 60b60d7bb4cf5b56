"""Runs a gateway: starts it, waits until it has to stop, lets the calls in flight finish, stops it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack, nullcontext
from functools import partial
from typing import Any

from gateway.config import Config, FrontKind
from gateway.core.rights import LOCAL_CALLER
from gateway.resilience.clock import Clock, SystemClock
from gateway.server.assembly.build import Gateway, build
from gateway.server.lifecycle import running
from gateway.server.listener.seats import seats_of
from gateway.server.parts import parts_of
from gateway.server.process.collector import set_up_collector
from gateway.server.process.inherited import WorkerSeat, own_seat
from gateway.server.process.threads import patient_threads
from gateway.server.process.workers import Workers
from gateway.server.servers import build_servers
from gateway.server.shutdown import Shutdown
from gateway.store.upgrade import Upgrade
from gateway.telemetry import logs
from gateway.telemetry.audit_file import check_inherited, inherited_descriptor

_DATABASE_WITHIN_S = 3.0
_GOAWAY_FIRST_S = 0.2
"""Streams end so long after the servers begin to stop. A client that hears of that before GOAWAY opens its stream again
at once, on the same connection. One that checks health, and had no delay, takes the address for dead: its calls fail
for a second, though the next worker serves there."""


def run(config: Config, upgrade: Upgrade | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    Args: `upgrade`: of a SQLite file. It has begun.
    Raises: ListenFailed, AdminAddressRefused, OSError and what `build` raises, before anything is served.
    """
    logs.configure(config.log_level.value, config.log_format_name)
    logs.report_uncaught()
    for warning in config.warnings:
        logs.log().warning("setting", setting=warning.setting, trouble=warning.problem, advice=warning.remedy)
    audit_to = None if config.audit is None else config.audit.file
    if audit_to is not None:
        check_inherited(audit_to)
    if config.workers > 1:
        inherited = None if audit_to is None else inherited_descriptor(audit_to)
        with seats_of(config) as seats:
            return asyncio.run(Workers(seats, config.drain.timeout_s, hands_on=inherited).run())
    code: int = _runner()(serve(config, SystemClock(), own_seat(), upgrade))
    return code


async def serve(
    config: Config,
    clock: Clock,
    seat: WorkerSeat | None = None,
    upgrade: Upgrade | None = None,
    *,
    on_serving: Callable[[], None] = lambda: None,
) -> int:
    """Start everything, wait, drain, stop; return the exit code. Cancelling it stops at once.

    Args: `seat`: this process's place among the workers of GATEWAY_WORKERS. `upgrade`: of a SQLite file. `on_serving`
    is called when it serves.
    """
    shutdown = Shutdown(config.drain)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(shutdown.on_loop_exception)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, shutdown.request, number)
    if seat is not None:
        seat.when_parent_ends(loop.add_reader, partial(shutdown.request, signal.SIGTERM))
    async with AsyncExitStack() as stack:
        stack.enter_context(logs.gathered(loop.call_later))
        with patient_threads() if config.front is FrontKind.GRPC else nullcontext():
            gateway = build(config, clock, seat)
            servers = build_servers(config.listen, gateway.fronts, seat)
            if upgrade is not None:
                await upgrade.finished()
            await gateway.database.check_usable(_DATABASE_WITHIN_S)
            await stack.enter_async_context(running(parts_of(gateway, servers)))
        set_up_collector()
        _log_serving(config, gateway)
        on_serving()
        await shutdown.wait()
        logs.log().info("draining", delay_s=config.drain.delay_s, timeout_s=config.drain.timeout_s)
        if not shutdown.omits_delay:
            gateway.health.drain()  # not ready, and still accepting
            await shutdown.wait_delay()
        await asyncio.gather(
            *(server.stop(shutdown.grace_s) for server in servers),
            _end_streams(gateway),
        )
    logs.log().info("stopped", pid=os.getpid())
    return shutdown.exit_code


def _log_serving(config: Config, gateway: Gateway) -> None:
    if not config.callers.is_configured:
        logs.log().warning("no policy: every process on this machine may do everything", caller=LOCAL_CALLER)
    logs.log().info(
        "serving",
        address=config.listen.target,
        admin_address=gateway.admin_port.server.address,
        store="postgresql" if config.database_url is not None else "sqlite",
        cache="redis" if config.redis is not None else "process",
        pid=os.getpid(),
    )


async def _end_streams(gateway: Gateway) -> None:
    """End what has no end of its own: watchers of health and boards, event streams, the queue's deliveries."""
    await asyncio.sleep(_GOAWAY_FIRST_S)
    gateway.health.drain()
    gateway.health.end_streams()
    gateway.boards.hub.drain()
    gateway.events.streams.drain()
    gateway.events.worker.drain()


def _runner() -> Any:
    """Return uvloop's runner, which serves about a fifth more calls a second, or asyncio's where uvloop is missing."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run
