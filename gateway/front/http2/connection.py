"""One connection of a client: bytes to the engine, what the engine hears to streams, answers back, in one write a turn.

`server.py` says what is served and when to end; `stream.py` keeps a call's state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, cast

from gateway.actions.shared.call import Peer
from gateway.errors import FieldFault, InvalidField
from gateway.front.dispatch import UNKNOWN_METHOD, request_id_of
from gateway.front.endpoint import Endpoint
from gateway.front.http2.engine import CANCEL, ENHANCE_YOUR_CALM, NO_ERROR, Engine, EngineFailed
from gateway.front.http2.gate import Gate
from gateway.front.http2.stream import ONE_MESSAGE, Stream
from gateway.front.http2.wire import (
    RESPONSE_HEADERS,
    Header,
    MessageReader,
    WireFault,
    metadata_of,
    parse_timeout,
    status_trailers,
)

MAX_WAITING_BYTES = 8 * 1024 * 1024
"""Of answers that a client does not read. Beyond it nothing more is read from that client until it has taken some."""
MAX_PING_STRIKES = 5
MIN_PING_INTERVAL_S = 10.0
_LAST_WORDS_S = 0.1
"""Between a GOAWAY that accuses and the close: closing at once could take the GOAWAY back."""
_UNIMPLEMENTED = 12
_DRAIN_PING = b"drain\0\0\0"
_KEEPALIVE_PING = b"alive\0\0\0"


class Host(Protocol):
    """What a connection needs of its server; `server.Http2Server` is one."""

    loop: asyncio.AbstractEventLoop
    endpoints: Mapping[str, Endpoint]
    unnamed_peer: Peer
    max_message_bytes: int
    max_metadata_bytes: int
    no_deadline_s: float
    drain_round_trip_s: float
    gate: Gate
    monotonic: Callable[[], float]

    def admit_connection(self, connection: Connection, transport: asyncio.Transport) -> bool:
        """Count a connection in; False when it has to be closed."""
        ...

    def forget_connection(self, connection: Connection) -> None:
        """A connection is closed."""
        ...

    def on_broken(self, connection: Connection, failed: EngineFailed) -> None:
        """A client broke the protocol."""
        ...

    def expect(self, stream: Stream) -> None:
        """A call has been announced; its request may take a while."""
        ...

    def begin(self, stream: Stream) -> None:
        """A call has arrived."""
        ...

    def start(self, stream: Stream) -> None:
        """Run a call's handler."""
        ...

    def forget(self, stream: Stream) -> None:
        """A stream is over."""
        ...

    def on_deadline(self, stream: Stream) -> None:
        """A call's deadline has passed."""
        ...


