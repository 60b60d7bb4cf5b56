"""Two protocols on one port: a connection that opens with HTTP/2's preface goes to a gRPC server, any other to HTTP/1.

The gRPC server listens on a Unix socket of its own and gets the bytes as they are. Every connection ends after a fixed
time, whatever its client does. Knows nothing of what either of them serves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from gateway.resilience.supervision import run_job

PREFACE = b"PRI * HTTP/2.0"
"""How every HTTP/2 connection without TLS begins (RFC 9113, 3.4); no HTTP/1 request line can."""

GRPC_CONNECTION_S = 300.0
"""Longest life of a gRPC connection: idle ones would use the port's connections up."""

_HIGH_WATER_BYTES = 256 * 1024


class PortSharing:
    """Makes the protocol of each connection that a listener accepts, and knows all that are open."""

    def __init__(
        self,
        *,
        http: Callable[[], asyncio.Protocol],
        grpc_socket: str | None,
        http_s: float,
        max_connections: int,
    ) -> None:
        """Args: `http` makes the protocol of an HTTP connection, which also refuses HTTP/2 if `grpc_socket` is None."""
        self._http = http
        self._grpc_socket = grpc_socket
        self._http_s = http_s
        self._max_connections = max_connections
        self._open: dict[asyncio.Transport, asyncio.TimerHandle] = {}
        self._pipes: set[asyncio.Task[None]] = set()

    def connection(self) -> asyncio.Protocol:
        """Return the protocol of a new connection: for `loop.create_server`."""
        return _Opening(self)

    async def close(self) -> None:
        """Cut every connection that is still open."""
        pipes = list(self._pipes)
        for pipe in pipes:
            pipe.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)
        for transport in list(self._open):
            transport.abort()
            self.closed(transport)

    def opened(self, transport: asyncio.Transport) -> bool:
        """Take note of a connection; False, and closed, when there are too many."""
        # A connection that HTTP closed tells HTTP so and not us: look which ones are over.
        for gone in [one for one in self._open if one.is_closing()]:
            self.closed(gone)
        if len(self._open) >= self._max_connections:
            transport.abort()
            return False
        # Through abort, so that a reader who does not read cannot hold it open.
        timer = asyncio.get_running_loop().call_later(self._http_s, self._expired, transport)
        self._open[transport] = timer
        return True

    def closed(self, transport: asyncio.Transport) -> None:
        """Forget a connection."""
        timer = self._open.pop(transport, None)
        if timer is not None:
            timer.cancel()

    def decide(self, transport: asyncio.Transport, first: bytes) -> bool:
        """Hand a connection on by its first bytes; False while they are too few to tell."""
        if self._grpc_socket is not None:
            if first.startswith(PREFACE):
                self._pipe(transport, first, self._grpc_socket)
                return True
            if PREFACE.startswith(first):
                return False
        protocol = self._http()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(first)
        return True

    def _expired(self, transport: asyncio.Transport) -> None:
        self._open.pop(transport, None)
        transport.abort()

    def _pipe(self, transport: asyncio.Transport, first: bytes, socket_path: str) -> None:
        loop = asyncio.get_running_loop()
        self._open[transport].cancel()
        self._open[transport] = loop.call_later(GRPC_CONNECTION_S, self._expired, transport)
        reader = asyncio.StreamReader(limit=_HIGH_WATER_BYTES, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(first)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        pipe = run_job("channelz-connection", self._run_pipe(reader, writer, socket_path))
        self._pipes.add(pipe)
        pipe.add_done_callback(self._pipes.discard)

    async def _run_pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, socket_path: str) -> None:
        """Carry bytes both ways until either side ends."""
        transport = cast(asyncio.Transport, writer.transport)
        try:
            inner_reader, inner_writer = await asyncio.open_unix_connection(socket_path)
        except OSError:
            self.closed(transport)
            transport.abort()
            return
        ways = [
            asyncio.ensure_future(_carry(reader, inner_writer)),
            asyncio.ensure_future(_carry(inner_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            inner_writer.close()
            writer.close()  # what was written last still goes out
            self.closed(transport)


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(64 * 1024):
            sink.write(data)
            await sink.drain()
    except OSError:
        return  # the other way ends with this one


class _Opening(asyncio.Protocol):
    """A connection of which nothing is known yet."""

    def __init__(self, sharing: PortSharing) -> None:
        self._sharing = sharing
        self._transport: asyncio.Transport | None = None
        self._first = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        own = cast(asyncio.Transport, transport)
        if self._sharing.opened(own):
            self._transport = own

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        self._first += data
        if self._sharing.decide(self._transport, self._first):
            self._first = b""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._sharing.closed(self._transport)
