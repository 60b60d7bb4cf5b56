"""What goes back to one client: answers of all its streams in one write a turn, and bounds on what it does not take.

`stream.py` sends here; the engine keeps what exceeds the client's windows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.front.http2.engine import CANCEL, Engine, Receiver
from gateway.front.http2.wire import Header

MAX_QUEUED_BYTES = 64 * 1024
"""Of one stream's answers before its handler waits: the client reads slower than the handler writes."""
RESUME_BYTES = 32 * 1024
"""A handler that waits goes on when its stream holds no more than this."""
MAX_WAITING_BYTES = 32 * 1024 * 1024
"""Of all answers that one client does not take. Beyond it new calls are refused, and a stream's next message waits
until the client has taken its last one."""
MAX_WAITING_IN_ALL_BYTES = 256 * 1024 * 1024
"""The same over all clients of a listener. Beyond it, each has a share of `FAIR_SHARE_BYTES`."""
FAIR_SHARE_BYTES = 1024 * 1024
WRITE_BYTES = 128 * 1024
"""Written to one client in a turn of the loop. More takes others' time, and of a client that reads nothing it would all
wait in the transport's buffer."""


class Writer(Protocol):
    """A stream whose handler waits until the client has taken enough."""

    stream_id: int

    def wake_writer(self) -> None:
        """The client can take more."""
        ...


class Backlog:
    """How many bytes wait for all clients of a listener together."""

    __slots__ = ("waiting_bytes",)

    def __init__(self) -> None:
        self.waiting_bytes = 0


class Outflow:
    """The way back on one connection. Before `open` and after `closed` nothing is written."""

    __slots__ = (
        "_backlog", "_dirty", "_engine", "_hurries", "_is_paused", "_left", "_loop", "_monotonic", "_on_flushed",
        "_receiver", "_reset_later", "_transport", "_writers", "has_sent", "is_receiving", "stalled_since",
    )  # fmt: skip

    def __init__(
        self,
        engine: Engine,
        receiver: Receiver,
        loop: asyncio.AbstractEventLoop,
        monotonic: Callable[[], float],
        backlog: Backlog,
        on_flushed: Callable[[], None],
        hurries: Callable[[], bool],
    ) -> None:
        """Args: `on_flushed` is called after each write, when streams may have ended. `hurries` says whether an answer
        leaves by itself, because those that could leave with it come late."""
        self._engine = engine
        self._receiver = receiver
        self._loop = loop
        self._monotonic = monotonic
        self._backlog = backlog
        self._on_flushed = on_flushed
        self._hurries = hurries
        self.is_receiving = False
        """Whether the engine reports what came; it cannot be asked for what leaves meanwhile."""
        self._transport: asyncio.Transport | None = None
        self._writers: set[Writer] = set()
        self._reset_later: dict[int, int] = {}
        self._dirty = False
        self._is_paused = False
        self._left = 0
        self.has_sent = False
        """Whether anything was queued here since it was last set to False; answers to pings are not."""
        self.stalled_since: float | None = None
        """Since when the socket has taken nothing. A client that opens no window is none of this: its other calls may
        go on, and what waits for it is bounded."""

    def open(self, transport: asyncio.Transport) -> None:
        """Write to this transport from now on."""
        self._transport = transport

    def closed(self) -> None:
        """The connection is gone."""
        self._transport = None
        self._writers.clear()
        self._backlog.waiting_bytes -= self._left
        self._left = 0

    # What streams send. Everything leaves at the end of this turn of the loop.

    def respond(self, stream_id: int, headers: Sequence[Header], *, end: bool = False) -> None:
        """Queue response headers."""
        self._engine.respond(stream_id, headers, end=end)
        self.touch()

    def send(self, stream_id: int, data: bytes) -> None:
        """Queue data."""
        self._engine.send(stream_id, data)
        self.touch()

    def finish(self, stream_id: int, trailers: Sequence[Header]) -> None:
        """Queue trailers."""
        self._engine.finish(stream_id, trailers)
        self.touch()
        if not self.is_receiving and self._hurries():
            self.flush()

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

    def must_wait(self, stream_id: int) -> bool:
        """Whether a handler that has just sent has to wait for the client."""
        queued = self._engine.queued(stream_id)
        return queued > MAX_QUEUED_BYTES or (queued > 0 and self.is_stuffed)

    def wait(self, writer: Writer) -> None:
        """Wake this stream's handler once the client has taken enough."""
        self._writers.add(writer)
        self.touch()

    @property
    def is_stuffed(self) -> bool:
        """Whether more answers wait for this client than may."""
        waiting = self._engine.queued_in_all()
        if self._backlog.waiting_bytes > MAX_WAITING_IN_ALL_BYTES:
            return waiting > FAIR_SHARE_BYTES
        return waiting > MAX_WAITING_BYTES

    def forget(self, stream_id: int, writer: Writer | None) -> None:
        """A stream is over."""
        self._reset_later.pop(stream_id, None)
        if writer is not None:
            self._writers.discard(writer)

    # Writing

    def touch(self) -> None:
        """Write at the end of this turn of the loop: answers of many calls leave together."""
        self.has_sent = True
        if not self._dirty:
            self._dirty = True
            self._loop.call_soon(self._flush_what_is_left)

    def flush_later(self) -> None:
        """As `touch`, for what the engine answers by itself: settings and pings."""
        if not self._dirty:
            self._dirty = True
            self._loop.call_soon(self._flush_what_is_left)

    def _flush_what_is_left(self) -> None:
        if self._dirty:
            self.flush()

    def flush(self) -> None:
        """Write what the engine has, unless the socket is full; wake handlers that can go on."""
        self._dirty = False
        if self._transport is None:
            return
        if not self._is_paused:
            if self._write(WRITE_BYTES) >= WRITE_BYTES:
                self.flush_later()  # answers may be left, though nothing of their bodies is queued
            elif self._reset_later:
                self._reset_answered()
        left = self._engine.queued_in_all()
        if left != self._left:
            self._backlog.waiting_bytes += left - self._left
            self._left = left
        if self._writers:
            self._wake_writers()
        self._on_flushed()

    def write_now(self) -> None:
        """Write all that the engine has, even if the socket is full."""
        self._write(None)

    def _write(self, most_bytes: int | None) -> int:
        if self._transport is None:
            return 0
        data = self._engine.take(self._receiver, most_bytes)
        if data:
            self._transport.write(data)
        return len(data)

    def pause(self) -> None:
        """The socket takes no more: leave data in the engine, where it counts as queued."""
        self._is_paused = True
        self.stalled_since = self._monotonic()

    def resume(self) -> None:
        """The socket takes more."""
        self._is_paused = False
        self.stalled_since = None
        self.flush()

    def _reset_answered(self) -> None:
        for stream_id in [one for one in self._reset_later if not self._engine.queued(one)]:
            self._engine.reset(stream_id, self._reset_later.pop(stream_id))
        self._write(WRITE_BYTES)

    def _wake_writers(self) -> None:
        most = 0 if self.is_stuffed else RESUME_BYTES
        for writer in [one for one in self._writers if self._engine.queued(one.stream_id) <= most]:
            self._writers.discard(writer)
            writer.wake_writer()

    # The end

    def close(self) -> None:
        """Close after what is written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
