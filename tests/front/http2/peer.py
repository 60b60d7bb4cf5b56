"""A client that is driven frame by frame: real sockets, and libnghttp2 for what the frames mean."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import ngh2

from gateway.actions.shared.call import Peer as PeerOf
from gateway.front.dispatch import UNNAMED
from gateway.front.endpoint import Endpoint
from gateway.front.http2.engine import Engine, EngineSettings
from gateway.front.http2.gate import Gate
from gateway.front.http2.server import Http2Server, ServerBounds
from gateway.front.http2.wire import framed
from gateway.interceptors.chain import Chain, Middleware
from gateway.resilience.clock import Clock, SystemClock

HEADERS = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":authority", b"x"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
)


class Peer:
    """One connection. Events that came are kept in `events`, in their order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, window: int) -> None:
        self._reader = reader
        self._writer = writer
        self.connection = ngh2.Connection(ngh2.Role.CLIENT, ngh2.Configuration(auto_window_update=window == 0))
        settings = {ngh2.Setting.INITIAL_WINDOW_SIZE: window} if window else {}
        self.connection.initiate_connection(settings)
        self.events: list[Any] = []
        self.is_closed = False
        self.raw = b""

    def goaways(self) -> list[tuple[int, int]]:
        """Return last stream and error code of each GOAWAY, also of those that libnghttp2 hears no more."""
        found, at = [], 0
        while at + 9 <= len(self.raw):
            size, kind = int.from_bytes(self.raw[at : at + 3], "big"), self.raw[at + 3]
            body = self.raw[at + 9 : at + 9 + size]
            if kind == 7:
                found.append((int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")))
            at += 9 + size
        return found

    def call(self, path: str, *messages: bytes, end: bool = True, extra: Sequence[tuple[bytes, bytes]] = ()) -> int:
        """Open a stream; return its id."""
        stream_id = self.connection.send_request([(b":path", path.encode()), *HEADERS, *extra])
        self.connection.send_data(stream_id, b"".join(map(framed, messages)), end_stream=end)
        return stream_id

    async def until(self, enough: Callable[[], object], within_s: float = 5.0) -> None:
        """Write what is queued and read until `enough()` holds. Raises: TimeoutError."""
        async with asyncio.timeout(within_s):
            while True:
                try:
                    self._writer.write(self.connection.data_to_send())
                except ngh2.ConnectionStateError:
                    pass  # it has nothing more to say after the server's end; the server may
                if enough() or self.is_closed:
                    return
                try:
                    data = await self._reader.read(65536)
                except ConnectionError:
                    data = b""
                if not data:
                    self.is_closed = True
                    return
                self.raw += data
                try:
                    self.connection.receive_data(data)
                except ngh2.ConnectionStateError:
                    pass  # it takes nothing more after the server's end
                self.events += self.connection.events()

    def of(self, kind: type) -> list[Any]:
        """Return the events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def status(self, stream_id: int) -> int | None:
        """Return a call's grpc-status; None while it has none."""
        for event in self.events:
            if isinstance(event, ngh2.TrailersReceived | ngh2.ResponseReceived) and event.stream_id == stream_id:
                for name, value in event.headers:
                    if name == b"grpc-status":
                        return int(value)
        return None

    def message(self, stream_id: int) -> str:
        """Return a call's grpc-message."""
        for event in self.events:
            if isinstance(event, ngh2.TrailersReceived | ngh2.ResponseReceived) and event.stream_id == stream_id:
                for name, value in event.headers:
                    if name == b"grpc-message":
                        return bytes(value).decode()
        return ""

    async def answered(self, stream_id: int, within_s: float = 5.0) -> int | None:
        """Read until a call has its status."""
        await self.until(lambda: self.status(stream_id) is not None, within_s)
        return self.status(stream_id)

    def write(self, data: bytes) -> None:
        """Send bytes of the test's own making."""
        self._writer.write(data)

    async def until_read(self) -> None:
        """Wait until the server has read all that was sent so far: it acknowledges a ping."""
        count = len(self.of(ngh2.PingAcknowledged))
        self.connection.ping(b"all read")
        await self.until(lambda: len(self.of(ngh2.PingAcknowledged)) > count)


@asynccontextmanager
async def serving(
    endpoints: Sequence[Endpoint],
    engine: Callable[[EngineSettings], Engine],
    *,
    links: Sequence[Middleware] = (),
    bounds: ServerBounds | None = None,
    unexpected: list[BaseException] | None = None,
    gate: Gate | None = None,
    named: PeerOf = UNNAMED,
    clock: Clock | None = None,
) -> AsyncIterator[tuple[Http2Server, int]]:
    """Serve on a free port; yields the server and the port. By default no connection has to wait (`broken_wait_s`)."""
    noted = unexpected if unexpected is not None else []
    server = Http2Server(
        {one.path: one for one in endpoints},
        Chain(links),
        clock or SystemClock(),
        lambda call, error: noted.append(error),
        lambda: engine(EngineSettings()),
        bounds=bounds or ServerBounds(broken_wait_s=0),
        gate=gate,
        peer=named,
    )
    listening = socket.create_server(("127.0.0.1", 0))
    port: int = listening.getsockname()[1]
    await server.listen(listening, None)
    try:
        yield server, port
    finally:
        await server.stop()


@asynccontextmanager
async def connected(port: int, window: int = 0) -> AsyncIterator[Peer]:
    """Connect a peer; `window`: what it takes of a stream before it says more, and it never says more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Peer(reader, writer, window)
    finally:
        writer.close()
