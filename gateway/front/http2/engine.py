"""What the front needs of an HTTP/2 engine: bytes in, calls of a receiver, bytes out. No engine is named here.

An engine keeps one connection's state: frames, header compression, flow control. It reads and writes nothing itself.
`nghttp2_engine.py` is the fast one, `h2_engine.py` the portable one; tests hold them to the same behaviour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.front.http2.wire import Header

NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0x0, 0x1, 0x7, 0x8, 0xB


class EngineFailed(Exception):
    """The peer broke HTTP/2, or exceeded a bound: the connection ends after what the engine still has to send."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Bounds of one connection."""

    max_streams: int = 1000
    """Calls at once on one connection; clients queue or open another connection beyond it."""
    stream_window_bytes: int = 256 * 1024
    """What a client may send of one stream before the handler has read it."""
    connection_window_bytes: int = 8 * 1024 * 1024
    """The same over all streams of a connection: bounds what unread streams hold."""
    max_header_bytes: int = 64 * 1024
    """Of one header block, decoded. The front answers from 16 KiB on; beyond this the engine ends the connection."""
    resets_at_once: int = 1000
    resets_per_s: int = 1000
    """Streams that a client may reset: so many at once, and so many a second after that. Clients that hedge reset half
    of their calls; each costs about as much as a call."""


class Receiver(Protocol):
    """Hears what the peer did, in order, while `receive` runs. Must not raise."""

    def on_request(self, stream_id: int, headers: Sequence[Header], *, end: bool) -> None:
        """A call begins; `end`: it has no body."""
        ...

    def on_data(self, stream_id: int, data: bytes, *, end: bool) -> None:
        """A part of a call's body. It counts against the windows until `acknowledge`."""
        ...

    def on_stream_closed(self, stream_id: int, error_code: int) -> None:
        """A stream is over, by an answer or by a reset of either side. Nothing follows for it."""
        ...

    def on_ping(self) -> None:
        """The peer asked for a sign of life; the engine answers by itself."""
        ...

    def on_ping_acknowledged(self, data: bytes) -> None:
        """The peer answered `ping`."""
        ...


class Engine(Protocol):
    """One connection's HTTP/2, server side. Methods for a stream that is over do nothing."""

    is_broken: bool
    """Whether this side has ended the connection, with an error, for what the peer did."""

    def start(self) -> None:
        """Queue the server's settings; call it once, first."""
        ...

    def receive(self, data: bytes, receiver: Receiver) -> None:
        """Take bytes of the peer and call the receiver for what they mean.

        Raises: EngineFailed; `take` then returns the GOAWAY that says why.
        """
        ...

    def take(self, receiver: Receiver, most_bytes: int | None = None) -> bytes:
        """Return what is to be written now, b"" for nothing. Data that exceeds the peer's windows stays queued.

        Args: `most_bytes`: leave what exceeds them, but for a few frames; None for all there is.

        The receiver hears of streams that are over with what is taken.
        """
        ...

    @property
    def is_done(self) -> bool:
        """Whether the peer has said goodbye or broken HTTP/2, and no stream is left: the owner then closes."""
        ...

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Let the peer send so many bytes more: they have been read."""
        ...

    def respond(self, stream_id: int, headers: Sequence[Header], *, end: bool = False) -> None:
        """Queue the response's headers; `end`: they are trailers too."""
        ...

    def send(self, stream_id: int, data: bytes) -> None:
        """Queue a part of the response's body."""
        ...

    def finish(self, stream_id: int, trailers: Sequence[Header]) -> None:
        """Queue the trailers, after all data."""
        ...

    def reset(self, stream_id: int, error_code: int) -> None:
        """End a stream at once; queued data of it is dropped."""
        ...

    def queued(self, stream_id: int) -> int:
        """Return the bytes of a stream's body that wait for the peer's windows; 0 for one that is over."""
        ...

    def queued_in_all(self) -> int:
        """Return the bytes of all bodies that wait."""
        ...

    def ping(self, data: bytes) -> None:
        """Queue a PING with these eight bytes."""
        ...

    def announce_end(self) -> None:
        """Queue a first GOAWAY that names no last stream: the peer opens no more; what is on its way is served."""
        ...

    def end(self, error_code: int = NO_ERROR, *, reason: bytes = b"") -> None:
        """Queue the GOAWAY that names the last stream that was served."""
        ...