class Connection(asyncio.Protocol):
    """The protocol of one accepted connection; calls of all its streams run on the loop."""

    __slots__ = (
        "_dirty", "_engine", "_is_paused", "_last_ping_at", "_loop", "_ping_sent_at", "_reset_later", "_server",
        "_strikes", "_transport", "_waiting", "drain_stage", "last_active_at", "last_read_at", "opened_at", "peer",
        "stalled_since", "streams",
    )  # fmt: skip

    def __init__(self, server: Host, engine: Engine) -> None:
        self._server = server
        self._engine = engine
        self._loop = server.loop
        self._transport: asyncio.Transport | None = None
        self.streams: dict[int, Stream] = {}
        self._waiting: set[Stream] = set()
        self._reset_later: dict[int, int] = {}
        self._dirty = False
        self._is_paused = False
        self._strikes = 0
        self._last_ping_at = 0.0
        self._ping_sent_at: float | None = None
        self.stalled_since: float | None = None
        self.drain_stage = 0
        self.opened_at = self.last_read_at = self.last_active_at = server.monotonic()
        self.peer = server.unnamed_peer

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register, send the settings."""
        self._transport = cast(asyncio.Transport, transport)
        if not self._server.admit_connection(self, self._transport):
            self._transport.abort()
            return
        self._engine.start()
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Give the engine what came; end the connection where the peer broke the protocol."""
        self.last_read_at = self._server.monotonic()
        try:
            self._engine.receive(data, self)
        except EngineFailed as failed:
            self._server.on_broken(self, failed)
            self._write_now()
            self.close()
            return
        if not self._dirty:
            # Answers to pings and settings, window updates: they wait for the calls that this data started.
            self._dirty = True
            self._loop.call_soon(self.flush)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what runs for this client."""
        self._transport = None
        for stream in list(self.streams.values()):
            self._server.forget(stream)
            stream.abandon()
        self.streams.clear()
        self._server.forget_connection(self)

    def pause_writing(self) -> None:
        """The socket takes no more: leave data in the engine, where it counts as queued."""
        self._is_paused = True
        self.stalled_since = self._server.monotonic()

    def resume_writing(self) -> None:
        """The socket takes more."""
        self._is_paused = False
        self.stalled_since = None
        self.flush()

    # What the engine hears

    def on_request(self, stream_id: int, headers: Sequence[Header], *, end: bool) -> None:
        """Open a stream, or answer at once what cannot be one."""
        fields = dict(headers)
        content_type = fields.get(b"content-type", b"")
        if not content_type.startswith(b"application/grpc") or fields.get(b":method") != b"POST":
            status = b"415" if fields.get(b":method") == b"POST" else b"405"
            self._engine.respond(stream_id, [(b":status", status)], end=True)
            self.touch()
            return
        endpoint = self._server.endpoints.get(fields[b":path"].decode("latin-1"))
        if endpoint is not None and endpoint.is_unary and self._server.gate.sheds(endpoint.path, self.peer):
            self._shed(stream_id, fields, end=end)
            return
        metadata = metadata_of(headers)
        request_id = request_id_of(metadata)
        if endpoint is None:
            trailers = status_trailers(
                _UNIMPLEMENTED,
                UNKNOWN_METHOD,
                [("x-request-id", request_id)],
            )
            self._engine.respond(stream_id, [*RESPONSE_HEADERS, *trailers], end=True)
            if not end:
                self._reset_later[stream_id] = 0
            self.touch()
            return
        now = self._server.monotonic()
        fault = None
        timeout = fields.get(b"grpc-timeout")
        deadline_at = now + self._server.no_deadline_s
        if timeout is not None:
            try:
                deadline_at = now + parse_timeout(timeout.decode("latin-1"))
            except WireFault as broken:
                fault = InvalidField([FieldFault(field="grpc-timeout", description=str(broken))])
        if sum(len(name) + len(value) for name, value in headers) > self._server.max_metadata_bytes:
            fault = InvalidField(
                [
                    FieldFault(
                        field="metadata",
                        description=f"is longer than {self._server.max_metadata_bytes} bytes; send less of it",
                    )
                ]
            )
        stream = Stream(
            self,
            stream_id,
            endpoint,
            metadata,
            request_id,
            MessageReader(fields.get(b"grpc-encoding", b"identity").decode("latin-1"), self._server.max_message_bytes),
            arrived_at=now,
            deadline_at=deadline_at,
        )
        stream.fault = fault
        self.streams[stream_id] = stream
        self._server.expect(stream)
        if end:
            stream.take([], 0, end=True)
        if end or endpoint.client_streaming or fault is not None:
            self._server.begin(stream)

    def _shed(self, stream_id: int, fields: Mapping[bytes, bytes], *, end: bool) -> None:
        """Refuse a call of which nothing was read but what it is."""
        given = fields.get(b"x-request-id")
        request_id = request_id_of({} if given is None else {"x-request-id": given.decode("latin-1")})
        self._engine.respond(stream_id, self._server.gate.refusal(request_id), end=True)
        if not end:
            self._reset_later[stream_id] = NO_ERROR
        self.touch()
        self.on_refused()

    def on_data(self, stream_id: int, data: bytes, *, end: bool) -> None:
        """Cut messages out of what came; begin a unary call with its last byte."""
        stream = self.streams.get(stream_id)
        if stream is None or stream.fault is not None or stream.is_answered:
            self._engine.acknowledge(stream_id, len(data))
            return
        try:
            messages = stream.reader.feed(data)
            if end and not stream.reader.is_between_messages:
                raise WireFault("the stream ended inside a message; send it whole")
            if not stream.endpoint.client_streaming and len(messages) + stream.has_message > 1:
                raise WireFault(ONE_MESSAGE)  # at once: what nobody reads must not add up
        except WireFault as broken:
            stream.fault = InvalidField([FieldFault(field="", description=str(broken))])
            self._engine.acknowledge(stream_id, len(data))
            stream.break_off(stream.fault)
            if stream.task is None:
                self._server.begin(stream)
            return
        if stream.endpoint.client_streaming:
            stream.take(messages, len(data), end=end)
        else:  # bounded by the size of one message, and read whole before the handler starts
            self._engine.acknowledge(stream_id, len(data))
            stream.take(messages, 0, end=end)
        if end and not stream.endpoint.client_streaming:
            self._server.begin(stream)

    def on_stream_closed(self, stream_id: int, error_code: int) -> None:
        """Forget a stream; cancel its handler if the client left before the answer."""
        self._reset_later.pop(stream_id, None)
        stream = self.streams.pop(stream_id, None)
        if stream is not None:
            self._waiting.discard(stream)
            self._server.forget(stream)
            stream.abandon()
            self.last_active_at = self.last_read_at

    def on_window(self, stream_id: int) -> None:
        """Data that waited may go; the flush wakes who waits for it."""

    def on_ping(self) -> None:
        """Count pings that come too often without a call."""
        now = self.last_read_at
        if now - self._last_ping_at < MIN_PING_INTERVAL_S:
            self._strikes += 1
            if self._strikes > MAX_PING_STRIKES and self.drain_stage < 3:
                self.drain_stage = 3
                self._engine.end(ENHANCE_YOUR_CALM, reason=b"too_many_pings")
                self.touch()
                self._loop.call_later(_LAST_WORDS_S, self.close)
        self._last_ping_at = now

    def on_ping_acknowledged(self, data: bytes) -> None:
        """Go on with a drain, or note that the client lives."""
        if data == _DRAIN_PING and self.drain_stage == 1:
            self.finish_drain()
        else:
            self._ping_sent_at = None

    # What streams send

    def start(self, stream: Stream) -> None:
        """Run the handler of a stream."""
        self._server.start(stream)

    def respond(self, stream_id: int, headers: Sequence[Header], *, end: bool = False) -> None:
        """Queue response headers."""
        self._strikes = 0
        self._engine.respond(stream_id, headers, end=end)
        self.touch()

    def send(self, stream_id: int, data: bytes) -> None:
        """Queue data."""
        self._strikes = 0  # gRPC clients measure the line by a ping while data arrives
        self._engine.send(stream_id, data)
        self.touch()

    def finish(self, stream_id: int, trailers: Sequence[Header]) -> None:
        """Queue trailers."""
        self._engine.finish(stream_id, trailers)
        self.touch()

    def reset(self, stream_id: int, error_code: int = CANCEL) -> None:
        """End a stream without an answer."""
        self._engine.reset(stream_id, error_code)
        self.touch()

    def reset_after_answer(self, stream_id: int, error_code: int) -> None:
        """End a stream whose request goes on, once its answer has left."""
        self._reset_later[stream_id] = error_code

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Let the client send so much more."""
        self._engine.acknowledge(stream_id, size)
        self.touch()

    def queued(self, stream_id: int) -> int:
        """Return how much of a stream's answer waits for the client."""
        return self._engine.queued(stream_id)

    def waits(self, stream: Stream) -> None:
        """Wake this stream's handler once the client has taken enough."""
        self._waiting.add(stream)
        self.touch()

    def on_deadline(self, stream: Stream) -> None:
        """Answer a call whose time is over and cancel its handler."""
        self._server.on_deadline(stream)

    def on_refused(self) -> None:
        """Spend a little of what refusals may cost; read nothing more of this client until it is earned again.

        A client that floods would otherwise keep the loop busy with refusals, and nothing would be left for calls.
        """
        wait_s = self._server.gate.pay_refusal()
        transport = self._transport
        if wait_s > 0 and transport is not None and transport.is_reading():
            transport.pause_reading()
            self._loop.call_later(wait_s, self._read_on)

    # Writing

    def touch(self) -> None:
        """Write at the end of this turn of the loop: answers of many calls leave together."""
        if not self._dirty:
            self._dirty = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what the engine has, unless the socket is full; wake handlers that can go on."""
        self._dirty = False
        transport = self._transport
        if transport is None:
            return
        if not self._is_paused:
            self._write_now()
            if self._reset_later:
                self._reset_answered()
        if self._waiting:
            for stream in [one for one in self._waiting if self._engine.queued(one.stream_id) <= _RESUME_BYTES]:
                self._waiting.discard(stream)
                stream.wake_writer()
        self._bound_what_waits(transport)
        if self.drain_stage >= 2 and not self.streams:
            self.close()

    def _write_now(self) -> None:
        transport = self._transport
        if transport is not None:
            data = self._engine.take(self)
            if data:
                transport.write(data)

    def _reset_answered(self) -> None:
        for stream_id in [one for one in self._reset_later if not self._engine.queued(one)]:
            self._engine.reset(stream_id, self._reset_later.pop(stream_id))
        self._write_now()

    def _bound_what_waits(self, transport: asyncio.Transport) -> None:
        if self._engine.queued_in_all() > MAX_WAITING_BYTES and transport.is_reading():
            transport.pause_reading()
            # The client's window updates are not read meanwhile: the timer lets them in.
            self._loop.call_later(0.05, self._read_on)

    def _read_on(self) -> None:
        if self._transport is not None and not self._transport.is_reading():
            self._transport.resume_reading()

    # Its end

    def begin_drain(self) -> None:
        """Send the first GOAWAY and a ping; the second one, with the last stream, follows its answer."""
        if self.drain_stage == 0:
            self.drain_stage = 1
            self._engine.announce_end()
            self._engine.ping(_DRAIN_PING)
            self.touch()
            self._loop.call_later(self._server.drain_round_trip_s, self.finish_drain)

    def finish_drain(self) -> None:
        """Name the last stream; close once all of them are over."""
        if self.drain_stage == 1 and self._transport is not None:
            self.drain_stage = 2
            self._engine.end()
            self.touch()

    def check_life(self, now: float, keepalive_s: float, keepalive_timeout_s: float, stall_s: float) -> None:
        """Ping a client that is silent; drop one that does not answer, or that takes nothing for too long."""
        if self._ping_sent_at is not None and now - self._ping_sent_at > keepalive_timeout_s:
            if self.last_read_at < self._ping_sent_at:
                self.abort()
                return
            self._ping_sent_at = None
        if self.stalled_since is not None and now - self.stalled_since > stall_s:
            self.abort()
        elif self._ping_sent_at is None and now - self.last_read_at > keepalive_s:
            self._ping_sent_at = now
            self._engine.ping(_KEEPALIVE_PING)
            self.touch()

    def close(self) -> None:
        """Close after what is written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


_RESUME_BYTES = 32 * 1024
"""A handler that waits goes on when its stream holds no more than this."""
