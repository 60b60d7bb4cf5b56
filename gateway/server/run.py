"""Starts a gateway, waits for the signal to stop, and stops it in the reverse order of its start."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

import grpc

from gateway.config import Config
from gateway.config.model import Listen
from gateway.core.rights import LOCAL_CALLER
from gateway.resilience.clock import Clock, SystemClock
from gateway.resilience.supervision import SupervisedTask
from gateway.server.build import Gateway, build
from gateway.server.listen import OPTIONS, SHARES_PORT, add_listener
from gateway.server.shutdown import Shutdown
from gateway.server.threads import patient_threads
from gateway.server.workers import supervise
from gateway.telemetry import logs


def run(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    Raises: ListenFailed, AdminAddressRefused and what `build` raises, before anything is served.
    """
    logs.configure(config.log_level.value, config.log_format_name)
    logs.report_uncaught()
    for warning in config.warnings:
        logs.log().warning("setting", setting=warning.setting, trouble=warning.problem, advice=warning.remedy)
    if config.workers > 1:
        return asyncio.run(supervise(config.workers, _admin_listens(config.admin_listen, config.workers)))
    code: int = _runner()(serve(config, SystemClock()))
    return code


async def serve(config: Config, clock: Clock) -> int:
    """Start everything, wait, drain, stop; return the exit code. Cancelling it stops at once."""
    shutdown = Shutdown()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(shutdown.on_loop_exception)
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, shutdown.request)
    async with AsyncExitStack() as stack:
        stack.enter_context(logs.gathered(loop.call_later))
        with patient_threads():
            gateway = build(config, clock)
            server = grpc.aio.server(options=(*OPTIONS, ("grpc.so_reuseport", int(SHARES_PORT in os.environ))))
            server.add_generic_rpc_handlers((gateway.front,))
            add_listener(server, config.listen, gateway.tls.credentials() if gateway.tls is not None else None)
            servers = [server, *_socket_servers(gateway)]
            await _start(gateway, stack)
            for one in servers:
                await one.start()
        _settle()
        for one in servers:
            stack.push_async_callback(one.stop, 0)
        if not config.callers.is_configured:
            logs.log().warning("no policy: every process on this machine may do everything", caller=LOCAL_CALLER)
        logs.log().info(
            "serving",
            address=config.listen.target,
            admin_address=gateway.admin.address,
            store="postgresql" if config.database_url is not None else "sqlite",
            cache="redis" if config.redis is not None else "process",
            pid=os.getpid(),
        )
        await shutdown.wait()
        drain_s = shutdown.drain_s
        logs.log().info("draining", drain_s=drain_s)
        gateway.health.drain()
        gateway.hub.drain()
        gateway.intake.drain()
        gateway.durable.tending.drain()
        await asyncio.gather(*(one.stop(drain_s) for one in servers))
    logs.log().info("stopped", pid=os.getpid())
    return shutdown.exit_code


def _socket_servers(gateway: Gateway) -> list[grpc.aio.Server]:
    """Return a server for each caller's socket: grpc does not tell of a call by which listener it came."""
    servers = []
    for path, front in gateway.sockets.items():
        server = grpc.aio.server(options=OPTIONS)
        server.add_generic_rpc_handlers((front,))
        add_listener(server, Listen(socket_path=path), None)
        servers.append(server)
    return servers


async def _start(gateway: Gateway, stack: AsyncExitStack) -> None:
    """Start the rooms in their order; the stack stops them backwards."""
    stack.push_async_callback(gateway.transport.close)
    if gateway.redis is not None:
        stack.push_async_callback(gateway.redis.close)
        await gateway.redis.start()
    if gateway.key_redis is not None:
        stack.push_async_callback(gateway.key_redis.close)
        await gateway.key_redis.start()
    stack.push_async_callback(gateway.reads.close)
    stack.push_async_callback(gateway.realtime.close)
    stack.push_async_callback(gateway.hub.close)
    stack.push_async_callback(gateway.guards.stop)
    await gateway.guards.start()
    _background(stack, "kill-switches", gateway.guards.watch.run())
    _background(stack, "policy-limits", gateway.guards.follow_policy())
    if gateway.guards.sharing is not None:
        _background(stack, "limit-sharing", gateway.guards.sharing.run())
    await gateway.store.start()
    stack.push_async_callback(gateway.store.stop)
    gateway.durable.store.start()
    stack.push_async_callback(gateway.durable.store.stop)
    gateway.durable.tending.start()
    stack.push_async_callback(gateway.durable.tending.stop)
    stack.push_async_callback(gateway.sequencer.stop)
    _background(stack, "evidence-chain", gateway.sequencer.run())
    for keys in gateway.platform_keys:
        stack.push_async_callback(keys.stop)
        _background(stack, "platform-key-refresh", keys.run())
    await gateway.keyring.settle()
    _background(stack, "key-files", gateway.keyring.watch())
    _background(stack, "policy-file", gateway.policy_watch.run())
    if gateway.admin_tls is not None:
        _background(stack, "admin-tls-files", gateway.admin_tls.run())
    _background(stack, "health", gateway.health.run())
    await gateway.channelz.start()
    stack.push_async_callback(gateway.channelz.stop)
    await gateway.admin.start()
    stack.push_async_callback(gateway.admin.stop)


def _background(stack: AsyncExitStack, name: str, work: Coroutine[Any, Any, None]) -> None:
    stack.push_async_callback(SupervisedTask(name, work).stop)


def _settle() -> None:
    """Leave what a start has made out of later collections: they walk only what calls make, and pause less."""
    gc.collect()
    gc.freeze()


def _admin_listens(first: Listen, workers: int) -> list[str]:
    """Return an admin address for each worker: the next ports, a free one each, or sockets with a number behind."""
    if first.socket_path is not None:
        return [f"unix:{first.socket_path}.{number}" for number in range(workers)]
    return [Listen(host=first.host, port=first.port + number if first.port else 0).target for number in range(workers)]


def _runner() -> Any:
    """uvloop serves about a fifth more calls a second; where it is not installed, asyncio's own loop serves as well."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run
