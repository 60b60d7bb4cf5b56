"""The listener of the HTTP/2 front: its sockets, its TLS, and the engine that this machine has."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial

from gateway.config import Listen
from gateway.front.http2.engine import Engine, EngineSettings
from gateway.front.http2.server import Http2Server
from gateway.server.listener.listen import SHARES_PORT, ListenFailed
from gateway.server.listener.sockets import SocketRefused, private_socket
from gateway.server.listener.tls import HandshakeTls

BACKLOG = 1024
MAX_STREAMS = 4096


def make_engine() -> Callable[[], Engine] | None:
    """Return what makes an engine: libnghttp2's, else that in Python; None where neither is installed."""
    settings = EngineSettings(max_streams=MAX_STREAMS)
    try:
        from gateway.front.http2.nghttp2_engine import Nghttp2Engine

        return partial(Nghttp2Engine, settings)
    except ImportError:
        try:
            from gateway.front.http2.h2_engine import H2Engine
        except ImportError:
            return None
        return partial(H2Engine, settings)


class Http2Listener:
    """One bound address. `start` accepts connections, `stop` drains them."""

    def __init__(self, server: Http2Server, listen: Listen, tls: HandshakeTls | None) -> None:
        """Bind. Raises: ListenFailed."""
        self._server = server
        self._tls = tls
        self._socket = _bound(listen)

    async def start(self) -> None:
        """Accept connections."""
        await self._server.listen(self._socket, self._tls)

    async def stop(self, grace_s: float | None) -> None:
        """Take no new connections, let calls finish for `grace_s`, then close. Call it again to close at once."""
        if grace_s:
            await self._server.drain(grace_s)
        await self._server.stop()


def _bound(listen: Listen) -> socket.socket:
    if listen.socket_path is not None:
        return _bound_unix(listen)
    try:
        family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        return socket.create_server(
            (listen.host, listen.port), family=family, backlog=BACKLOG, reuse_port=SHARES_PORT in os.environ
        )
    except OSError:
        raise ListenFailed(f"GATEWAY_LISTEN: cannot listen on {listen.target}; is the port in use?") from None


def _bound_unix(listen: Listen) -> socket.socket:
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
        raise ListenFailed(f"GATEWAY_LISTEN or GATEWAY_SOCKETS: {listen.target}: {refused}") from None
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
