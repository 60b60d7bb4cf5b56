"""A client that speaks HTTP/2 as it likes: frames by hand over a socket, for what no honest client does."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence
from typing import Self

from bench.http2 import (
    ACK,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADER_TABLE_SIZE,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    Frame,
    frame,
    grpc_message,
    grpc_status,
    request_headers,
    settings,
    take_frames,
)

CANCEL = struct.pack(">I", 8)


class RawConnection:
    """One connection; a context manager. Frames that came are kept in `seen`."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._address = address
        self._buffer = bytearray()
        self.seen: list[Frame] = []
        self.is_closed = False
        self.send(PREFACE + settings({HEADER_TABLE_SIZE: 0}))
        self.read(lambda: any(one.kind == SETTINGS for one in self.seen))
        self.send(frame(SETTINGS, ACK, 0))

    def send(self, data: bytes) -> bool:
        """Send all of it; False, and closed, when the other end has had enough."""
        try:
            self._socket.sendall(data)
        except OSError:
            self.is_closed = True
        return not self.is_closed

    def read(self, enough: object = None, within_s: float = 10.0) -> None:
        """Take in frames until `enough()` holds, the connection is closed or the time is over."""
        until = time.monotonic() + within_s
        while not self.is_closed and time.monotonic() < until and not (callable(enough) and enough()):
            self._socket.settimeout(max(0.001, min(0.2, until - time.monotonic())))
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                data = b""
            self._socket.settimeout(10)
            self.is_closed = not data
            self._buffer += data
            self.seen += take_frames(self._buffer)

    def call(self, stream: int, path: str, message: bytes, further: Sequence[tuple[str, str]] = ()) -> bytes:
        """Return the frames of a whole call with a short message."""
        return frame(HEADERS, END_HEADERS, stream, request_headers(self._address, path, further)) + frame(
            0, END_STREAM, stream, grpc_message(message)
        )

    def status(self, stream: int) -> int | None:
        """Return the gRPC status that a stream ended with; None as long as there is none."""
        for one in self.seen:
            if one.kind == HEADERS and one.stream == stream and (found := grpc_status(one.payload)) is not None:
                return found
        return None

    @property
    def gone_away(self) -> bool:
        """Whether the peer has sent GOAWAY or closed the connection."""
        return self.is_closed or any(one.kind == GOAWAY for one in self.seen)

    @property
    def was_reset(self) -> bool:
        """Whether a stream was reset by the other end."""
        return any(one.kind == RST_STREAM for one in self.seen)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ping(number: int) -> bytes:
    """Return a PING frame."""
    return frame(PING, 0, 0, struct.pack(">Q", number))


def reset(stream: int) -> bytes:
    """Return a RST_STREAM frame that cancels."""
    return frame(RST_STREAM, 0, stream, CANCEL)
