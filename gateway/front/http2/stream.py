"""One call on one HTTP/2 stream: its messages, its answer, and its end, which either side may cause first.

`call_runner.py` runs the handler; `connection.py` moves the bytes. Calls that report to a stream never raise.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from gateway.actions.shared.call import Peer
from gateway.errors import GatewayError
from gateway.front.dispatch import NO_DEADLINE_S
from gateway.front.http2.decompression import Decompression
from gateway.front.http2.engine import CANCEL, NO_ERROR
from gateway.front.http2.request import Request
from gateway.front.http2.wire import RESPONSE_HEADERS, Compressed, Header, MessageReader, framed, metadata_headers


class Outlet(Protocol):
    """The way back to the client; `outflow.Outflow` is one."""

    def respond(self, stream_id: int, headers: Sequence[Header], *, end: bool = False) -> None:
        """Queue response headers."""
        ...

    def send(self, stream_id: int, data: bytes) -> None:
        """Queue data."""
        ...

    def finish(self, stream_id: int, trailers: Sequence[Header]) -> None:
        """Queue trailers."""
        ...

    def reset(self, stream_id: int, error_code: int = CANCEL) -> None:
        """End a stream without an answer."""
        ...

    def reset_after_answer(self, stream_id: int, error_code: int) -> None:
        """End a stream whose request goes on, once its answer has left."""
        ...

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Let the client send this many more bytes."""
        ...

    def must_wait(self, stream_id: int) -> bool:
        """Whether the handler must wait because the client reads too slowly."""
        ...

    def wait(self, writer: Stream) -> None:
        """Wake this stream's handler once the client has taken enough."""
        ...

    @property
    def is_stuffed(self) -> bool:
        """Whether too many bytes of answers wait for this client."""
        ...


class Carrier(Protocol):
    """The connection of a stream; `connection.Connection` is one."""

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        ...

    @property
    def outflow(self) -> Outlet:
        """The way back."""
        ...

    def start(self, stream: Stream) -> None:
        """Run the handler of a stream."""
        ...


class CallerLeft(Exception):
    """The caller ended the call, or its connection broke: nobody reads an answer any more."""


