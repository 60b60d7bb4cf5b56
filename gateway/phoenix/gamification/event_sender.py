"""Sends events: `EventSender` sends, `Sending` says at any moment what is known of each event.

A caller may leave while its events are on their way, and gets no return value then. So `Sending` keeps what is known of
each event: nothing (not sent), begun (Phoenix may have it), or a result. Only this module and `batch_sender.py`, which
cuts batches into calls, send; `coalesce.py` shares one `Sending` among callers. No error of Phoenix is raised here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from gateway.errors import DeadlineTooShort, GatewayError, InternalFault, OutcomeUnknown
from gateway.phoenix.answers import Surface
from gateway.phoenix.gamification.bulk import ENVELOPE_BYTES, MAX_BODY_BYTES
from gateway.phoenix.gamification.events import BulkNotServed, EventsClient, put_in_doubt
from gateway.phoenix.gamification.pending_event import Failed, OrderingKey, PendingEvent, Result
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.telemetry.logs import log, where_raised

MAX_BULK_BYTES = MAX_BODY_BYTES - ENVELOPE_BYTES
"""For the events of one bulk call and the commas between them."""

SINGLE_CALLS = 32
"""Single calls at once for one tenant's batches: enough to hide the round trip, too few to crowd out other tenants."""


class Sending:
    """Events of different ids that are to be sent, are on their way, or ended."""

    __slots__ = ("_known", "events", "on_late")

    def __init__(self, events: Sequence[PendingEvent]) -> None:
        self.events = events
        self._known: dict[str, Result | None] = {}  # absent: not begun; None: begun
        self.on_late: Callable[[Result], None] | None = None
        """Called with each result that is known after the caller was answered."""

    def results(self) -> list[Result]:
        """Return what is known now: one result per event, in order.

        An event without a result is OutcomeUnknown if Phoenix may have it, and DeadlineTooShort if it was not sent.
        """
        return [self._known.get(event.event_id) or self._without_result(event) for event in self.events]

    def begin(self, events: Sequence[PendingEvent]) -> None:
        """Note that a call with these events starts now."""
        for event in events:
            self._known[event.event_id] = None

    def take_back(self, events: Sequence[PendingEvent]) -> None:
        """Note that the call brought none of these events."""
        for event in events:
            del self._known[event.event_id]

    def end(self, results: Sequence[Result]) -> None:
        """Note how events ended."""
        for result in results:
            self._known[result.event_id] = result
            if self.on_late is not None:
                self.on_late(result)

    def _without_result(self, event: PendingEvent) -> Failed:
        if event.in_doubt or event.event_id in self._known:
            error: GatewayError = OutcomeUnknown(metadata={"surface": Surface.INGESTION.value})
        else:
            error = DeadlineTooShort()
        return Failed(event_id=event.event_id, error=error)


class EventSender:
    """Sends the events of one tenant. Each method returns when its events have ended; cancelled, it starts no more."""

    def __init__(self, client: EventsClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._places = asyncio.Semaphore(SINGLE_CALLS)

    @property
    def sends_bulk(self) -> bool:
        """Whether events may go together now."""
        return self._client.sends_bulk(self._clock.monotonic())

    @property
    def mixes_callers(self) -> bool:
        """Whether events of different callers may go together now."""
        return self._client.mixes_callers(self._clock.monotonic())

    async def one(self, event: PendingEvent, sending: Sending, deadline: Deadline) -> None:
        """Send one event by itself."""
        sending.begin((event,))
        result: Result
        try:
            result = await self._client.submit(event, deadline)
        except GatewayError as error:
            result = Failed(event_id=event.event_id, error=error)
        except Exception as error:  # noqa: BLE001 - a bug that one event meets must not cost the others their results
            (result,) = _broken((event,), error)
        sending.end((result,))

    async def together(
        self,
        events: Sequence[PendingEvent],
        sending: Sending,
        deadline: Deadline,
        is_wanted: Callable[[str], bool] | None = None,
    ) -> None:
        """Send up to 100 events of up to MAX_BULK_BYTES in one call, or one by one if Phoenix has no bulk call.

        Args: `is_wanted`: whether a caller waits for the event of this id; asked before it is sent again.
        """
        if len(events) == 1:
            return await self.one(events[0], sending, deadline)
        sending.begin(events)
        try:
            results = await self._client.submit_bulk(events, deadline, is_wanted)
        except BulkNotServed as missing:
            sending.take_back(events)
            return await self.apart(put_in_doubt(events) if missing.in_doubt else events, sending, deadline)
        except Exception as error:  # noqa: BLE001 - as above
            results = _broken(events, error)
        return sending.end(results)

    async def apart(self, events: Sequence[PendingEvent], sending: Sending, deadline: Deadline) -> None:
        """Send each event by itself: those of one ordering key in order, others concurrently, within SINGLE_CALLS."""

        async def in_turn(events: Sequence[PendingEvent]) -> None:
            for event in events:
                async with place_within(self._places, deadline):
                    await self.one(event, sending, deadline)

        async with asyncio.TaskGroup() as group:
            for same_key in by_ordering_key(events):
                group.create_task(in_turn(same_key))


@asynccontextmanager
async def place_within(places: asyncio.Semaphore, deadline: Deadline) -> AsyncIterator[None]:
    """Hold one of the places. After the deadline, continue without one, because then nothing is sent anyway."""
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


def by_ordering_key(events: Sequence[PendingEvent]) -> list[list[PendingEvent]]:
    """Return the events of each ordering key, in their order."""
    groups: dict[OrderingKey, list[PendingEvent]] = {}
    for event in events:
        groups.setdefault(event.ordering_key, []).append(event)
    return list(groups.values())


def _broken(events: Sequence[PendingEvent], error: Exception) -> list[Result]:
    """Log a bug of the gateway once; its events end as INTERNAL."""
    log().error("events failed unexpectedly", count=len(events), **where_raised(error))
    return [Failed(event_id=event.event_id, error=InternalFault()) for event in events]
