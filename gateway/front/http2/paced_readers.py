"""Connections whose callers cancel too many calls wait here: one of them is read every few milliseconds, in turns.

Together they have some five percent of the loop's time, however many they are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

_EVERY_S = 0.004


class PacedReaders:
    """The connections of a process that wait."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], bool]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, read_on: Callable[[], bool]) -> None:
        """Call `read_on` once after those that wait already. It returns False when its connection has gone."""
        self._waiting.append(read_on)
        self._start()

    def stop(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_EVERY_S, self._read_next)

    def _read_next(self) -> None:
        self._timer = None
        while self._waiting:
            if self._waiting.popleft()():
                break
        if self._waiting:
            self._start()
