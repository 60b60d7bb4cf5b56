"""Calls that wait for the next fetch of the platform key.

Each waiter gets a ticket; ticket numbers count up. A fetch that begins when the last ticket is `n` answers tickets up
to `n` and no others, because only those calls arrived before the fetch began. This rule guarantees "a key whose fetch
began after the call arrived". The number of waiters and the bytes they hold are bounded. platform_keys.py decides when
to fetch. Source: API.md, `BAD_SIGNATURE`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


class TooManyWaiters(Exception):
    """The limit of waiters or bytes is reached."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Waiter(Generic[T]):
    """A waiting call. `answer` gets its result exactly once, unless the waiter leaves first."""

    ticket: int
    size_bytes: int
    arrived_at: float
    answer: asyncio.Future[T]


class FetchWaiters(Generic[T]):
    """Waiters in the order of their tickets."""

    def __init__(self, *, max_waiting: int, max_bytes: int) -> None:
        """Accept at most `max_waiting` waiters that together hold at most `max_bytes`."""
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._waiters: dict[int, Waiter[T]] = {}
        self._bytes = 0
        self._last_ticket = 0

    def __len__(self) -> int:
        return len(self._waiters)

    @property
    def last_ticket(self) -> int:
        """The newest ticket, even if its waiter has left."""
        return self._last_ticket

    @property
    def oldest_arrival(self) -> float | None:
        """When the oldest waiter arrived."""
        return next((waiter.arrived_at for waiter in self._waiters.values()), None)

    def enter(self, size_bytes: int, now: float) -> Waiter[T]:
        """Add a waiter.

        Raises: TooManyWaiters.
        """
        if len(self._waiters) >= self._max_waiting or self._bytes + size_bytes > self._max_bytes:
            raise TooManyWaiters
        self._last_ticket += 1
        waiter: Waiter[T] = Waiter(
            ticket=self._last_ticket,
            size_bytes=size_bytes,
            arrived_at=now,
            answer=asyncio.get_running_loop().create_future(),
        )
        self._waiters[waiter.ticket] = waiter
        self._bytes += size_bytes
        return waiter

    def leave(self, waiter: Waiter[T]) -> None:
        """Remove a waiter, answered or not. Removing it again changes nothing."""
        if self._waiters.pop(waiter.ticket, None) is not None:
            self._bytes -= waiter.size_bytes

    def answer(self, up_to: int, result: T) -> None:
        """Give the result to every waiter whose ticket is at most `up_to`, and remove these waiters."""
        covered = [waiter for ticket, waiter in self._waiters.items() if ticket <= up_to]
        for waiter in covered:
            self.leave(waiter)
            if not waiter.answer.done():
                waiter.answer.set_result(result)
