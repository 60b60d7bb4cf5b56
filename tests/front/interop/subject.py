"""The process that interop clients call: TestService on both fronts and both engines, each on three transports.

`python -m tests.front.interop.subject FOLDER` listens with the certificates in FOLDER, prints its addresses as one
line of JSON and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from gateway.actions.shared.call import Call
from gateway.config.model import Listen, TlsFiles
from gateway.front.endpoint import Endpoint
from gateway.front.grpc_aio import Front
from gateway.front.http2.engine import Engine, EngineSettings
from gateway.front.http2.engines import MAX_STREAMS
from gateway.front.http2.server import Http2Server
from gateway.interceptors.chain import Chain
from gateway.resilience.clock import SystemClock
from gateway.server.listener.bind import bound
from gateway.server.listener.http2 import Http2Listener
from gateway.server.listener.listen import OPTIONS, add_listener
from gateway.server.listener.tls import HandshakeTls, TlsSource
from tests.front.interop.echoing_engine import EchoingH2, EchoingNghttp2
from tests.front.interop.service import endpoints
from tests.ports import free_port

TRANSPORTS = ("plaintext", "mtls", "unix")
ENGINES: dict[str, Callable[[EngineSettings], Engine]] = {"nghttp2": EchoingNghttp2, "h2": EchoingH2}
FRONTS = ("grpc", *ENGINES)
CLOCK = SystemClock()


def _unexpected(call: Call, error: BaseException) -> None:
    print(call.method, repr(error), file=sys.stderr, flush=True)


async def serve(front: str, served: list[Endpoint], listen: Listen, tls: TlsSource | None) -> Any:
    """Start one listener with the gateway's own options."""
    if front == "grpc":
        server = grpc.aio.server(options=OPTIONS)
        server.add_generic_rpc_handlers((Front(served, Chain([]), CLOCK, _unexpected),))
        add_listener(server, listen, tls.credentials() if tls is not None else None)
        await server.start()
        return server
    http2 = Http2Server(
        {one.path: one for one in served},
        Chain([]),
        CLOCK,
        _unexpected,
        lambda: ENGINES[front](EngineSettings(max_streams=MAX_STREAMS)),
    )
    listener = Http2Listener(http2, bound(listen, "GATEWAY_LISTEN"), HandshakeTls(tls) if tls is not None else None)
    await listener.start()
    return listener


async def main(folder: Path) -> None:
    """Serve until the standard input ends."""
    files = TlsFiles(cert_file=folder / "server.pem", key_file=folder / "server.key", client_ca_file=folder / "ca.pem")
    served, addresses, servers = endpoints(), dict[str, dict[str, str]](), []
    for front in FRONTS:
        of_front = addresses[front] = {}
        for transport in TRANSPORTS:
            if transport == "unix":
                listen = Listen(socket_path=folder / "sockets" / f"{front}.sock")
            else:
                listen = Listen(host="127.0.0.1", port=free_port())
            source = TlsSource(files, CLOCK, lambda event: None) if transport == "mtls" else None
            servers.append(await serve(front, served, listen, source))
            of_front[transport] = listen.target
    print(json.dumps(addresses), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for server in servers:
        await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
