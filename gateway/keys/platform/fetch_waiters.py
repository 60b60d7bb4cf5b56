"""Who waits for the next fetch of a key, and whom a fetch answers.

Each waiter draws a ticket, counting up. A fetch that begins when the counter stands at `n` answers the tickets up to
`n` and no other: those had been drawn before it began. That one rule is what "a key whose fetch began after the call
arrived" rests on. The room is bounded in waiters and in the bytes that they hold on to. When to fetch is
platform_keys.py's business. Source: API.md, `BAD_SIGNATURE`; issue 3, point 5.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


class TooManyWaiters(Exception):
    """No more waiters are taken."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Waiter(Generic[T]):
    """One that waits; `answer` gets its result exactly once unless the waiter leaves first."""

    ticket: int
    size_bytes: int
    arrived_at: float
    answer: asyncio.Future[T]


class FetchWaiters(Generic[T]):
    """Waiters in the order of their tickets."""

    def __init__(self, *, max_waiting: int, max_bytes: int) -> None:
        """Take at most so many waiters, holding together at most so many bytes."""
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._waiters: dict[int, Waiter[T]] = {}
        self._bytes = 0
        self._last_ticket = 0

    def __len__(self) -> int:
        return len(self._waiters)

    @property
    def last_ticket(self) -> int:
        """The newest ticket drawn so far, whether its waiter is still here or not."""
        return self._last_ticket

    @property
    def oldest_arrival(self) -> float | None:
        """When the one came who waits longest."""
        return next((waiter.arrived_at for waiter in self._waiters.values()), None)

    def enter(self, size_bytes: int, now: float) -> Waiter[T]:
        """Let one more in.

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
        """Forget this one, answered or not; doing it again changes nothing."""
        if self._waiters.pop(waiter.ticket, None) is not None:
            self._bytes -= waiter.size_bytes

    def answer(self, up_to: int, result: T) -> None:
        """Give the result to every waiter whose ticket is at most `up_to`, and let them go."""
        covered = [waiter for ticket, waiter in self._waiters.items() if ticket <= up_to]
        for waiter in covered:
            self.leave(waiter)
            if not waiter.answer.done():
                waiter.answer.set_result(result)
