"""One connection of a client: gives bytes to the engine, and each report of the engine to the stream that it concerns.

`inflow.py` reads in pieces, `request.py` understands headers, `stream.py` keeps a call's state, `outflow.py` writes,
`lifetime.py` decides when it ends.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, cast

from gateway.actions.shared.call import Peer
from gateway.errors import FieldFault, GatewayError, InvalidField, Overloaded
from gateway.front.endpoint import Endpoint
from gateway.front.http2.broken_hosts import BrokenHosts
from gateway.front.http2.engine import NO_ERROR, Engine, EngineFailed
from gateway.front.http2.gate import FORWARDED_FIELD, Gate
from gateway.front.http2.inflow import Inflow
from gateway.front.http2.lifetime import Lifetime
from gateway.front.http2.outflow import Backlog, Outflow
from gateway.front.http2.request import ONE_MESSAGE, early_request_id, endpoint_of, read_request
from gateway.front.http2.stream import Stream
from gateway.front.http2.wire import Header, MessageReader, WireFault

_NOT_SHED = (-1, "")
_FORGOTTEN_PER_TURN = 100


class Calls(Protocol):
    """What starts and ends calls; `calls.Calls` is one."""

    def arrived(self, stream: Stream) -> None:
        """The headers of a call are here: its time runs."""
        ...

    def begin(self, stream: Stream) -> None:
        """The call can start: its request is whole, or it is a stream, or faulty."""
        ...

    def start(self, stream: Stream) -> None:
        """Run a call's handler."""
        ...

    def forget(self, stream: Stream) -> None:
        """A stream is over."""
        ...


class Host(Protocol):
    """What a connection needs of its server; `server.Http2Server` is one."""

    loop: asyncio.AbstractEventLoop
    endpoints: Mapping[str, Endpoint]
    unnamed_peer: Peer
    max_message_bytes: int
    max_metadata_bytes: int
    backlog: Backlog
    gate: Gate
    unfinished: Unfinished
    broken_hosts: BrokenHosts
    monotonic: Callable[[], float]

    @property
    def calls(self) -> Calls:
        """What starts and ends calls."""
        ...

    def admit_connection(self, connection: Connection, transport: asyncio.Transport) -> bool:
        """Count a connection in; False when it has to be closed."""
        ...

    def forget_connection(self, connection: Connection) -> None:
        """A connection is closed."""
        ...


class Unfinished:
    """How many bytes of unfinished messages a listener holds. Beyond `MAX_BYTES` whoever sends more of one is refused:
    windows bound a stream and a connection, and there may be many of both."""

    __slots__ = ("held_bytes",)
    MAX_BYTES = 256 * 1024 * 1024

    def __init__(self) -> None:
        self.held_bytes = 0


