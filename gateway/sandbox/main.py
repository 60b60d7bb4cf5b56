"""Starts the sandbox: five listeners in one process, the ready file, the end by signal."""

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.sandbox.options import SandboxOptions, is_loopback

if TYPE_CHECKING:
    import ssl

    from gateway.sandbox.wire import Surface
    from gateway.sandbox.world import World

SURFACES = ("ingestion", "admin", "query", "prediction", "control")


def run(options: SandboxOptions) -> int:
    """Serve until SIGTERM or SIGINT, then stop at once; return 0, or 1 when a listener cannot be opened.

    When serving, prints one JSON line with all URLs on stdout and writes the same to `options.ready_file`.
    """
    try:
        asyncio.run(_serve(options))
    except OSError as failed:
        print(f"sandbox: cannot listen: {failed.strerror or type(failed).__name__}", file=sys.stderr)
        return 1
    return 0


async def _serve(options: SandboxOptions) -> None:
    from gateway.sandbox.front import Front
    from gateway.sandbox.world import World

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    world = World(options)
    tls = _tls(options)
    ports: dict[str, int] = {}
    listeners: list[asyncio.Server] = []
    fronts: list[Front] = []
    try:
        for index, surface in enumerate(_surfaces(world)):
            front = Front(world, surface)
            is_control = surface.name == "control"
            host = "127.0.0.1" if is_control else options.host
            port = options.port_base + index if options.port_base else 0
            listener = await loop.create_server(
                front.protocol, host, port, ssl=None if is_control else tls, backlog=1024, family=_family(host)
            )
            fronts.append(front)
            listeners.append(listener)
            ports[surface.name] = listener.sockets[0].getsockname()[1]
        _announce(_urls(options, ports), options.ready_file)
        await stop.wait()
    finally:
        for listener in listeners:
            listener.close()
        for front in fronts:
            await front.close()


def _surfaces(world: "World") -> list["Surface"]:
    from gateway.sandbox.admin import Admin
    from gateway.sandbox.control import Control
    from gateway.sandbox.control_credentials import credential_routes
    from gateway.sandbox.control_prediction import prediction_routes
    from gateway.sandbox.ingestion import Ingestion
    from gateway.sandbox.live import Live
    from gateway.sandbox.prediction import Prediction
    from gateway.sandbox.query import Query
    from gateway.sandbox.wire import Surface

    prediction = Prediction(world)
    live = Live(world)
    return [
        Surface(name="ingestion", act=Ingestion(world).act),
        Surface(name="admin", act=Admin(world).act),
        Surface(name="query", act=Query(world).act, live=live),
        Surface(name="prediction", act=prediction.act, on_arrival=prediction.arrived),
        Surface(
            name="control",
            act=Control(
                world, {**prediction_routes(world), **credential_routes(world), ("POST", "/sockets"): live.control}
            ).act,
            recorded=False,
        ),
    ]


def _tls(options: SandboxOptions) -> "ssl.SSLContext | None":
    if options.tls_cert is None or options.tls_key is None:
        if not is_loopback(options.host):
            raise OSError("an address other than loopback needs TLS")
        return None
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options.tls_cert, options.tls_key)
    return context


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET  # one socket each, so that port 0 means one port


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


def _announce(told: dict[str, Any], ready_file: Path | None) -> None:
    line = json.dumps(told)
    if ready_file is not None:
        descriptor, name = tempfile.mkstemp(dir=ready_file.parent, prefix=".ready-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(line + "\n")
        os.replace(name, ready_file)
    print(line, flush=True)
