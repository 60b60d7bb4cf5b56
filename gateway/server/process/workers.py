"""Runs several processes that share the gRPC port (`GATEWAY_WORKERS`), and stops them together.

Each worker is a whole gateway with its own admin port: the configured port plus the worker's number. If one worker ends
by itself, the others stop too and the exit code is non-zero, so that the service manager restarts all of them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from gateway.config import Listen
from gateway.server.listener.listen import SHARES_PORT
from gateway.telemetry.logs import log

STOP_MARGIN_S = 5.0
"""How long after its drain time a worker that has not stopped is killed."""


async def supervise(workers: int, admin_listens: list[str], drain_s: float) -> int:
    """Run this many workers until a signal arrives or one of them ends; return the exit code.

    Args: `admin_listens`: the admin address of each worker. `drain_s`: how long a worker takes to stop.
    """
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway",
            "serve",
            env={**os.environ, "GATEWAY_WORKERS": "1", "GATEWAY_ADMIN_LISTEN": admin_listens[number], SHARES_PORT: "1"},
        )
        for number in range(workers)
    ]
    log().info("workers started", workers=workers, pid=os.getpid())
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    ends = [asyncio.ensure_future(process.wait()) for process in processes]
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait([*ends, stopping], return_when=asyncio.FIRST_COMPLETED)
    was_signalled = stop.is_set()
    if not was_signalled:
        log().error("a worker ended by itself; stopping the others", workers=workers)
    await _stop(processes, drain_s + STOP_MARGIN_S)
    stopping.cancel()
    codes = [process.returncode or 0 for process in processes]
    return 0 if was_signalled and not any(codes) else 1


def admin_addresses(first: Listen, workers: int) -> list[str]:
    """Return an admin address for each worker: consecutive ports, a free port each, or numbered sockets."""
    if first.socket_path is not None:
        return [f"unix:{first.socket_path}.{number}" for number in range(workers)]
    return [Listen(host=first.host, port=first.port + number if first.port else 0).target for number in range(workers)]


async def _stop(processes: list[asyncio.subprocess.Process], within_s: float) -> None:
    for process in processes:
        if process.returncode is None:
            process.terminate()
    try:
        async with asyncio.timeout(within_s):
            await asyncio.gather(*(process.wait() for process in processes))
    except TimeoutError:
        for process in processes:
            if process.returncode is None:
                process.kill()
        await asyncio.gather(*(process.wait() for process in processes))