class Connection(asyncio.Protocol):
    """The protocol of one accepted connection; calls of all its streams run on the loop."""

    __slots__ = ("_engine", "_inflow", "_server", "_shed", "host", "life", "outflow", "peer", "streams")

    def __init__(self, server: Host, engine: Engine) -> None:
        self._server = server
        self._engine = engine
        self.outflow = Outflow(
            engine, self, server.loop, server.monotonic, server.backlog, self._on_flushed, server.gate.hurries
        )
        self._inflow = Inflow(server.gate.reads, self._receive, self.outflow.flush, server.monotonic)
        self.life = Lifetime(engine, self.outflow, server.loop, server.monotonic())
        self.streams: dict[int, Stream] = {}
        self.peer = server.unnamed_peer
        self.host = ""
        """Whose new connections wait once this one is broken: nobody's if this is empty."""
        self._shed = _NOT_SHED

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register, send the settings."""
        made = cast(asyncio.Transport, transport)
        if not self._server.admit_connection(self, made):
            made.abort()
            return
        self._inflow.open(made)
        self.outflow.open(made)
        self._engine.start()
        self.outflow.flush()

    def data_received(self, data: bytes) -> None:
        """Give the engine what came; end the connection where the peer broke the protocol."""
        self.life.last_read_at = self._server.monotonic()
        self._inflow.take(data)

    def _receive(self, data: bytes) -> bool:
        self.outflow.is_receiving = True
        try:
            self._engine.receive(data, self)
        except EngineFailed:
            self.outflow.write_now()
            self._note_broken()
            self.outflow.close()
            return False
        finally:
            self.outflow.is_receiving = False
        # Answers to pings and settings, window updates: they wait for the calls that this data started.
        self.outflow.flush_later()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what runs for this client."""
        self._inflow.closed()
        self.outflow.closed()
        self._forget_some()
        self._server.forget_connection(self)

    def _forget_some(self) -> None:
        """Forget the streams of a lost connection; there may be thousands, and others wait."""
        for stream_id in list(itertools.islice(self.streams, _FORGOTTEN_PER_TURN)):
            self._forget(self.streams.pop(stream_id))
        if self.streams:
            self._server.loop.call_soon(self._forget_some)

    def pause_writing(self) -> None:
        """The socket is full."""
        self.outflow.pause()

    def resume_writing(self) -> None:
        """The socket takes more."""
        self.outflow.resume()

    # What the engine hears

    def on_request(self, stream_id: int, headers: Sequence[Header], *, end: bool) -> None:
        """Open a stream, or answer at once what cannot be one."""
        server = self._server
        fields = dict(headers)
        endpoint = endpoint_of(fields, server.endpoints)
        if isinstance(endpoint, list):
            self._answer_at_once(stream_id, endpoint, end=end)
            return
        gate = server.gate
        # Within a turn, further calls of this connection to the same method are refused without another check.
        if self._shed == (gate.turn, endpoint.path) or (
            endpoint.is_unary and gate.sheds(endpoint.path, self.peer, fields, is_late=self._inflow.is_late)
        ):
            self._shed = (gate.turn, endpoint.path) if FORWARDED_FIELD not in fields else _NOT_SHED
            self._answer_at_once(stream_id, gate.refusal(early_request_id(fields)), end=end)
            gate.note_refusal(endpoint.path)
            self._inflow.was_refused = True
            return
        request = read_request(headers, fields, endpoint, server.max_metadata_bytes)
        stream = Stream(
            self,
            stream_id,
            request,
            MessageReader(request.encoding, server.max_message_bytes),
            arrived_at=server.monotonic(),
        )
        self.streams[stream_id] = stream
        if end:
            stream.take([], 0, end=True)
        server.calls.arrived(stream)
        if end or endpoint.client_streaming or request.fault is not None:
            server.calls.begin(stream)

    def _answer_at_once(self, stream_id: int, headers: Sequence[Header], *, end: bool) -> None:
        """Answer what becomes no stream here. Args: `end`: its request is whole."""
        self.outflow.respond(stream_id, headers, end=True)
        if not end:
            self.outflow.reset_after_answer(stream_id, NO_ERROR)

    def on_data(self, stream_id: int, data: bytes, *, end: bool) -> None:
        """Cut messages out of what came; begin a unary call with its last byte."""
        stream = self.streams.get(stream_id)
        if stream is None or stream.fault is not None or stream.broken is not None or stream.is_answered:
            self._engine.acknowledge(stream_id, len(data))
            return
        messages, fault = self._read(stream, data, end=end)
        if stream.endpoint.client_streaming and (messages or fault is None):
            stream.take(messages, len(data), end=end)
            if fault is not None:
                self._break_off(stream, fault, 0)
            return
        if fault is not None:
            self._break_off(stream, fault, len(data))
            return
        # Bounded by the size of one message, and read whole before the handler starts.
        self._engine.acknowledge(stream_id, len(data))
        stream.take(messages, 0, end=end)
        if end:
            self._server.calls.begin(stream)

    def _read(self, stream: Stream, data: bytes, *, end: bool) -> tuple[list[bytes], GatewayError | None]:
        """Return the messages that are whole with this data, and what is wrong after them."""
        unfinished, reader = self._server.unfinished, stream.reader
        held = reader.held_bytes
        try:
            messages = reader.feed(data)
            broken = reader.fault
        except WireFault as raised:
            messages, broken = [], raised
        unfinished.held_bytes += reader.held_bytes - held
        if not stream.endpoint.client_streaming and len(messages) + stream.has_message > 1:
            return messages, InvalidField([ONE_MESSAGE])  # at once: what nobody reads must not add up
        if broken is not None:
            return messages, InvalidField([FieldFault(field="", description=str(broken))])
        if reader.held_bytes:
            if end:
                description = "the stream ended inside a message; send it whole"
                return messages, InvalidField([FieldFault(field="", description=description)])
            if unfinished.held_bytes > unfinished.MAX_BYTES:
                return messages, Overloaded()
        return messages, None

    def _break_off(self, stream: Stream, fault: GatewayError, size: int) -> None:
        """End the client's messages with a fault. The handler that reads them meets it; else the call starts with it.

        Args: `size` of the data that brought the fault.
        """
        self._drop_unfinished(stream)
        if size:
            self._engine.acknowledge(stream.stream_id, size)
        stream.break_off(fault)
        if not stream.endpoint.client_streaming:
            self._server.calls.begin(stream)

    def _drop_unfinished(self, stream: Stream) -> None:
        held = stream.reader.held_bytes
        if held:
            self._server.unfinished.held_bytes -= held
            stream.reader.drop()

    def on_stream_closed(self, stream_id: int, error_code: int) -> None:
        """Forget a stream; cancel its handler if the client left before the answer."""
        stream = self.streams.pop(stream_id, None)
        self.outflow.forget(stream_id, stream)
        if stream is not None:
            if self._server.gate.note_closed(stream):
                self._inflow.cancels_too_much = True
            self._forget(stream)
            self.life.last_active_at = self._server.monotonic()

    def _forget(self, stream: Stream) -> None:
        self._drop_unfinished(stream)
        self._server.calls.forget(stream)
        stream.abandon()

    def start(self, stream: Stream) -> None:
        """Run the handler of a stream that the gate lets in."""
        self._server.calls.start(stream)

    def on_ping(self) -> None:
        """Count pings that come too often."""
        self.life.on_ping()

    def on_ping_acknowledged(self, data: bytes) -> None:
        """Go on with a drain, or note that the client lives."""
        self.life.on_ping_acknowledged(data)

    def _on_flushed(self) -> None:
        self._note_broken()
        if self.life.is_over(has_streams=bool(self.streams)):
            self.outflow.close()

    def _note_broken(self) -> None:
        """Let new connections of this host wait if it has broken this one; once, though the end may take long."""
        if self._engine.is_broken and self.host:
            self._server.broken_hosts.note(self.host, self._server.monotonic())
            self.host = ""
