"""The listener of the HTTP/2 front: its socket and its TLS."""

from __future__ import annotations

import socket

from gateway.front.http2.server import Http2Server
from gateway.server.listener.tls import HandshakeTls


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
