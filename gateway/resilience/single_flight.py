"""Many callers that want the same thing at the same time share one piece of work.

The caller decides which callers share a flight and what to keep of its result.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

V = TypeVar("V")


class Flight(Generic[V]):
    """One piece of work in a task of its own. It is cancelled when the last caller that waits for it leaves."""

    __slots__ = ("_on_end", "_task", "_waiting")

    def __init__(self, work: Callable[[], Awaitable[V]], on_end: "Callable[[Flight[V]], None]") -> None:
        """Begin at once. `on_end` runs when nobody can join any more, and may run twice."""
        self._waiting = 0
        self._on_end = on_end
        self._task: asyncio.Task[V] = asyncio.ensure_future(_run(work))
        self._task.add_done_callback(self._ended)

    async def join(self) -> V:
        """Wait for the shared result or exception; cancelling one caller leaves the others waiting."""
        self._waiting += 1
        try:
            return await asyncio.shield(self._task)
        finally:
            self._waiting -= 1
            if self._waiting == 0 and not self._task.done():
                # At once: the next caller must not join work that is being cancelled.
                self._on_end(self)
                self._task.cancel()

    async def wait(self, timeout_s: float) -> None:
        """Wait for its end, at most this long, without keeping it alive."""
        await asyncio.wait({self._task}, timeout=max(0.0, timeout_s))

    def _ended(self, task: asyncio.Task[V]) -> None:
        self._on_end(self)
        if not task.cancelled():
            task.exception()  # read, so that asyncio does not report it when all callers have left


async def _run(work: Callable[[], Awaitable[V]]) -> V:
    return await work()
