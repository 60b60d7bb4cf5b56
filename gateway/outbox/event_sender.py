"""Sends one event or a few together, and leaves each with a result. Raises nothing of Phoenix's.

When to send, what goes together and in which order is decided in coalesce.py and deliver_events.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from gateway.errors import GatewayError, InternalFault
from gateway.outbox.pending_event import Lane, PendingEvent, Submitted
from gateway.phoenix.gamification.bulk import ENVELOPE_BYTES, MAX_BODY_BYTES, MAX_EVENTS
from gateway.phoenix.gamification.events import Acceptance, BulkNotServed, EventsClient
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.telemetry.logs import log, where_raised

MAX_BULK_BYTES = MAX_BODY_BYTES - ENVELOPE_BYTES
"""Of the events of one bulk call and the commas between them."""

SIDE_BY_SIDE = 32
"""Single calls at once for the batches of one tenant: enough to hide the way there, too few to crowd out others."""


class EventSender:
    """One tenant's way out. Cancelled, it leaves what it had begun as OUTCOME_UNKNOWN."""

    def __init__(self, client: EventsClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._places = asyncio.Semaphore(SIDE_BY_SIDE)

    @property
    def sends_bulk(self) -> bool:
        """Whether events may go together now."""
        return self._client.sends_bulk(self._clock.monotonic())

    @property
    def mixes_callers(self) -> bool:
        """Whether events of different callers may go together now."""
        return self._client.mixes_callers(self._clock.monotonic())

    async def one(self, item: PendingEvent, deadline: Deadline) -> None:
        """Send one event by itself."""
        item.began = True
        try:
            taken = await self._client.submit(item.body, deadline, is_id_given=item.is_id_given, in_doubt=item.in_doubt)
        except GatewayError as error:
            item.fail(error)
        except Exception as error:  # noqa: BLE001 - one event's trouble must not cost the others their results
            _note([item], error)
        else:
            self._set(item, taken.acceptance, self._clock.now())
        finally:
            item.give_up()

    async def together(
        self,
        items: Sequence[PendingEvent],
        deadline: Deadline,
        is_wanted: Callable[[str], bool] = lambda event_id: True,
    ) -> None:
        """Send up to 100 events of up to MAX_BULK_BYTES in one call, or one by one where Phoenix has no such call.

        Args: `is_wanted`: whether somebody waits for the event of this id; asked before it is sent again.
        """
        if len(items) == 1:
            return await self.one(items[0], deadline)
        for item in items:
            item.began = True
        try:
            results = await self._client.submit_bulk(
                [item.body for item in items],
                [item.event_id for item in items],
                deadline,
                is_wanted,
                given={item.event_id for item in items if item.is_id_given},
                in_doubt={item.event_id for item in items if item.in_doubt},
            )
        except BulkNotServed as missing:
            for item in items:
                item.began = False
                item.in_doubt = item.in_doubt or missing.in_doubt
            await self.gather_bounded(items, deadline)
        except GatewayError as error:
            for item in items:
                item.fail(error)
        except Exception as error:  # noqa: BLE001 - as above
            _note(items, error)
        else:
            now = self._clock.now()
            for item, result in zip(items, results, strict=True):
                if isinstance(result, Acceptance):
                    self._set(item, result, now)
                else:
                    item.fail(result)
        finally:
            for item in items:
                item.give_up()
        return None

    async def gather_bounded(self, items: Sequence[PendingEvent], deadline: Deadline) -> None:
        """Send each by itself: those of one lane one after the other, others at once, within the tenant's bound."""

        async def run(lane: list[PendingEvent]) -> None:
            for item in lane:
                async with place_within(self._places, deadline):
                    await self.one(item, deadline)

        try:
            async with asyncio.TaskGroup() as group:
                for lane in by_lane(items):
                    group.create_task(run(lane))
        finally:
            for item in items:
                item.give_up()

    def _set(self, item: PendingEvent, acceptance: Acceptance, now: float) -> None:
        item.result = Submitted(item.event_id, acceptance is Acceptance.DUPLICATE, now)


@asynccontextmanager
async def place_within(places: asyncio.Semaphore, deadline: Deadline) -> AsyncIterator[None]:
    """Hold one of the places; past the deadline go on without one, since nothing is sent then anyway."""
    if places.locked():
        try:
            async with asyncio.timeout(deadline.remaining()):
                await places.acquire()
        except TimeoutError:
            yield
            return
    else:
        await places.acquire()
    try:
        yield
    finally:
        places.release()


def by_lane(items: Sequence[PendingEvent]) -> list[list[PendingEvent]]:
    """Return the events of each lane, in their order."""
    lanes: dict[Lane, list[PendingEvent]] = {}
    for item in items:
        lanes.setdefault(item.lane, []).append(item)
    return list(lanes.values())


def in_bulks(items: Sequence[PendingEvent]) -> list[list[PendingEvent]]:
    """Return the events, in their order, cut into what one bulk call can carry."""
    bulks: list[list[PendingEvent]] = []
    size_bytes = MAX_BULK_BYTES + 1
    for item in items:
        size_bytes += len(item.body) + 1
        if size_bytes > MAX_BULK_BYTES or len(bulks[-1]) == MAX_EVENTS:
            bulks.append([])
            size_bytes = len(item.body) + 1
        bulks[-1].append(item)
    return bulks


def _note(items: Sequence[PendingEvent], error: Exception) -> None:
    """Log a fault of our own once; what was on its way ends as INTERNAL."""
    log().error("events failed unexpectedly", count=len(items), **where_raised(error))
    for item in items:
        item.fail(InternalFault())
