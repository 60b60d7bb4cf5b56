"""The gRPC servers: one for GATEWAY_LISTEN, one for each caller's socket, of the front that is configured."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

import grpc

from gateway.config import Listen
from gateway.front.grpc_aio import Front
from gateway.front.http2.server import Http2Server
from gateway.server.assembly.front import Fronts
from gateway.server.listener.bind import bound
from gateway.server.listener.http2 import Http2Listener
from gateway.server.listener.listen import OPTIONS, add_listener
from gateway.server.listener.tls import HandshakeTls, TlsSource
from gateway.server.process.inherited import WorkerSeat


class Server(Protocol):
    """What both fronts' servers have in common."""

    def start(self) -> Awaitable[None]:
        """Accept connections."""
        ...

    def stop(self, grace: float | None, /) -> Awaitable[None]:
        """Take no new calls, let those under way finish for `grace` seconds, then close."""
        ...


def build_servers(listen: Listen, fronts: Fronts, seat: WorkerSeat | None) -> list[Server]:
    """Return the servers, bound to their addresses and not started. Needs a running loop. Raises: ListenFailed.

    Each socket has a server of its own, because grpc does not say through which listener a call came. Args: `seat`: of
    a worker, which shares the port of GATEWAY_LISTEN with the others. Any other gateway does not share its port: two
    gateways with the same port by mistake would each get half of the calls, and answer with their own keys.
    """
    servers = [_server(fronts.listener, listen, fronts.tls, "GATEWAY_LISTEN", seat)]
    for path, front in fronts.sockets.items():
        servers.append(_server(front, Listen(socket_path=path), None, "GATEWAY_SOCKETS", None))
    return servers


def _server(
    front: Front | Http2Server, listen: Listen, tls: TlsSource | None, setting: str, seat: WorkerSeat | None
) -> Server:
    if isinstance(front, Http2Server):
        inherited = None if seat is None else seat.listening_socket()
        return Http2Listener(front, inherited or bound(listen, setting), None if tls is None else HandshakeTls(tls))
    server = grpc.aio.server(options=(*OPTIONS, ("grpc.so_reuseport", int(seat is not None))))
    server.add_generic_rpc_handlers((front,))
    add_listener(server, listen, tls.credentials() if tls is not None else None)
    return server
