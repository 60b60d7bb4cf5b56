"""Limits how much of one tenant is inside the gateway at once, in events and in bytes.

Above the limit, calls are refused with OVERLOADED and streams wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from gateway.errors import DeadlineTooShort, Overloaded
from gateway.resilience.deadline import Deadline


@dataclass(frozen=True, slots=True, kw_only=True)
class BacklogSettings:
    """The limits of one tenant."""

    max_events: int = 10_000
    """Some seconds of a tenant's full load while Phoenix is slow."""
    max_bytes: int = 32 * 1024 * 1024
    """Serialised. Eight of the largest requests."""


class Backlog:
    """Counts the events that came in and have not ended."""

    def __init__(self, settings: BacklogSettings | None = None) -> None:
        self._settings = settings or BacklogSettings()
        self._events = 0
        self._bytes = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def events(self) -> int:
        """How many events are inside now."""
        return self._events

    def take(self, events: int, size_bytes: int) -> None:
        """Take room for these events; `give_back` returns it. Raises: Overloaded."""
        if not self._fits(events, size_bytes):
            raise Overloaded("Too many events of this tenant are on their way. Wait as RetryInfo says and try again.")
        self._events += events
        self._bytes += size_bytes

    async def take_in_turn(self, events: int, size_bytes: int, deadline: Deadline) -> None:
        """Wait until there is room, and take it. Raises: DeadlineTooShort."""
        while not self._fits(events, size_bytes):
            room = asyncio.get_running_loop().create_future()
            self._waiting.append(room)
            try:
                async with asyncio.timeout(deadline.remaining()):
                    await room
            except TimeoutError:
                raise DeadlineTooShort from None
        self.take(events, size_bytes)

    def give_back(self, events: int, size_bytes: int) -> None:
        """Return room."""
        self._events -= events
        self._bytes -= size_bytes
        while self._waiting:  # each checks again: what fits depends on its size
            room = self._waiting.popleft()
            if not room.done():
                room.set_result(None)

    def _fits(self, events: int, size_bytes: int) -> bool:
        # A request larger than the limit passes when nothing else is inside.
        return self._events == 0 or (
            self._events + events <= self._settings.max_events and self._bytes + size_bytes <= self._settings.max_bytes
        )
