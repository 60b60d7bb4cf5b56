"""One HTTP/2 connection of the load generator: a blocking socket, flow control in both directions, calls in flight.

`load_generator` decides which request comes next and when to stop.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass, field

from bench import http2

STREAM_WINDOW = 8 * 1024 * 1024
CONNECTION_WINDOW = 2**31 - 1
SOCKET_TIMEOUT_S = 30.0


@dataclass(slots=True)
class PendingCall:
    """A call without an answer. `unsent` is the part of its message that waits for flow control."""

    index: int
    began: float
    window: int
    unsent: bytes = b""
    answer: bytearray = field(default_factory=bytearray)
    received: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A call that ended. `status` is None without readable trailers; `answer` is None without a complete message."""

    index: int
    began: float
    ended: float
    status: int | None
    answer: bytes | None
    text: str


class Connection:
    """A client connection. Call `open`, then repeat `begin`, `flush` and `receive`."""

    def __init__(self, host: str, port: int, path: str) -> None:
        self._socket = socket.create_connection((host, port), timeout=SOCKET_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        block = http2.request_headers(f"{host}:{port}", path)
        self._headers_before = http2.frame(http2.HEADERS, http2.END_HEADERS, 0, block)[:5]
        self._block = block
        self._incoming = bytearray()
        self._outgoing: list[bytes] = []
        self._pending: dict[int, PendingCall] = {}
        self._blocked: deque[int] = deque()
        self._next_stream = 1
        self._window = http2.DEFAULT_WINDOW
        self._peer_stream_window = http2.DEFAULT_WINDOW
        self._peer_frame_size = http2.DEFAULT_FRAME_SIZE
        self._consumed = 0
        self._settled = False
        self.max_streams = 2**31 - 1
        self.is_closing = False

    def fileno(self) -> int:
        """Return the socket's descriptor, for polling."""
        return self._socket.fileno()

    @property
    def in_flight(self) -> int:
        """The number of calls without an answer."""
        return len(self._pending)

    def open(self) -> None:
        """Exchange settings, to know the peer's limits before the first call."""
        ours = {http2.HEADER_TABLE_SIZE: 0, http2.INITIAL_WINDOW_SIZE: STREAM_WINDOW}
        grow = http2.window_update(0, CONNECTION_WINDOW - http2.DEFAULT_WINDOW)
        self._socket.sendall(http2.PREFACE + http2.settings(ours) + grow)
        while not self._settled:
            self.receive()
        self.flush()

    def close(self) -> None:
        """Close the socket."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def begin(self, index: int, prefixed: bytes) -> None:
        """Queue one call. `prefixed` is the message with its gRPC prefix. `flush` sends it."""
        stream = self._next_stream
        self._next_stream += 2
        name = struct.pack(">I", stream)
        self._outgoing += (self._headers_before, name, self._block)
        call = PendingCall(index, time.perf_counter(), self._peer_stream_window)
        self._pending[stream] = call
        size = len(prefixed)
        if size <= self._window and size <= call.window and size <= self._peer_frame_size:
            self._window -= size
            self._outgoing += (struct.pack(">HBBB", size >> 8, size & 0xFF, 0, http2.END_STREAM), name, prefixed)
        else:
            call.unsent = prefixed
            self._send_part(stream, call)

    def flush(self) -> None:
        """Send all queued bytes. Blocks while the peer does not read."""
        if self._outgoing:
            data = b"".join(self._outgoing)
            self._outgoing.clear()
            self._socket.sendall(data)

    def receive(self) -> list[Finished]:
        """Read once and return the calls that ended. Raises: Http2Error, OSError."""
        data = self._socket.recv(262_144)
        if not data:
            raise http2.Http2Error("the peer closed the connection")
        self._incoming += data
        finished: list[Finished] = []
        for kind, flags, stream, payload, flow_bytes in http2.take_frames(self._incoming):
            if kind == http2.DATA:
                self._take_data(stream, payload, flow_bytes)
            elif kind == http2.HEADERS:
                if flags & http2.END_STREAM:
                    if not flags & http2.END_HEADERS:
                        raise http2.Http2Error("trailers in several frames")
                    finished += self._end(stream, http2.grpc_status(payload), payload)
            else:
                finished += self._control(kind, flags, stream, payload)
        return finished

    def _take_data(self, stream: int, payload: bytes, flow_bytes: int) -> None:
        self._consumed += flow_bytes
        if self._consumed > CONNECTION_WINDOW // 2:
            self._outgoing.append(http2.window_update(0, self._consumed))
            self._consumed = 0
        call = self._pending.get(stream)
        if call is None:
            return
        call.answer += payload
        call.received += flow_bytes
        if call.received > STREAM_WINDOW // 2:
            self._outgoing.append(http2.window_update(stream, call.received))
            call.received = 0

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> list[Finished]:
        if kind == http2.SETTINGS and not flags & http2.ACK:
            self._take_settings(http2.read_settings(payload))
            self._outgoing.append(http2.frame(http2.SETTINGS, http2.ACK, 0))
        elif kind == http2.PING and not flags & http2.ACK:
            self._outgoing.append(http2.frame(http2.PING, http2.ACK, 0, payload))
        elif kind == http2.WINDOW_UPDATE:
            self._grow(stream, int.from_bytes(payload, "big") & 0x7FFF_FFFF)
        elif kind == http2.RST_STREAM:
            return self._end(stream, None, b"")
        elif kind == http2.GOAWAY:
            self.is_closing = True
        elif kind == http2.CONTINUATION:
            raise http2.Http2Error("headers in several frames")
        return []

    def _take_settings(self, values: dict[int, int]) -> None:
        self._settled = True
        self.max_streams = values.get(http2.MAX_CONCURRENT_STREAMS, self.max_streams)
        self._peer_frame_size = values.get(http2.MAX_FRAME_SIZE, self._peer_frame_size)
        if http2.INITIAL_WINDOW_SIZE in values:
            more = values[http2.INITIAL_WINDOW_SIZE] - self._peer_stream_window
            self._peer_stream_window += more
            for call in self._pending.values():
                call.window += more
            self._send_blocked()

    def _grow(self, stream: int, increment: int) -> None:
        if stream == 0:
            self._window += increment
        else:
            call = self._pending.get(stream)
            if call is None:
                return
            call.window += increment
        self._send_blocked()

    def _send_blocked(self) -> None:
        for _ in range(len(self._blocked)):
            stream = self._blocked.popleft()
            call = self._pending.get(stream)
            if call is not None:
                self._send_part(stream, call)

    def _send_part(self, stream: int, call: PendingCall) -> None:
        while call.unsent:
            size = min(len(call.unsent), self._window, call.window, self._peer_frame_size)
            if size <= 0:
                self._blocked.append(stream)
                return
            part, call.unsent = call.unsent[:size], call.unsent[size:]
            self._window -= size
            call.window -= size
            self._outgoing.append(http2.frame(http2.DATA, 0 if call.unsent else http2.END_STREAM, stream, part))

    def _end(self, stream: int, status: int | None, block: bytes) -> list[Finished]:
        call = self._pending.pop(stream, None)
        if call is None:
            return []
        received = call.answer
        prefix = http2.GRPC_PREFIX_BYTES
        is_whole = (
            len(received) >= prefix
            and received[0] == 0
            and int.from_bytes(received[1:prefix], "big") == len(received) - prefix
        )
        return [
            Finished(
                index=call.index,
                began=call.began,
                ended=time.perf_counter(),
                status=status,
                answer=bytes(received[prefix:]) if is_whole else None,
                text=http2.status_text(block) if status else "",
            )
        ]
