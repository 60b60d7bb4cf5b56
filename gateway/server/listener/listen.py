"""The gRPC listener: plaintext on loopback or a private Unix socket, TLS anywhere, and the limits of one connection.

Certificates are `tls.py`'s matter.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import grpc

from gateway.config.model import Listen
from gateway.server.listener.sockets import SocketRefused, private_socket

MAX_REQUEST_BYTES = 4 * 1024 * 1024
MAX_METADATA_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionBounds:
    """How long a client may keep a connection, and how many there may be."""

    idle_s: float = 600.0
    """Without a call for so long, it is closed; clients open another one with their next call."""
    age_s: float = 3600.0
    """So old, it takes no new calls: clients come to new replicas, and show their certificate again."""
    age_grace_s: float = 300.0
    """How long calls and streams of an old one may go on; longer than any call, so that it cuts streams only."""
    handshake_s: float = 10.0
    connections: int = 4096
    """Each holds a file descriptor that calls to Phoenix and the store need too."""


def server_options(bounds: ConnectionBounds) -> tuple[tuple[str, int], ...]:
    """Return what bounds a connection, its streams and their memory. Messages that are too large, compressed ones too,
    and metadata are refused by grpc itself, as RESOURCE_EXHAUSTED without a reason of ours: it has no place for one."""
    return (
        ("grpc.max_connection_idle_ms", round(bounds.idle_s * 1000)),
        ("grpc.max_connection_age_ms", round(bounds.age_s * 1000)),
        ("grpc.max_connection_age_grace_ms", round(bounds.age_grace_s * 1000)),
        ("grpc.server_handshake_timeout_ms", round(bounds.handshake_s * 1000)),
        ("grpc.max_allowed_incoming_connections", bounds.connections),
        *_STREAMS,
    )


_STREAMS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    # The same: between the two limits grpc would refuse some and let others pass, by chance.
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.max_concurrent_streams", 4096),
    # Fixed windows: left to itself, grpc grows them to many megabytes a stream on a fast network, and takes in what
    # nobody has read. A stream that is read no faster than it can be delivered must not fill the memory instead.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 256 * 1024),
    # Calls that arrived and were not begun so far; grpc's own 1,000 would drop a burst that the waiting room takes.
    ("grpc.server.max_pending_requests", 4096),
    ("grpc.server.max_pending_requests_hard_limit", 8192),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_ping_strikes", 5),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)
OPTIONS = server_options(ConnectionBounds())

SHARES_PORT = "PHOENIX_GATEWAY_SHARES_PORT"
"""In the environment of GATEWAY_WORKERS' processes, put there by workers.py. Any other gateway takes its port alone:
two that were given the same one by mistake would each get half of the calls, and answer them with their own keys."""


class ListenFailed(Exception):
    """The address cannot be listened on; the text says which and why."""


def add_listener(server: grpc.aio.Server, listen: Listen, credentials: grpc.ServerCredentials | None) -> int:
    """Bind the server; return the port (0 for a Unix socket). A socket is made for its owner alone.

    Raises: ListenFailed.
    """
    address = listen.target
    try:
        with private_socket(listen.socket_path) if listen.socket_path is not None else nullcontext():
            if credentials is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, credentials)
    except SocketRefused as refused:
        raise ListenFailed(f"GATEWAY_LISTEN or GATEWAY_SOCKETS: {address}: {refused}") from None
    except RuntimeError:
        raise ListenFailed(f"GATEWAY_LISTEN: cannot listen on {address}; is the port in use?") from None
    if port == 0 and listen.socket_path is None:
        raise ListenFailed(f"GATEWAY_LISTEN: cannot listen on {address}; is the port in use?")
    return port
