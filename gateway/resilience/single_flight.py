"""Concurrent callers that need the same result share one task.

The user of this module decides which callers share a flight, and what to cache.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

V = TypeVar("V")


class Flight(Generic[V]):
    """A shared task. It is cancelled when the last waiting caller leaves."""

    __slots__ = ("_on_end", "_task", "_waiting")

    def __init__(self, work: Callable[[], Awaitable[V]], on_end: "Callable[[Flight[V]], None]") -> None:
        """Start at once. `on_end` runs when no caller can join any more. It may run twice."""
        self._waiting = 0
        self._on_end = on_end
        self._task: asyncio.Task[V] = asyncio.ensure_future(_run(work))
        self._task.add_done_callback(self._ended)

    async def join(self) -> V:
        """Wait for the shared result or exception. If one caller is cancelled, the others continue to wait."""
        self._waiting += 1
        try:
            return await asyncio.shield(self._task)
        finally:
            self._waiting -= 1
            if self._waiting == 0 and not self._task.done():
                # At once, because the next caller must not join a task that is being cancelled.
                self._on_end(self)
                self._task.cancel()

    async def wait(self, timeout_s: float) -> None:
        """Wait for the end of the task, at most `timeout_s`, without keeping it running."""
        await asyncio.wait({self._task}, timeout=max(0.0, timeout_s))

    def _ended(self, task: asyncio.Task[V]) -> None:
        self._on_end(self)
        if not task.cancelled():
            task.exception()  # read, so that asyncio does not report it when all callers have left


async def _run(work: Callable[[], Awaitable[V]]) -> V:
    return await work()
