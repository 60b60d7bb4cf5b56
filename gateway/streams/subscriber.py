"""The bounded queue of one watcher: `offer` never waits, and a slow reader gets the newest board."""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

QUEUE_LIMIT = 4
"""Updates queued for a slow watcher. All watchers share each update, so an entry costs one reference."""


class Resync(enum.Enum):
    """Why a board is sent that does not continue the previous one."""

    SUBSCRIBED = "subscribed"
    CUT = "cut"
    SILENT = "silent"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One state of a board, serialised once for all watchers. `resync`: it begins a new epoch, for this reason."""

    payload: bytes
    epoch: str
    sequence: int
    resync: Resync | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What one watcher gets: an update, the number of skipped updates before it, and the reason of a resync."""

    update: Update
    skipped: int
    resync: Resync | None


class Subscriber:
    """A watcher of one board."""

    __slots__ = ("_error", "_fresh", "_limit", "_on_left_out", "_queue", "_resync", "_skipped", "_waiter")

    def __init__(self, limit: int = QUEUE_LIMIT, on_left_out: Callable[[int], None] = lambda count: None) -> None:
        self._limit = limit
        self._on_left_out = on_left_out
        self._queue: deque[Update] = deque()
        self._skipped = 0
        self._resync: Resync | None = None
        self._fresh = True
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    def offer(self, update: Update) -> None:
        """Queue an update. If the queue is full, drop and count all older updates."""
        if self._error is not None:
            return
        if len(self._queue) >= self._limit:
            for old in self._queue:
                self._resync = old.resync or self._resync
            self._skipped += len(self._queue)
            self._on_left_out(len(self._queue))
            self._queue.clear()
        self._queue.append(update)
        self._wake()

    def end(self, error: Exception) -> None:
        """End the watcher with the error, after the queued updates."""
        self._error = error
        self._wake()

    async def take(self) -> Delivery:
        """Return the next delivery. Raises: the error that ended the board."""
        while not self._queue:
            if self._error is not None:
                raise self._error.with_traceback(None)  # all watchers share one error: its traceback must not grow
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        update = self._queue.popleft()
        resync = Resync.SUBSCRIBED if self._fresh else update.resync or self._resync
        delivery = Delivery(update=update, skipped=self._skipped, resync=resync)
        self._fresh, self._skipped, self._resync = False, 0, None
        return delivery

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
