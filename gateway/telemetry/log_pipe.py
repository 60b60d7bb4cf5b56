"""Writes log lines to what may stop taking them: a pipe, a socket or a terminal, from a thread of its own.

A container's log driver that hangs, or a terminal that someone paused, would otherwise hang every call once its buffer
is full. Here lines wait, up to a limit. Above it they are dropped and counted.
"""

from __future__ import annotations

import atexit
import os
import select
import stat
import threading
import time
from collections import deque

from gateway.telemetry.line_pieces import pieces

MAX_WAITING_BYTES = 1024 * 1024
_LAST_CHANCE_S = 1.0
"""How long the end of the process waits for lines that are not written yet."""


def may_block(descriptor: int) -> bool:
    """Tell whether a write may wait for a reader: anything but a regular file and the null device."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    if stat.S_ISCHR(status.st_mode):
        return os.isatty(descriptor)
    return stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode)


class LogPipe:
    """Takes lines without waiting. `lost` counts those that were dropped or could not be written."""

    def __init__(self, descriptor: int) -> None:
        """Write to this open descriptor. The thread begins with the first line."""
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self.lost = 0
        self.fault = ""
        """Why the last lines were lost: `full` if the reader is slow, `closed` if it left; empty if they were taken."""

    def put(self, lines: list[bytes], reports: int = 0) -> bool:
        """Have the lines (each with its line end) written soon. Return False, and drop them, if too many wait.

        Args: `reports`: how many of them only report lost lines, and do not count as lost themselves.
        """
        size = sum(map(len, lines))
        with self._wake:
            if self._waiting_bytes + size > MAX_WAITING_BYTES:
                self.lost += len(lines) - reports
                self.fault = "full"
                return False
            self.fault = ""
            self._lines.extend(lines)
            self._waiting_bytes += size
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
                atexit.register(self.drain)
            self._wake.notify()
        return True

    def drain(self, within_s: float = _LAST_CHANCE_S) -> None:
        """Wait until all lines are written, at most this long."""
        until = time.monotonic() + within_s
        while self._waiting_bytes and time.monotonic() < until:
            time.sleep(0.002)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._lines:
                    self._wake.wait()
                lines = list(self._lines)
                self._lines.clear()
            for piece, count in pieces(lines):
                try:
                    self._write(piece)
                    lost = 0
                except Exception:  # noqa: BLE001 - the thread must go on, and count what it could not write
                    lost = count
                with self._wake:
                    self._waiting_bytes -= len(piece)
                    self.lost += lost
                    if lost:
                        self.fault = "closed"

    def _write(self, piece: bytes) -> None:
        view = memoryview(piece)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:  # whoever made the pipe made it non-blocking
                waiter = select.poll()
                waiter.register(self._descriptor, select.POLLOUT)
                waiter.poll()