class Stream:
    """State of one call. `task` runs its handler once it was admitted."""

    __slots__ = (
        "__weakref__", "_answered", "_arrived", "_headers_sent", "_messages", "_outflow", "_received_all", "_unread",
        "_writable", "arrived_at", "broken", "connection", "deadline_at", "deadline_slot", "endpoint", "expired",
        "fault", "has_begun", "is_over", "metadata", "reader", "request_id", "started_at", "stream_id", "task",
    )  # fmt: skip

    def __init__(
        self, connection: Carrier, stream_id: int, request: Request, reader: MessageReader, *, arrived_at: float
    ) -> None:
        self.connection = connection
        self._outflow = connection.outflow
        self.stream_id = stream_id
        self.endpoint = request.endpoint
        self.metadata = request.metadata
        self.request_id = request.request_id
        self.reader = reader
        self.arrived_at = arrived_at
        self.deadline_at = arrived_at + (NO_DEADLINE_S if request.timeout_s is None else request.timeout_s)
        self.deadline_slot = -1
        self.task: asyncio.Task[None] | None = None
        self.fault: GatewayError | None = request.fault
        """What is wrong with the request as it came; the call ends with it, through the chain as any other."""
        self.broken: GatewayError | None = None
        """What is wrong with a client's stream; the handler meets it behind the messages that came before it."""
        self.is_over = False
        self.expired = False
        self.started_at: float | None = None
        """When the gate let a unary call in; None before that, and again once the call has left."""
        self.has_begun = False
        """Whether the task has run at all; one that is cancelled before that never reaches the chain."""
        self._answered = False
        self._headers_sent = False
        self._received_all = False
        self._messages: deque[tuple[bytes, int]] = deque()
        self._unread = 0
        self._arrived: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None

    # What the client sends.

    def take(self, messages: list[bytes], size: int, *, end: bool) -> None:
        """Keep messages that `size` bytes of the stream brought; `end`: none follows."""
        if messages:
            # Bytes of an unfinished message are acknowledged with the one that they end in.
            share = size + self._unread
            self._unread = 0
            self._messages.extend((message, 0) for message in messages[:-1])
            self._messages.append((messages[-1], share))
        else:
            self._unread += size
            self._acknowledge_if_stuck()
        self._received_all = self._received_all or end
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def _acknowledge_if_stuck(self) -> None:
        # A message longer than the window would never become whole: with nothing else to read, let it come.
        if not self._messages and self._unread:
            self._outflow.acknowledge(self.stream_id, self._unread)
            self._unread = 0

    def break_off(self, fault: GatewayError) -> None:
        """End the client's messages with a fault: the handler that reads them meets it, or the call starts with it."""
        if self.endpoint.client_streaming:
            self.broken = fault
        else:
            self.fault = fault
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    @property
    def is_whole(self) -> bool:
        """Whether the client has sent all of its request."""
        return self._received_all

    @property
    def request(self) -> bytes | None:
        """The one message of a unary call, as it was sent; None when there is not exactly one."""
        return self._messages[0][0] if len(self._messages) == 1 else None

    @property
    def has_message(self) -> bool:
        """Whether a message waits to be read."""
        return bool(self._messages)

    async def messages(self, decompression: Decompression) -> AsyncIterator[bytes]:
        """Yield the client's messages; the client may send as much more as was taken. Raises: GatewayError."""
        while True:
            while self._messages:
                message, share = self._messages.popleft()
                if share:
                    self._outflow.acknowledge(self.stream_id, share)
                if type(message) is Compressed:
                    message = await decompression.plain(message, self.reader)
                yield message
            if self.broken is not None:
                raise self.broken
            if self._received_all:
                return
            self._acknowledge_if_stuck()
            self._arrived = asyncio.get_running_loop().create_future()
            try:
                await self._arrived
            finally:
                self._arrived = None

    # What goes back.

    def send_headers(self, metadata: tuple[tuple[str, str | bytes], ...] = ()) -> None:
        """Send the initial metadata, once, before the first message."""
        if not self.is_over and not self._headers_sent:
            self._headers_sent = True
            self._outflow.respond(self.stream_id, [*RESPONSE_HEADERS, *metadata_headers(metadata)])

    async def send(self, message: bytes) -> None:
        """Send a message of a stream; wait while the client reads slower than this.

        Raises: CallerLeft.
        """
        if self.is_over:
            raise CallerLeft
        if not self._headers_sent:
            self._headers_sent = True
            self._outflow.respond(self.stream_id, RESPONSE_HEADERS)
        self._outflow.send(self.stream_id, framed(message))
        while self._outflow.must_wait(self.stream_id):
            self._writable = asyncio.get_running_loop().create_future()
            self._outflow.wait(self)
            try:
                await self._writable
            finally:
                self._writable = None
            if self.is_over:
                raise CallerLeft

    def answer(self, message: bytes, trailers: list[Header]) -> None:
        """Send a unary answer with its end."""
        if self.is_over:
            return
        outflow, stream_id = self._outflow, self.stream_id
        if not self._headers_sent:
            self._headers_sent = True
            outflow.respond(stream_id, RESPONSE_HEADERS)
        outflow.send(stream_id, framed(message))
        self.finish(trailers)

    def finish(self, trailers: list[Header]) -> None:
        """Send the end of the call; what comes after it is ignored."""
        if self.is_over or self._answered:
            return
        self._answered = True
        if self._headers_sent:
            self._outflow.finish(self.stream_id, trailers)
        else:
            self._headers_sent = True
            self._outflow.respond(self.stream_id, [*RESPONSE_HEADERS, *trailers], end=True)
        if not self._received_all:
            # The rest of the request is not wanted. Without this its sender could fill the connection's window.
            self._outflow.reset_after_answer(self.stream_id, NO_ERROR)

    @property
    def is_answered(self) -> bool:
        """Whether the end of the call was sent."""
        return self._answered

    def wake_writer(self) -> None:
        """The client can take more."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # How it ends.

    def abandon(self) -> None:
        """The caller has gone: cancel the handler, wake what waits."""
        if self.is_over:
            return
        self.is_over = True
        self._give_back()
        self.wake_writer()
        if self.task is not None and not self.task.done() and not self._answered:
            self.task.cancel()
            if not self.has_begun:
                # The error of a task that never ran leads to its arguments: the two would stay until a collection.
                self.task = None

    def _give_back(self) -> None:
        """Acknowledge what nobody will read any more: it still counts against the window of the connection."""
        size = self._unread + sum(share for _, share in self._messages)
        self._messages.clear()
        self._unread = 0
        if size:
            self._outflow.acknowledge(self.stream_id, size)

    def reset(self) -> None:
        """End the stream without an answer."""
        self._outflow.reset(self.stream_id, CANCEL)
