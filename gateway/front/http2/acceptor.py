"""Accepts connections of one bound socket, with TLS where a context is given, and bounds how many there may be."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Any

from gateway.actions.shared.call import Peer
from gateway.front.certificates import peer_of_certificate
from gateway.resilience.supervision import SupervisedTask

_PAUSE_S = 0.1
"""Pause after a failed accept, such as when no file descriptor is free."""
_SOCKET_IS_BROKEN = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP})
"""With these, no later accept works either."""


class Acceptor:
    """Accepts until it is closed. What waits and handshakes count as connections: they hold file descriptors."""

    def __init__(
        self,
        listening: socket.socket,
        context: ssl.SSLContext | None,
        make_protocol: Callable[[], asyncio.Protocol],
        has_room: Callable[[int], bool],
        handshake_s: float,
        wait_s_of: Callable[[object], float] = lambda address: 0.0,
    ) -> None:
        """Args: `has_room` says whether one more connection may be, beside so many handshakes; `wait_s_of` how long a
        connection from an address waits before anything is read of it."""
        self._loop = asyncio.get_running_loop()
        self._socket = listening
        self._context = context
        self._make_protocol = make_protocol
        self._has_room = has_room
        self._handshake_s = handshake_s
        self._wait_s_of = wait_s_of
        self._handshakes: set[asyncio.Task[None]] = set()
        listening.setblocking(False)
        self._accepting = SupervisedTask("connections of the front", self._accept())

    async def _accept(self) -> None:
        while True:
            try:
                accepted, address = await self._loop.sock_accept(self._socket)
            except OSError as error:
                if error.errno in _SOCKET_IS_BROKEN:
                    raise  # the process must end: no caller could connect, and health would say nothing
                await asyncio.sleep(_PAUSE_S)
                continue
            if not self._has_room(len(self._handshakes)):
                accepted.close()
                continue
            opening = self._loop.create_task(self._open(accepted, address))
            self._handshakes.add(opening)
            opening.add_done_callback(self._handshakes.discard)

    async def _open(self, accepted: socket.socket, address: object) -> None:
        """Make the connection, which then belongs to its protocol; a handshake that fails ends here."""
        try:
            if accepted.family != socket.AF_UNIX:
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if wait_s := self._wait_s_of(address):
                await asyncio.sleep(wait_s)
            await self._loop.connect_accepted_socket(
                self._make_protocol,
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=None if self._context is None else self._handshake_s,
            )
        except (OSError, ConnectionError, asyncio.CancelledError):
            accepted.close()

    async def close(self) -> None:
        """Accept nothing more; end what waits and the handshakes."""
        await self._accepting.stop()
        for opening in self._handshakes:
            opening.cancel()
        self._socket.close()


def peer_of(transport: asyncio.BaseTransport, unnamed: Peer, *, reads_certificates: bool) -> Peer | None:
    """Return who is at the other end; None where TLS agreed on another protocol than HTTP/2."""
    secured: Any = transport.get_extra_info("ssl_object")
    if secured is None:
        return unnamed
    if secured.selected_alpn_protocol() != "h2":
        return None
    return peer_of_certificate(secured.getpeercert() or {}) if reads_certificates else unnamed
