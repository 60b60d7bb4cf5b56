"""Many who want the same thing at the same time wait for one who fetches it.

Keeps nothing afterwards: a cache is somebody else's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Flight(Generic[V]):
    """One piece of work in a task of its own, which ends when it is done or when the last who waits for it leaves."""

    __slots__ = ("_on_end", "_task", "_waiting")

    def __init__(self, work: Callable[[], Awaitable[V]], on_end: "Callable[[Flight[V]], None]") -> None:
        """Begin at once. `on_end` is called when nobody can join any more; more than once does no harm."""
        self._waiting = 0
        self._on_end = on_end
        self._task: asyncio.Task[V] = asyncio.ensure_future(_run(work))
        self._task.add_done_callback(self._ended)

    async def join(self) -> V:
        """Wait for the result or exception that all who wait share; cancelling one leaves the others waiting."""
        self._waiting += 1
        try:
            return await asyncio.shield(self._task)
        finally:
            self._waiting -= 1
            if self._waiting == 0 and not self._task.done():
                # Ended at once: whoever asks next must not join work that is being cancelled.
                self._on_end(self)
                self._task.cancel()

    async def wait(self, timeout_s: float) -> None:
        """Wait until it has ended, but not longer than this, without being one of those that keep it going."""
        await asyncio.wait({self._task}, timeout=max(0.0, timeout_s))

    def _ended(self, task: asyncio.Task[V]) -> None:
        self._on_end(self)
        if not task.cancelled():
            task.exception()  # asked for, so that asyncio does not report it when all callers have left


class SingleFlight(Generic[K, V]):
    """Runs at most one piece of work per key at a time and shares its result or exception among all who asked."""

    def __init__(self) -> None:
        """Begin with nothing under way."""
        self._flights: dict[K, Flight[V]] = {}

    def __len__(self) -> int:
        """How many pieces of work are under way."""
        return len(self._flights)

    async def run(self, key: K, work: Callable[[], Awaitable[V]]) -> V:
        """Join the work under way for the key, or begin it.

        A caller that is cancelled leaves the others waiting; when the last one leaves, the work is cancelled. The work
        runs in a task of its own, so it must take its deadline from its arguments and not from the first caller.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = Flight(work, lambda ended: self._forget(key, ended))
            self._flights[key] = flight
        return await flight.join()

    def _forget(self, key: K, flight: Flight[V]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


async def _run(work: Callable[[], Awaitable[V]]) -> V:
    return await work()
