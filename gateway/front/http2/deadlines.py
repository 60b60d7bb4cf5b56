"""Deadlines of calls in slots of 5 ms: to add or remove one costs an operation on a dict, no timer of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

SLOT_S = 0.005
_FEW = 64


class Expires(Protocol):
    """What has a deadline; `deadline_slot` is kept by Deadlines."""

    deadline_slot: int


Item = TypeVar("Item", bound=Expires)


class Deadlines(Generic[Item]):
    """Calls `on_deadline` for each item at most one slot after its deadline; one timer serves all of them."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, monotonic: Callable[[], float], on_deadline: Callable[[Item], None]
    ) -> None:
        self._loop = loop
        self._monotonic = monotonic
        self._on_deadline = on_deadline
        self._slots: dict[int, set[Item]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0

    def add(self, item: Item, at: float) -> None:
        """Watch an item until `at`, a moment of the monotonic clock."""
        slot = int(at / SLOT_S) + 1
        item.deadline_slot = slot
        waiting = self._slots.get(slot)
        if waiting is None:
            waiting = self._slots[slot] = set()
            if self._timer is None or slot < self._next:
                self._arm(slot)
        waiting.add(item)

    def remove(self, item: Item) -> None:
        """Forget an item that is over; one that is not watched is ignored."""
        waiting = self._slots.get(item.deadline_slot)
        if waiting is not None:
            waiting.discard(item)
            if not waiting:  # one for each 10 ms of an hour takes 100 MB
                del self._slots[item.deadline_slot]

    def stop(self) -> None:
        """Forget all."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._slots.clear()

    def _arm(self, slot: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = slot
        # Not less than a loop's timer can: it would fire early, over and over.
        self._timer = self._loop.call_later(max(0.001, slot * SLOT_S - self._monotonic()), self._turn)

    def _turn(self) -> None:
        self._timer = None
        now_slot = int(self._monotonic() / SLOT_S)
        for slot in range(self._next, now_slot + 1):
            for item in self._slots.pop(slot, ()):
                self._on_deadline(item)
        if self._slots:
            # To look for the next slot among many costs more than a turn for each.
            self._arm(min(self._slots) if len(self._slots) < _FEW else now_slot + 1)
