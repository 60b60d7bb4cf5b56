"""Many who want the same thing at the same time wait for one who fetches it.

Keeps nothing afterwards: a cache is somebody else's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True)
class _Flight(Generic[V]):
    task: asyncio.Task[V]
    waiting: int = 0


class SingleFlight(Generic[K, V]):
    """Runs at most one piece of work per key at a time and shares its result or exception among all who asked."""

    def __init__(self) -> None:
        """Begin with nothing under way."""
        self._flights: dict[K, _Flight[V]] = {}

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
            flight = _Flight(task=asyncio.ensure_future(_run(work)))
            self._flights[key] = flight
            flight.task.add_done_callback(lambda _: self._forget(key, flight))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if flight.waiting == 0 and not flight.task.done():
                # Forgotten at once: whoever asks next must not join work that is being cancelled.
                self._forget(key, flight)
                flight.task.cancel()

    def _forget(self, key: K, flight: _Flight[V]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if flight.task.done() and not flight.task.cancelled():
            flight.task.exception()  # asked for, so that asyncio does not report it when all callers have left


async def _run(work: Callable[[], Awaitable[V]]) -> V:
    return await work()
