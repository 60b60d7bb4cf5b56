"""The way in on one connection: what a client sends is read in small pieces, and no faster than the loop has time.

A socket gives 256 KiB at once; the frames that fit into them take up to a second, in which nobody else would be served.
So a connection reads for `TURN_S` at most, and continues behind the others that wait, in a later turn (`gate.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.front.http2.read_turns import ReadTurns

FEWEST_BYTES, FIRST_BYTES, MOST_BYTES = 64, 1024, 16 * 1024
"""Of a piece. It follows what the pieces of this connection take: large where it brings messages, small where it
brings frames that are dear for their size."""
QUICK_S, SLOW_S = 30e-6, 125e-6
TURN_S = 200e-6
SOCKET_S_PER_BYTE, MOST_SOCKET_S = 8e-9, 300e-6
"""What the kernel takes to read the socket of a client that was kept waiting: it is full of small writes. Ten such
sockets in one turn took 3 to 8 ms. Large writes take less, so there is a most."""
LATE_S, CAUGHT_UP_S = 0.05, 0.01
"""Under overload, a connection brings too much if what came at once is not read after so long. It has caught up when it
is, within the second time."""
REFUSED_S = 1.0
"""A client is read seldom for so long after a refusal: where one call was too much, the next one probably is too, and
several that are read at once cost less than as many reads."""


class Inflow:
    """Passes on what comes. Before `open` and after `closed` nothing is kept back."""

    __slots__ = (
        "_came_at", "_came_bytes", "_flush", "_is_waiting", "_monotonic", "_piece_bytes", "_read_to", "_receive",
        "_refused_until", "_transport", "_turns", "_unread", "cancels_too_much", "is_late", "was_refused",
    )  # fmt: skip

    def __init__(
        self,
        turns: ReadTurns,
        receive: Callable[[bytes], bool],
        flush: Callable[[], None],
        monotonic: Callable[[], float],
    ) -> None:
        """Args: `receive` takes a piece and returns whether more may follow. `flush` writes the refusals of what was
        read."""
        self._turns = turns
        self._monotonic = monotonic
        self._receive = receive
        self._flush = flush
        self._transport: asyncio.Transport | None = None
        self._came_at = 0.0
        self._came_bytes = 0
        self._unread = b""
        self._read_to = 0
        self._piece_bytes = FIRST_BYTES
        self._is_waiting = False
        self._refused_until = 0.0
        self.was_refused = False
        """Whether a call in the piece that was read last was refused; `receive` sets it. Nobody else has to wait."""
        self.is_late = False
        """Whether this connection was parked and has not caught up: what is read of it now is old."""
        self.cancels_too_much = False
        """Whether what was read in this turn cancelled calls, and that too many; `receive` sets it."""

    def open(self, transport: asyncio.Transport) -> None:
        """Read from this transport from now on."""
        self._transport = transport

    def closed(self) -> None:
        """The connection is gone."""
        self._transport = None
        self._unread = b""

    def take(self, data: bytes) -> None:
        """Pass on what came, or keep it while this connection has to wait."""
        self._came_at = self._monotonic()
        self._came_bytes = len(data)
        if self._unread:
            self._unread = self._unread[self._read_to :] + data
        else:
            self._unread = data
        self._read_to = 0
        if self._is_waiting:
            return
        if self.was_refused:
            self._wait(self._turns.catch_up if self.is_late else self._turns.later)
        else:
            self._read()

    def _read(self) -> None:
        began = at = self._monotonic()
        took_s = 0.0
        self.cancels_too_much = False
        while self._read_to < len(self._unread):
            if at - began + took_s > TURN_S:
                self._wait(self._later(at))
                break
            size = self._piece_bytes
            piece = self._unread[self._read_to : self._read_to + size]
            self._read_to += size
            self.was_refused = False
            if not self._receive(piece):
                self._unread = b""
                return
            before, at = at, self._monotonic()
            took_s = at - before
            if took_s > SLOW_S:
                self._piece_bytes = max(FEWEST_BYTES, size // 2)
            elif took_s < QUICK_S and len(piece) == size:
                self._piece_bytes = min(MOST_BYTES, size * 2)
        else:
            self._unread = b""
            if self.is_late and at - self._came_at < CAUGHT_UP_S:
                self.is_late = False
            if self.cancels_too_much:
                self._wait(self._turns.paced.add)
            elif self.was_refused or at < self._refused_until:
                self._wait(self._turns.after_refusal)
        if self.was_refused:  # part of the time to read them
            self._flush()
            at = self._monotonic()
            self._refused_until = at + REFUSED_S
        self._turns.note(at - began)

    def _later(self, now: float) -> Callable[[Callable[[], bool]], None]:
        """Return when to go on with what is left."""
        if self.cancels_too_much:
            return self._turns.paced.add
        if self.is_late:
            return self._turns.catch_up
        if now < self._refused_until and self._turns.parks(now, is_late=now - self._came_at > LATE_S):
            self.is_late = True
            return self._turns.park
        return self._turns.later

    def _wait(self, later: Callable[[Callable[[], bool]], None]) -> None:
        """Read nothing more of this client in this turn: its frames or refusals would leave no time for others."""
        self._is_waiting = True
        if self._transport is not None:
            self._transport.pause_reading()
        later(self._go_on)

    def _go_on(self) -> bool:
        self._is_waiting = False
        if self._transport is None and not self._unread:
            return False
        if self._unread:
            self._read()
        else:  # its socket is read next, and probably holds as much as it did last
            self._turns.note(min(MOST_SOCKET_S, self._came_bytes * SOCKET_S_PER_BYTE))
        if self._transport is not None and not self._is_waiting:
            self._transport.resume_reading()
        return True
