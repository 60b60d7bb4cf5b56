"""The way in on one connection: what a client sends is read in pieces, and no faster than refusals may cost time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.front.http2.gate import Gate

PIECE_BYTES = 8192
"""Read at once: at least forty calls, before it is asked whether this turn of the loop has time for more."""
TURN_S = 0.001
"""For one client in one turn, beyond its first piece. A socket gives 256 KiB at once, and the resets that fit into them
take a tenth of a second, in which nobody else would be served."""


class Inflow:
    """Passes on what comes. Before `open` and after `closed` nothing is kept back."""

    __slots__ = ("_gate", "_is_waiting", "_monotonic", "_receive", "_transport", "_unread", "was_refused")

    def __init__(self, gate: Gate, receive: Callable[[bytes], bool], monotonic: Callable[[], float]) -> None:
        """Args: `receive` takes a piece and returns whether more may follow."""
        self._gate = gate
        self._monotonic = monotonic
        self._receive = receive
        self._transport: asyncio.Transport | None = None
        self._unread = b""
        self._is_waiting = False
        self.was_refused = False
        """Whether a call in the piece that was read last was refused; `receive` sets it. Nobody else has to wait."""

    def open(self, transport: asyncio.Transport) -> None:
        """Read from this transport from now on."""
        self._transport = transport

    def closed(self) -> None:
        """The connection is gone."""
        self._transport = None
        self._unread = b""

    def take(self, data: bytes) -> None:
        """Pass on what came, or keep it while this connection has to wait."""
        if self._is_waiting:
            self._unread += data
        else:
            self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        until = self._monotonic() + TURN_S if len(data) > PIECE_BYTES else 0.0
        for at in range(0, len(data), PIECE_BYTES):
            has_refused_enough = self.was_refused and self._gate.has_refused_enough
            if has_refused_enough or (at and self._monotonic() > until):
                self._unread = data[at:]
                self._wait(self._gate.read_later if has_refused_enough else asyncio.get_running_loop().call_soon)
                return
            self.was_refused = False
            if not self._receive(data[at : at + PIECE_BYTES]):
                return

    def _wait(self, later: Callable[[Callable[[], None]], object]) -> None:
        """Read nothing more of this client in this turn: its frames or refusals would leave no time for others."""
        self._is_waiting = True
        if self._transport is not None:
            self._transport.pause_reading()
        later(self._go_on)

    def _go_on(self) -> None:
        self._is_waiting = False
        data, self._unread = self._unread, b""
        self._pass_on(data)
        if self._transport is not None and not self._is_waiting:
            self._transport.resume_reading()
