"""The listener of the HTTP/2 front: its socket, its TLS, and the engine that this machine has."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial

from gateway.front.http2.engine import Engine, EngineSettings
from gateway.front.http2.server import Http2Server
from gateway.server.listener.tls import HandshakeTls

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

    def __init__(self, server: Http2Server, listening: socket.socket, tls: HandshakeTls | None) -> None:
        """Args: `listening`: bound; `start` accepts from it."""
        self._server = server
        self._tls = tls
        self._socket = listening

    async def start(self) -> None:
        """Accept connections."""
        await self._server.listen(self._socket, self._tls)

    async def stop(self, grace_s: float | None) -> None:
        """Take no new connections, let calls finish for `grace_s`, then close. Call it again to close at once."""
        if grace_s:
            await self._server.drain(grace_s)
        await self._server.stop()
