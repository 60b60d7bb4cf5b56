"""The engine over `h2`, in Python alone: where the fast one has no wheel, and for differential tests.

`h2` sends nothing beyond the peer's windows and keeps nothing, so bodies wait here. The only file that imports it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import h2.utilities
from hyperframe.frame import Frame, GoAwayFrame, SettingsFrame

from gateway.front.http2.engine import (
    ENHANCE_YOUR_CALM,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    EngineFailed,
    EngineSettings,
    Receiver,
)
from gateway.front.http2.wire import Header

_LAST_POSSIBLE_STREAM = 2**31 - 1
_PIECE_BYTES = 16 * 1024
_READ_BYTES = 16 * 1024
"""Taken in at once, so that a flood is noticed before all of it was taken in."""
_GLITCHES = (1000, 100)
"""Frames that serve nothing: so many at once, and so many a second after that."""
_UNANSWERED = 256
"""Settings and pings whose answers wait for a peer that does not read them."""


@dataclass(slots=True)
class _Body:
    """What waits to be sent of a stream."""

    chunks: deque[bytes] = field(default_factory=deque)
    size: int = 0
    trailers: list[Header] | None = None
    received_all: bool = False
    sent_all: bool = False


class _Allowance:
    """How often a peer may do something: so many times at once, and so many a second after that."""

    __slots__ = ("_at", "_at_once", "_left", "_per_s")

    def __init__(self, at_once: int, per_s: int, now: float) -> None:
        self._at_once = self._left = float(at_once)
        self._per_s = per_s
        self._at = now

    def spend(self, now: float) -> bool:
        """Count one; False when it is one too many."""
        self._left = min(self._at_once, self._left + (now - self._at) * self._per_s) - 1
        self._at = now
        return self._left >= 0


class H2Engine:
    """One connection."""

    __slots__ = (
        "_blocked", "_bodies", "_connection", "_glitches", "_last_served", "_named_last", "_out", "_peer_leaves",
        "_queued", "_ready", "_resets", "_settings", "_unanswered", "is_broken",
    )  # fmt: skip

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._connection = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_outbound_headers=False,
                validate_inbound_headers=False,  # it would end the connection; `_is_valid` ends the stream
            )
        )
        # A peer that says goodbye opens no more streams, and those under way go on. `h2` takes it for the end of all.
        self._connection._frame_dispatch_table[GoAwayFrame] = self._on_goodbye
        self._peer_leaves = self.is_broken = False
        self._bodies: dict[int, _Body] = {}
        self._ready: dict[int, None] = {}
        """Streams that have something to send or are over: `take` looks at no other."""
        self._blocked: set[int] = set()
        """Streams whose body waits for a window."""
        self._out = b""
        self._queued = 0
        self._last_served = 0
        self._named_last: int | None = None
        self._unanswered = 0
        now = time.monotonic()
        self._resets = _Allowance(settings.resets_at_once, settings.resets_per_s, now)
        self._glitches = _Allowance(*_GLITCHES, now)

    def start(self) -> None:
        """Queue the settings; see Engine."""
        settings, codes = self._settings, h2.settings.SettingCodes
        self._connection.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                codes.INITIAL_WINDOW_SIZE: settings.stream_window_bytes,
                codes.MAX_HEADER_LIST_SIZE: settings.max_header_bytes,
            },
        )
        self._connection.initiate_connection()
        # `h2` ends the connection of a client that opens too many streams, so it does not learn how many there may be.
        self._out = SettingsFrame(0, {SettingsFrame.MAX_CONCURRENT_STREAMS: settings.max_streams}).serialize()
        self._connection.increment_flow_control_window(settings.connection_window_bytes - 65_535)

    def receive(self, data: bytes, receiver: Receiver) -> None:
        """Read and dispatch; see Engine."""
        for at in range(0, len(data), _READ_BYTES):
            try:
                events = self._connection.receive_data(data[at : at + _READ_BYTES])
            except h2.exceptions.ProtocolError as error:
                self.is_broken = True
                raise EngineFailed(type(error).__name__) from error
            for event in events:
                self._dispatch(event, receiver)
            if self._unanswered > _UNANSWERED:
                self.end(ENHANCE_YOUR_CALM, reason=b"too_many_settings")
                raise EngineFailed("more settings and pings than answers that were read")

    def _dispatch(self, event: h2.events.Event, receiver: Receiver) -> None:
        match event:
            case h2.events.RequestReceived():
                stream_id = event.stream_id
                if not _is_valid(event.headers, is_trailer=False):
                    self.reset(stream_id, PROTOCOL_ERROR)
                    return
                is_late = self._named_last is not None and stream_id > self._named_last
                if is_late or len(self._bodies) >= self._settings.max_streams:
                    self.reset(stream_id, REFUSED_STREAM)
                    return
                self._last_served = stream_id
                self._bodies[stream_id] = _Body(received_all=event.stream_ended is not None)
                receiver.on_request(stream_id, event.headers, end=event.stream_ended is not None)
            case h2.events.PriorityUpdated():
                self._spend(self._glitches, b"too_many_priorities")
            case h2.events.DataReceived():
                if not event.data and event.stream_ended is None:
                    self._spend(self._glitches, b"too_many_empty_frames")
                self._on_data(
                    event.stream_id, event.data, event.flow_controlled_length, event.stream_ended is not None, receiver
                )
            case h2.events.TrailersReceived():
                if _is_valid(event.headers, is_trailer=True):
                    self._on_data(event.stream_id, b"", 0, True, receiver)
                else:
                    self.reset(event.stream_id, PROTOCOL_ERROR)
            case h2.events.StreamReset():
                self._spend(self._resets, b"too_many_resets")
                self._blocked.discard(event.stream_id)
                if (body := self._bodies.pop(event.stream_id, None)) is not None:
                    self._drop(body, body.size)
                    receiver.on_stream_closed(event.stream_id, int(event.error_code))
            case h2.events.WindowUpdated():
                self._unblock(event.stream_id)
            case h2.events.RemoteSettingsChanged():
                self._unanswered += 1
                self._unblock(0)
            case h2.events.PingReceived():
                self._unanswered += 1
                receiver.on_ping()
            case h2.events.PingAckReceived():
                receiver.on_ping_acknowledged(event.ping_data)

    def _on_data(self, stream_id: int, data: bytes, counted: int, end: bool, receiver: Receiver) -> None:
        body = self._bodies.get(stream_id)
        if body is None:
            self.acknowledge(stream_id, counted)
            return
        if end:
            body.received_all = True
            self._ready[stream_id] = None
        self.acknowledge(stream_id, counted - len(data))  # padding
        receiver.on_data(stream_id, data, end=end)

    def _spend(self, allowance: _Allowance, reason: bytes) -> None:
        if not allowance.spend(time.monotonic()):
            self.end(ENHANCE_YOUR_CALM, reason=reason)
            raise EngineFailed(reason.decode())

    def take(self, receiver: Receiver, most_bytes: int | None = None) -> bytes:
        """Send what the windows allow; see Engine."""
        until = 0 if most_bytes is None else self._queued - most_bytes
        ready, self._ready = list(self._ready), {}
        for at, stream_id in enumerate(ready):
            if self._queued < until:
                self._ready.update(dict.fromkeys(ready[at:]))
                break
            body = self._bodies.get(stream_id)
            if body is None:
                continue
            try:
                self._send_some(stream_id, body, until)
            except h2.exceptions.ProtocolError:
                body.sent_all = body.received_all = True
            if body.sent_all and body.received_all:
                self._bodies.pop(stream_id, None)
                self._blocked.discard(stream_id)
                self._drop(body, body.size)
                receiver.on_stream_closed(stream_id, NO_ERROR)
        self._unanswered = 0
        data, self._out = self._connection.data_to_send() + self._out, b""
        return data

    def _unblock(self, stream_id: int) -> None:
        """Try a stream again whose window has grown; 0: all of them."""
        if stream_id == 0:
            self._ready.update(dict.fromkeys(self._blocked))
            self._blocked.clear()
        elif stream_id in self._blocked:
            self._blocked.remove(stream_id)
            self._ready[stream_id] = None

    def _on_goodbye(self, frame: GoAwayFrame) -> tuple[list[Frame], list[h2.events.Event]]:
        self._peer_leaves = True
        return [], []

    @property
    def is_done(self) -> bool:
        """See Engine."""
        return self._peer_leaves and not self._bodies

    def _drop(self, body: _Body, size: int) -> None:
        body.size -= size
        self._queued -= size

    def _send_some(self, stream_id: int, body: _Body, until: int) -> None:
        """Send until so few bytes of all streams are queued, or until a window or the body ends."""
        connection = self._connection
        while body.chunks:
            if self._queued < until:
                self._ready[stream_id] = None
                return
            room = min(connection.local_flow_control_window(stream_id), connection.max_outbound_frame_size)
            if room <= 0:
                self._blocked.add(stream_id)
                return
            chunk = body.chunks.popleft()
            if len(chunk) > room:
                body.chunks.appendleft(chunk[room:])
                chunk = chunk[:room]
            self._drop(body, len(chunk))
            connection.send_data(stream_id, chunk)
        if body.trailers is not None and not body.sent_all:
            body.sent_all = True
            connection.send_headers(stream_id, body.trailers, end_stream=True)

    def acknowledge(self, stream_id: int, size: int) -> None:
        """See Engine."""
        if size > 0:
            try:
                self._connection.acknowledge_received_data(size, stream_id)
            except (h2.exceptions.ProtocolError, ValueError):
                pass

    def respond(self, stream_id: int, headers: Sequence[Header], *, end: bool = False) -> None:
        """See Engine."""
        body = self._bodies.get(stream_id)
        if body is not None:
            try:
                self._connection.send_headers(stream_id, list(headers), end_stream=end)
            except h2.exceptions.ProtocolError:
                return
            body.sent_all = end
            self._ready[stream_id] = None

    def send(self, stream_id: int, data: bytes) -> None:
        """See Engine."""
        body = self._bodies.get(stream_id)
        if body is not None:
            # In pieces of a frame, so that what a window cuts off is little to copy.
            body.chunks.extend(data[at : at + _PIECE_BYTES] for at in range(0, len(data), _PIECE_BYTES))
            body.size += len(data)
            self._queued += len(data)
            self._ready[stream_id] = None

    def finish(self, stream_id: int, trailers: Sequence[Header]) -> None:
        """See Engine."""
        body = self._bodies.get(stream_id)
        if body is not None:
            body.trailers = list(trailers)
            self._ready[stream_id] = None

    def reset(self, stream_id: int, error_code: int) -> None:
        """See Engine."""
        body = self._bodies.get(stream_id)
        if body is not None:
            body.chunks.clear()
            body.trailers = None
            self._drop(body, body.size)
            body.sent_all = body.received_all = True
            self._ready[stream_id] = None
        try:
            self._connection.reset_stream(stream_id, error_code)
        except h2.exceptions.ProtocolError:
            pass

    def queued(self, stream_id: int) -> int:
        """See Engine."""
        body = self._bodies.get(stream_id)
        return 0 if body is None else body.size

    def queued_in_all(self) -> int:
        """See Engine."""
        return self._queued

    def ping(self, data: bytes) -> None:
        """See Engine."""
        self._connection.ping(data)

    def announce_end(self) -> None:
        """See Engine. `h2` would take its own GOAWAY for the end of the connection, so the frame is made here."""
        self._out += GoAwayFrame(0, last_stream_id=_LAST_POSSIBLE_STREAM, error_code=NO_ERROR).serialize()

    def end(self, error_code: int = NO_ERROR, *, reason: bytes = b"") -> None:
        """See Engine."""
        self._named_last = self._last_served
        self.is_broken |= error_code != NO_ERROR
        self._out += GoAwayFrame(
            0, last_stream_id=self._last_served, error_code=error_code, additional_data=reason
        ).serialize()


def _is_valid(headers: Sequence[Header], *, is_trailer: bool) -> bool:
    """Tell whether a header block is what RFC 9113 allows."""
    flags = h2.utilities.HeaderValidationFlags(
        is_client=False, is_trailer=is_trailer, is_response_header=False, is_push_promise=False
    )
    try:
        list(h2.utilities.validate_headers(headers, flags))
    except h2.exceptions.ProtocolError:
        return False
    return True
