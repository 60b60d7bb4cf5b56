"""Starts and stops the sandbox: five listeners in one process, and the ready file."""

import asyncio
import json
import os
import signal
import socket
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.sandbox.admin import AdminHost
from gateway.sandbox.control import SURFACES as FAULT_SURFACES
from gateway.sandbox.control import Control
from gateway.sandbox.control_credentials import credential_routes
from gateway.sandbox.control_prediction import prediction_routes
from gateway.sandbox.http_server import HttpServer
from gateway.sandbox.http_types import Surface
from gateway.sandbox.ingestion import IngestionHost
from gateway.sandbox.options import SandboxOptions, is_loopback
from gateway.sandbox.prediction import PredictionHost
from gateway.sandbox.query import QueryHost
from gateway.sandbox.state import SandboxState
from gateway.sandbox.websocket import LiveSockets

SURFACES = ("ingestion", "admin", "query", "prediction", "control")


def run(options: SandboxOptions) -> int:
    """Serve until SIGTERM or SIGINT, then stop at once. Return 0, or 1 if a listener cannot be opened.

    Once all listeners are open, the sandbox prints one JSON line with all URLs to stdout and writes the same line to
    `options.ready_file`.
    """
    try:
        asyncio.run(_serve(options))
    except OSError as failed:
        print(f"sandbox: cannot open a listener: {failed.strerror or type(failed).__name__}", file=sys.stderr)
        return 1
    return 0


async def _serve(options: SandboxOptions) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(options) as ready:
        _write_ready_line(ready, options.ready_file)
        await stop.wait()


@asynccontextmanager
async def serving(options: SandboxOptions, faults: Sequence[dict[str, Any]] = ()) -> AsyncIterator[dict[str, Any]]:
    """Serve during the block, and yield the URLs. Raises: OSError; InvalidControlRequest for a fault.

    Args: `faults`: as the control route takes them.
    """
    loop = asyncio.get_running_loop()
    state = SandboxState(options)
    for fault in faults:
        state.faults.add(fault, FAULT_SURFACES)
    tls = _tls(options)
    ports: dict[str, int] = {}
    listeners: list[asyncio.Server] = []
    servers: list[HttpServer] = []
    try:
        for index, surface in enumerate(_surfaces(state)):
            server = HttpServer(state, surface)
            is_control = surface.name == "control"
            host = "127.0.0.1" if is_control else options.host
            port = options.port_base + index if options.port_base else 0
            listener = await loop.create_server(
                server.protocol, host, port, ssl=None if is_control else tls, backlog=1024, family=_family(host)
            )
            servers.append(server)
            listeners.append(listener)
            ports[surface.name] = listener.sockets[0].getsockname()[1]
        yield _urls(options, ports)
    finally:
        for listener in listeners:
            listener.close()
        for server in servers:
            await server.close()


def _surfaces(state: SandboxState) -> list[Surface]:
    prediction = PredictionHost(state)
    live = LiveSockets(state)
    return [
        Surface(name="ingestion", handle=IngestionHost(state).handle),
        Surface(name="admin", handle=AdminHost(state).handle),
        Surface(name="query", handle=QueryHost(state).handle, live=live),
        Surface(name="prediction", handle=prediction.handle, on_arrival=prediction.on_arrival),
        Surface(
            name="control",
            handle=Control(
                state, {**prediction_routes(state), **credential_routes(state), ("POST", "/sockets"): live.configure}
            ).handle,
            recorded=False,
        ),
    ]


def _tls(options: SandboxOptions) -> ssl.SSLContext | None:
    if options.tls_cert is None or options.tls_key is None:
        if not is_loopback(options.host):
            raise OSError("an address that is not loopback needs TLS")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options.tls_cert, options.tls_key)
    return context


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET  # one address family, so that port 0 gives one port


def _urls(options: SandboxOptions, ports: dict[str, int]) -> dict[str, Any]:
    host = {"0.0.0.0": "localhost", "::": "localhost"}.get(options.host, options.host)
    shown = f"[{host}]" if ":" in host else host
    scheme = "https" if options.tls_cert else "http"
    urls = {name: f"{scheme}://{shown}:{ports[name]}" for name in SURFACES if name != "control"}
    return {
        "ready": True,
        "ingestion": urls["ingestion"],
        "admin": urls["admin"],
        "query": urls["query"],
        "websocket": urls["query"].replace("http", "ws", 1) + "/ws",
        "prediction": urls["prediction"],
        "embed": urls["prediction"],
        "control": f"http://127.0.0.1:{ports['control']}",
        "pid": os.getpid(),
    }


def _write_ready_line(ready: dict[str, Any], ready_file: Path | None) -> None:
    line = json.dumps(ready)
    if ready_file is not None:
        descriptor, name = tempfile.mkstemp(dir=ready_file.parent, prefix=".ready-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(line + "\n")
        os.replace(name, ready_file)
    print(line, flush=True)
