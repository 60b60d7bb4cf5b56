"""The gRPC servers: one for GATEWAY_LISTEN, one for each caller's socket."""

from __future__ import annotations

import os

import grpc

from gateway.config import Listen
from gateway.server.assembly.front import Fronts
from gateway.server.listener.listen import OPTIONS, SHARES_PORT, add_listener


def build_servers(listen: Listen, fronts: Fronts) -> list[grpc.aio.Server]:
    """Return the servers, bound to their addresses and not started. Needs a running loop. Raises: ListenFailed.

    Each socket has a server of its own, because grpc does not say through which listener a call came.
    """
    server = grpc.aio.server(options=(*OPTIONS, ("grpc.so_reuseport", int(SHARES_PORT in os.environ))))
    server.add_generic_rpc_handlers((fronts.listener,))
    add_listener(server, listen, fronts.tls.credentials() if fronts.tls is not None else None)
    servers = [server]
    for path, front in fronts.sockets.items():
        own = grpc.aio.server(options=OPTIONS)
        own.add_generic_rpc_handlers((front,))
        add_listener(own, Listen(socket_path=path), None)
        servers.append(own)
    return servers
