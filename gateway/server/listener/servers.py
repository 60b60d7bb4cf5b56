"""The gRPC servers: one for GATEWAY_LISTEN, one for each caller's socket, of the front that is configured."""

from __future__ import annotations

import os
from collections.abc import Awaitable
from typing import Protocol

import grpc

from gateway.config import Listen
from gateway.front.grpc_aio import Front
from gateway.front.http2.server import Http2Server
from gateway.server.assembly.front import Fronts
from gateway.server.listener.http2 import Http2Listener
from gateway.server.listener.listen import OPTIONS, SHARES_PORT, add_listener
from gateway.server.listener.tls import HandshakeTls, TlsSource


class Server(Protocol):
    """What both fronts' servers have in common."""

    def start(self) -> Awaitable[None]:
        """Accept connections."""
        ...

    def stop(self, grace: float | None, /) -> Awaitable[None]:
        """Take no new calls, let those under way finish for `grace` seconds, then close."""
        ...


def build_servers(listen: Listen, fronts: Fronts) -> list[Server]:
    """Return the servers, bound to their addresses and not started. Needs a running loop. Raises: ListenFailed.

    Each socket has a server of its own, because grpc does not say through which listener a call came.
    """
    servers = [_server(fronts.listener, listen, fronts.tls, shares_port=SHARES_PORT in os.environ)]
    for path, front in fronts.sockets.items():
        servers.append(_server(front, Listen(socket_path=path), None, shares_port=False))
    return servers


def _server(front: Front | Http2Server, listen: Listen, tls: TlsSource | None, *, shares_port: bool) -> Server:
    if isinstance(front, Http2Server):
        return Http2Listener(front, listen, None if tls is None else HandshakeTls(tls))
    server = grpc.aio.server(options=(*OPTIONS, ("grpc.so_reuseport", int(shares_port))))
    server.add_generic_rpc_handlers((front,))
    add_listener(server, listen, tls.credentials() if tls is not None else None)
    return server
