"""The gRPC listener: plaintext on loopback or a Unix socket, TLS anywhere, and the limits of one connection."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from gateway.config.model import TlsFiles

MAX_REQUEST_BYTES = 4 * 1024 * 1024
MAX_METADATA_BYTES = 16 * 1024

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
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

SHARES_PORT = "PHOENIX_GATEWAY_SHARES_PORT"
"""In the environment of GATEWAY_WORKERS' processes, put there by workers.py. Any other gateway takes its port alone:
two that were given the same one by mistake would each get half of the calls, and answer them with their own keys."""


class ListenFailed(Exception):
    """The address cannot be listened on; the text says which and why."""


def add_listener(server: grpc.aio.Server, address: str, tls: TlsFiles | None) -> int:
    """Bind the server; return the port (0 for a Unix socket). Raises: ListenFailed."""
    try:
        if tls is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, _credentials(tls))
    except RuntimeError:
        raise ListenFailed(f"GATEWAY_LISTEN: cannot listen on {address}; is the port in use?") from None
    if port == 0 and not address.startswith("unix:"):
        raise ListenFailed(f"GATEWAY_LISTEN: cannot listen on {address}; is the port in use?")
    return port


def _credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    """Return credentials that are read again when their files changed; while they cannot be read, the old ones stay."""
    current = _read(tls)
    stamps = _stamps(tls)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal stamps
        seen = _stamps(tls)
        if seen == stamps:
            return None
        stamps = seen
        try:
            return _read(tls)
        except OSError:
            return None

    return grpc.dynamic_ssl_server_credentials(
        current,
        fetch,  # type: ignore[arg-type]  # None means unchanged; the stubs do not know it
        require_client_authentication=tls.client_ca_file is not None,
    )


def _read(tls: TlsFiles) -> grpc.ServerCertificateConfiguration:
    pair = (tls.key_file.read_bytes(), tls.cert_file.read_bytes())
    roots = tls.client_ca_file.read_bytes() if tls.client_ca_file is not None else None
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=roots)


def _stamps(tls: TlsFiles) -> tuple[tuple[int, int] | None, ...]:
    return tuple(_stamp(path) for path in (tls.cert_file, tls.key_file, tls.client_ca_file) if path is not None)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ino)


def admin_tls(tls: TlsFiles) -> ssl.SSLContext:
    """Return the TLS of an admin port off loopback: the same certificates that callers meet."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.cert_file, tls.key_file)
    if tls.client_ca_file is not None:
        context.load_verify_locations(tls.client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
