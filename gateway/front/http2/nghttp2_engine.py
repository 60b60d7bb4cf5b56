"""The engine over libnghttp2. The only file that imports `ngh2`."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import ngh2

from gateway.front.http2.engine import (
    ENHANCE_YOUR_CALM,
    NO_ERROR,
    PROTOCOL_ERROR,
    EngineFailed,
    EngineSettings,
    Receiver,
)
from gateway.front.http2.wire import Header

_SETTING = ngh2.Setting
_CONTINUATIONS = 8
_GLITCHES = (1000, 100)
_UNACKNOWLEDGED = 256
_GOAWAY = struct.Struct(">4sBIII")
"""Length and type, flags, stream 0, the last stream served, the error code."""
_GOAWAY_BEGINS = b"\x07\0\0\0\0\0"
"""Type, flags, stream 0."""


class Nghttp2Engine:
    """One connection."""

    __slots__ = ("_connection", "_goodbye_code", "_last_stream_id", "_last_words", "_settings", "is_broken")

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._last_stream_id = 0
        self._last_words = b""
        self._goodbye_code = NO_ERROR
        self.is_broken = False
        self._connection = ngh2.Connection(
            ngh2.Role.SERVER,
            ngh2.Configuration(
                auto_window_update=False,
                max_inbound_header_list_size=settings.max_header_bytes,
                max_continuations=_CONTINUATIONS,
                stream_reset_rate_limit=(settings.resets_at_once, settings.resets_per_s),
                glitch_rate_limit=_GLITCHES,
                max_outbound_ack=_UNACKNOWLEDGED,
            ),
        )

    def start(self) -> None:
        """Queue the settings; see Engine."""
        settings = self._settings
        self._connection.initiate_connection(
            {
                _SETTING.MAX_CONCURRENT_STREAMS: settings.max_streams,
                _SETTING.INITIAL_WINDOW_SIZE: settings.stream_window_bytes,
                _SETTING.MAX_HEADER_LIST_SIZE: settings.max_header_bytes,
            }
        )
        self._connection.set_local_window_size(settings.connection_window_bytes)

    def receive(self, data: bytes, receiver: Receiver) -> None:
        """Read and dispatch; see Engine."""
        failed: ngh2.NGH2Error | None = None
        try:
            self._connection.receive_data(data)
        except ngh2.NGH2Error as error:
            failed = error
            self.is_broken |= isinstance(error, ngh2.ProtocolError)
            is_flood = isinstance(error, ngh2.DenialOfServiceError)
            code = ENHANCE_YOUR_CALM if is_flood else PROTOCOL_ERROR
            self._last_words = _GOAWAY.pack(b"\0\0\x08\x07", 0, 0, self._last_stream_id, code)
        self._dispatch(receiver)
        if failed is not None:
            raise EngineFailed(type(failed).__name__) from failed

    def take(self, receiver: Receiver, most_bytes: int | None = None) -> bytes:
        """See Engine."""
        try:
            data = self._connection.data_to_send(most_bytes)
        except ngh2.ConnectionStateError:
            # After some errors it says nothing more, not even which one it was.
            data, self._last_words = self._last_words, b""
        self._dispatch(receiver, data)
        return data

    def _dispatch(self, receiver: Receiver, sent: bytes = b"") -> None:
        for event in self._connection.events():
            handle = _HANDLERS.get(type(event))
            if handle is not None:
                if handle is _request:
                    self._last_stream_id = event.stream_id  # type: ignore[attr-defined]
                handle(receiver, event)
            elif isinstance(event, ngh2.GoAwayReceived):
                self._goodbye_code = event.error_code
            elif isinstance(event, ngh2.ConnectionClosed):
                # The code of the peer's GOAWAY or of ours: if both have the same, ours is in what is sent.
                is_ours = event.error_code != self._goodbye_code or _GOAWAY_BEGINS in sent
                self.is_broken |= event.error_code != NO_ERROR and is_ours

    @property
    def is_done(self) -> bool:
        """See Engine."""
        try:
            return not (self._connection.want_read or self._connection.want_write)
        except ngh2.ConnectionStateError:
            return True  # after some errors it answers nothing more

    def acknowledge(self, stream_id: int, size: int) -> None:
        """See Engine."""
        try:
            self._connection.acknowledge_received_data(size, stream_id)
        except (ngh2.NGH2Error, ValueError):
            pass

    def respond(self, stream_id: int, headers: Sequence[Header], *, end: bool = False) -> None:
        """See Engine."""
        try:
            self._connection.send_response(stream_id, headers, end_stream=end)
        except ngh2.NGH2Error:
            pass

    def send(self, stream_id: int, data: bytes) -> None:
        """See Engine."""
        try:
            self._connection.send_data(stream_id, data)
        except ngh2.NGH2Error:
            pass

    def finish(self, stream_id: int, trailers: Sequence[Header]) -> None:
        """See Engine."""
        try:
            self._connection.send_trailers(stream_id, trailers)
        except ngh2.NGH2Error:
            pass

    def reset(self, stream_id: int, error_code: int) -> None:
        """See Engine."""
        try:
            self._connection.reset_stream(stream_id, error_code)
        except ngh2.NGH2Error:
            pass

    def queued(self, stream_id: int) -> int:
        """See Engine."""
        try:
            return self._connection.queued_body_size(stream_id)
        except (ngh2.NGH2Error, ValueError):
            return 0

    def queued_in_all(self) -> int:
        """See Engine."""
        return self._connection.queued_body_size()

    def ping(self, data: bytes) -> None:
        """See Engine."""
        self._connection.ping(data)

    def announce_end(self) -> None:
        """See Engine."""
        self._connection.send_shutdown_notice()

    def end(self, error_code: int = NO_ERROR, *, reason: bytes = b"") -> None:
        """See Engine."""
        self.is_broken |= error_code != NO_ERROR
        try:
            self._connection.send_goaway(error_code, last_stream_id=self._last_stream_id, debug_data=reason)
        except ngh2.NGH2Error:
            pass


def _request(receiver: Receiver, event: Any) -> None:
    receiver.on_request(event.stream_id, event.headers, end=event.end_stream)


def _data(receiver: Receiver, event: Any) -> None:
    receiver.on_data(event.stream_id, event.data, end=event.end_stream)


def _closed(receiver: Receiver, event: Any) -> None:
    receiver.on_stream_closed(event.stream_id, event.error_code)


def _trailers(receiver: Receiver, event: Any) -> None:
    receiver.on_data(event.stream_id, b"", end=True)  # gRPC clients send none; they end the body all the same


_HANDLERS: dict[type, Callable[[Receiver, Any], None]] = {
    ngh2.RequestReceived: _request,
    ngh2.DataReceived: _data,
    ngh2.TrailersReceived: _trailers,
    ngh2.StreamClosed: _closed,
    ngh2.PingReceived: lambda receiver, event: receiver.on_ping(),
    ngh2.PingAcknowledged: lambda receiver, event: receiver.on_ping_acknowledged(event.opaque_data),
}
