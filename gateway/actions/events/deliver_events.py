"""Brings many events of one call or stream to Phoenix: in as few calls as fit, with the order of each lane kept.

A lane is one user on one board. With bulk calls the events are cut in their order, and a call waits for those before it
that hold events of the same lanes; without, each lane is a row of single calls. Source: issue 5, point 2.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.outbox.event_sender import EventSender, by_lane, in_bulks, place_within
from gateway.outbox.pending_event import Lane, PendingEvent
from gateway.resilience.deadline import Deadline

BULK_CALLS = 4
"""Bulk calls at once for the batches of one tenant: hides the way there for most of the time."""


class Order:
    """What one call or stream has under way, by lane: the last part that each lane is in."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[Lane, asyncio.Future[None]] = {}

    def enter(self, items: Sequence[PendingEvent]) -> tuple[set[asyncio.Future[None]], asyncio.Future[None]]:
        """Put a part at the end of its lanes; return what it must wait for, and what to end with `leave`."""
        own = asyncio.get_running_loop().create_future()
        last = self._last
        before = set()
        for lane in {item.lane for item in items}:
            earlier = last.get(lane)
            if earlier is not None:
                before.add(earlier)
            last[lane] = own
        return before, own

    def leave(self, items: Sequence[PendingEvent], own: asyncio.Future[None]) -> None:
        """Let the next part of each lane go."""
        own.set_result(None)
        for lane in {item.lane for item in items}:
            if self._last.get(lane) is own:
                del self._last[lane]


class Delivery:
    """The batches of one tenant."""

    def __init__(self, sender: EventSender) -> None:
        self._sender = sender
        self._places = asyncio.Semaphore(BULK_CALLS)

    async def call(self, items: Sequence[PendingEvent], deadline: Deadline) -> None:
        """Send the events of one call; each has its result when this returns. Cancelled, it sends no more."""
        if not self._sender.sends_bulk:
            await self._sender.gather_bounded(items, deadline)
            return
        bulks = in_bulks(items)
        if len(bulks) == 1:
            await self._bulk(bulks[0], deadline)
            return
        order = Order()
        parts = [(bulk, *order.enter(bulk)) for bulk in bulks]
        async with asyncio.TaskGroup() as group:
            for bulk, before, own in parts:
                group.create_task(self._in_order(order, bulk, before, own, deadline))

    def begin(self, items: Sequence[PendingEvent], order: Order, deadline: Deadline) -> asyncio.Task[None]:
        """Begin to send one message of a stream, behind what `order` has under way; return what brings its results.

        Messages must be begun in their order. Cancelling the task sends no more of this message.
        """
        if self._sender.sends_bulk:
            parts = [(bulk, *order.enter(bulk)) for bulk in in_bulks(items)]
        else:
            parts = [(lane, *order.enter(lane)) for lane in by_lane(items)]

        async def run() -> None:
            try:
                async with asyncio.TaskGroup() as group:
                    for part, before, own in parts:
                        group.create_task(self._in_order(order, part, before, own, deadline))
            finally:
                for part, _, own in parts:
                    if not own.done():  # cancelled before it was begun
                        order.leave(part, own)
                    for item in part:
                        item.give_up()

        return asyncio.get_running_loop().create_task(run())

    async def _in_order(
        self,
        order: Order,
        part: Sequence[PendingEvent],
        before: set[asyncio.Future[None]],
        own: asyncio.Future[None],
        deadline: Deadline,
    ) -> None:
        try:
            if before:
                await asyncio.wait(before)  # unlike awaiting them, this leaves them alone when it is cancelled
            if self._sender.sends_bulk:
                await self._bulk(part, deadline)
            else:
                await self._sender.gather_bounded(part, deadline)
        finally:
            order.leave(part, own)

    async def _bulk(self, part: Sequence[PendingEvent], deadline: Deadline) -> None:
        try:
            async with place_within(self._places, deadline):
                await self._sender.together(part, deadline)
        finally:
            for item in part:
                item.give_up()
