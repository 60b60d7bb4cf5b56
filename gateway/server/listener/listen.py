"""Binds a gRPC server to its address, and limits each connection.

Plaintext is for loopback and private Unix sockets; TLS is for any address. `tls.py` reads the certificates.
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
    """A connection without a call for this long is closed. Clients reconnect with their next call."""
    age_s: float = 3600.0
    """A connection of this age takes no new calls, so that clients find new replicas and authenticate again."""
    age_grace_s: float = 300.0
    """How long calls and streams of such a connection may continue; longer than any call, so it only cuts streams."""
    handshake_s: float = 10.0
    connections: int = 4096
    """Each uses a file descriptor, which calls to Phoenix and the store need too."""


def server_options(bounds: ConnectionBounds) -> tuple[tuple[str, int], ...]:
    """Return the options that limit a connection, its streams and their memory.

    grpc itself refuses messages and metadata that are too large, with RESOURCE_EXHAUSTED and without a reason of ours.
    """
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
    # The same value: between two different limits grpc refuses metadata at random.
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.max_concurrent_streams", 4096),
    # Fixed windows: by default grpc grows them to many megabytes a stream on a fast network, and buffers messages that
    # are not read yet. A stream that arrives faster than its events can be delivered must not fill the memory.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 256 * 1024),
    # Calls that have arrived and not started. grpc's default of 1,000 would drop a burst that the gateway can hold.
    ("grpc.server.max_pending_requests", 4096),
    ("grpc.server.max_pending_requests_hard_limit", 8192),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_ping_strikes", 5),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)
OPTIONS = server_options(ConnectionBounds())


class ListenFailed(Exception):
    """The gateway cannot listen on an address; the text says which and why."""


def add_listener(server: grpc.aio.Server, listen: Listen, credentials: grpc.ServerCredentials | None) -> int:
    """Bind the server; return the port (0 for a Unix socket). Only its owner can open the socket.

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
