"""Binds listening sockets: TCP, or Unix sockets that only their owner can open."""

from __future__ import annotations

import os
import socket

from gateway.config.model import Listen
from gateway.server.listener.listen import ListenFailed
from gateway.server.listener.sockets import SocketRefused, private_socket

BACKLOG = 1024


def bound(listen: Listen, setting: str, *, shares_port: bool = False) -> socket.socket:
    """Return a socket that listens. Args: `setting`: named in the error. Raises: ListenFailed."""
    if listen.socket_path is not None:
        return _bound_unix(listen, setting)
    try:
        family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        return socket.create_server((listen.host, listen.port), family=family, backlog=BACKLOG, reuse_port=shares_port)
    except OSError:
        raise ListenFailed(f"{setting}: cannot listen on {listen.target}; is the port in use?") from None


def _bound_unix(listen: Listen, setting: str) -> socket.socket:
    path = listen.socket_path
    assert path is not None
    made = socket.socket(socket.AF_UNIX)
    try:
        with private_socket(path):
            _remove_stale(path.as_posix())
            made.bind(path.as_posix())
        made.listen(BACKLOG)
    except (SocketRefused, OSError) as refused:
        made.close()
        raise ListenFailed(f"{setting}: {listen.target}: {refused}") from None
    return made


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on any more. Raises: OSError when another process does."""
    if not os.path.exists(path):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise OSError("another process listens on this socket; stop it or name another path")
