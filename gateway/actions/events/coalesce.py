"""Step 3 for a single event: events of many callers that arrive during a call to Phoenix leave together.

An event that arrives at an idle gateway leaves at once, alone; no timer delays it. Events that arrive during a call
gather. They leave when a call returns, when they fill a bulk call, or when they have waited too long. Each caller keeps
its own result, deadline and cancellation. The order across callers is not guaranteed.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.errors.tries import Try
from gateway.phoenix.gamification.bulk import MAX_EVENTS
from gateway.phoenix.gamification.event_sender import MAX_BULK_BYTES, EventSender, Sending
from gateway.resilience.deadline import Deadline
from gateway.resilience.supervision import run_job
from gateway.telemetry.spans import SHARED_REQUEST, child


@dataclass(frozen=True, slots=True, kw_only=True)
class CoalesceSettings:
    """How many calls at once, and how long events wait."""

    max_calls: int = 4
    """Most calls at once: two hide the round trip, the rest are for calls that hang."""
    patience_s: float = 0.02
    """How long events wait for a call to return before another call starts for them."""
    gather_s: float = 0.005
    """After a call returned: how long the gathered events may wait for more, while each look at the sockets brings
    some."""


class _Waiting:
    """One gathered event, its caller's deadline, and what wakes the caller."""

    __slots__ = ("deadline", "done", "event", "is_gone", "sending")

    def __init__(self, sending: Sending, deadline: Deadline, done: asyncio.Future[None]) -> None:
        self.sending = sending
        (self.event,) = sending.events
        self.deadline = deadline
        self.done = done
        self.is_gone = False

    def wake(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class _SharedDeadline(Deadline):
    """The latest deadline of the callers of one call to Phoenix. Over once all have left: then nothing more is sent.

    What has been sent by then is not cut, because its result is worth knowing.
    """

    __slots__ = ("_latest", "_together")

    def __init__(self, together: Sequence[_Waiting]) -> None:
        # Callers with less time stop waiting by themselves, and later tries leave their events out.
        self._latest = max((waiting.deadline for waiting in together), key=lambda one: one.at)
        self._together = together
        super().__init__(at=self._latest.at, clock=self._latest.clock)

    def note_try(self, one: Try) -> None:
        self._latest.note_try(one)

    def remaining(self) -> float:
        return 0.0 if all(waiting.is_gone for waiting in self._together) else super().remaining()

    @property
    def expired(self) -> bool:
        return self.remaining() <= 0


class Coalescer:
    """Sends the single events of one tenant."""

    def __init__(self, sender: EventSender, settings: CoalesceSettings | None = None) -> None:
        self._sender = sender
        self._settings = settings or CoalesceSettings()
        self._calls = 0
        self._gathered: deque[_Waiting] = deque()
        self._gathered_bytes = 0
        self._impatience: asyncio.TimerHandle | None = None
        self._lingers = False
        self._departed_at = self._shared_at = float("-inf")
        self._flights: set[asyncio.Task[None]] = set()

    async def send(self, sending: Sending, deadline: Deadline) -> None:
        """Send the one event of `sending`, alone or with those of other callers.

        If the caller leaves or its deadline passes before a call with the event begins, the event does not leave.
        Afterwards the call goes on for the others, and `sending` gets a late result. A call that all its callers have
        left does not leave either.
        """
        if not self._sender.mixes_callers:
            return await self._sender.one(sending.events[0], sending, deadline)
        if self._calls == 0 and not self._lingers:
            self._calls += 1
            self._departed_at = asyncio.get_running_loop().time()
            try:
                return await self._sender.one(sending.events[0], sending, deadline)
            finally:
                self._calls -= 1
                self._returned(count=1)
        loop = asyncio.get_running_loop()
        waiting = _Waiting(sending, deadline, loop.create_future())
        self._gather(waiting, loop)
        late = loop.call_later(max(deadline.remaining(), 0.0), waiting.wake)
        try:
            with child(SHARED_REQUEST):
                await waiting.done
        finally:
            late.cancel()
            waiting.is_gone = True
        return None

    def _gather(self, waiting: _Waiting, loop: asyncio.AbstractEventLoop) -> None:
        self._gathered.append(waiting)
        self._gathered_bytes += len(waiting.event.body) + 1
        is_full = len(self._gathered) >= MAX_EVENTS or self._gathered_bytes >= MAX_BULK_BYTES
        if is_full and self._calls < self._settings.max_calls:
            self._begin()
        if self._gathered and self._impatience is None:
            self._impatience = loop.call_later(self._settings.patience_s, self._wait_no_longer)

    def _wait_no_longer(self) -> None:
        self._impatience = None
        if self._gathered and self._calls < self._settings.max_calls:
            self._begin()
        if self._gathered:
            loop = asyncio.get_running_loop()
            self._impatience = loop.call_later(self._settings.patience_s, self._wait_no_longer)

    def _returned(self, *, count: int) -> None:
        """Let the gathered events leave, because a call returned. Args: `count`: of its events.

        If Phoenix is near and this process is busy, a call returns before the process has read the requests that are
        already in its sockets. So the gathered events wait while others keep arriving, within limits; after a shared
        call, even the first new event waits. If another call has just left, they wait for that one, because two
        half-full calls cost more than one full call.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        if count > 1:
            self._shared_at = now
        is_shared = now - self._shared_at < self._settings.patience_s
        is_another_young = self._calls > 0 and now - self._departed_at < self._settings.patience_s
        if (self._gathered or is_shared) and not self._lingers and not is_another_young:
            self._lingers = True
            self._look_again(loop, -1 if is_shared else 0, now + self._settings.gather_s)

    def _look_again(self, loop: asyncio.AbstractEventLoop, seen: int, until: float) -> None:
        count = len(self._gathered)
        if seen < count < MAX_EVENTS and loop.time() < until:
            # Three passes of the loop read what is in the sockets and start its calls. A timer would leave the process
            # idle for a millisecond each time.
            again = functools.partial(self._look_again, loop, count, until)
            loop.call_soon(loop.call_soon, loop.call_soon, again)
            return
        self._lingers = False
        while self._gathered and self._calls < self._settings.max_calls:
            self._begin()

    def _begin(self) -> None:
        """Start one call with the events that fit into it, without those whose callers left."""
        together = list(self._next_together())
        if not together:
            return
        self._calls += 1
        flight = run_job("coalesced-events", self._fly(together))
        self._flights.add(flight)
        flight.add_done_callback(self._flights.discard)

    def _next_together(self) -> Iterator[_Waiting]:
        count = size_bytes = 0
        while self._gathered and count < MAX_EVENTS:
            waiting = self._gathered[0]
            size_bytes += len(waiting.event.body) + 1
            if size_bytes > MAX_BULK_BYTES and count:
                return
            self._gathered.popleft()
            self._gathered_bytes -= len(waiting.event.body) + 1
            if waiting.is_gone or waiting.done.done():
                size_bytes -= len(waiting.event.body) + 1
                continue
            count += 1
            yield waiting

    async def _fly(self, together: list[_Waiting]) -> None:
        deadline = _SharedDeadline(together)
        self._departed_at = asyncio.get_running_loop().time()
        events = [waiting.event for waiting in together]
        flight = Sending(events)
        for waiting in together:
            waiting.sending.begin((waiting.event,))
        try:
            if self._sender.mixes_callers:
                waiting_for = {waiting.event.event_id: waiting for waiting in together}
                await self._sender.together(
                    events, flight, deadline, lambda event_id: not waiting_for[event_id].is_gone
                )
            else:  # since they gathered, one caller's event made the outcome of others unknown
                await self._sender.apart(events, flight, deadline)
        finally:
            self._calls -= 1
            for waiting, result in zip(together, flight.results(), strict=True):
                waiting.sending.end((result,))
                waiting.wake()
            self._returned(count=len(together))
