"""The durable events of a gateway with a real store and a Phoenix that the test controls."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.actions.events.queue_events import QueueEvents
from gateway.actions.events.submit_events import SubmitEvents
from gateway.core.wire import BulkEnvelope
from gateway.outbox.delivery import OutboxDelivery
from gateway.outbox.delivery_settings import DeliverySettings
from gateway.outbox.heartbeat import Heartbeat
from gateway.outbox.queue_level import QueueBound, QueueLevel
from gateway.outbox.record import DeadLetter, DeadLetterQuery
from gateway.outbox.store import EventQueue
from gateway.phoenix.gamification.events import EventsClient, EventsSettings
from gateway.phoenix.gamification.pending_event import Failed, Submitted
from gateway.phoenix.retry import RetryingSender, RetryPolicy
from gateway.resilience.breaker import Breaker
from gateway.resilience.retry import RetrySettings
from gateway.store.group_commit import CommitSettings
from gateway.store.sqlite import SqliteDatabase
from tests.actions.events.gated_phoenix import CLOCK, TENANT, GatedPhoenix, call, event, soon, submit_to, until
from tests.migrated_sqlite import write_migrated

BULK: list[BulkEnvelope | None] = [None, "events"]

QUICK = DeliverySettings(poll_s=0.05, retry=RetrySettings(first_wait_s=0.01, longest_wait_s=0.05))
"""Waits of hundredths of a second; leases as long as ever, so that a busy machine loses none."""


class DurableGateway:
    """One gateway: its queue on the file that it is given, its delivery, its way in."""

    def __init__(
        self,
        path: Path,
        phoenix: GatedPhoenix,
        *,
        bulk: BulkEnvelope | None = "events",
        deduplicates: bool = False,
        bound: QueueBound | None = None,
        settings: DeliverySettings = QUICK,
        breaker: Breaker | None = None,
        database: SqliteDatabase | None = None,
        callers_wait: Callable[[], bool] = lambda: False,
    ) -> None:
        self.database = database or SqliteDatabase(write_migrated(path), CLOCK)
        self.queue = EventQueue(self.database, settings=CommitSettings(linger_s=0.0))
        self.level = QueueLevel(bound)
        self.counts: Counter[str] = Counter()
        client = EventsClient(
            retrying=RetryingSender(
                sender=phoenix, clock=CLOCK, settings=RetryPolicy(retry=RetrySettings(max_tries=1))
            ),
            base_url="http://localhost",
            tenant_id=TENANT,
            authorize=lambda method, path, body: {},
            settings=EventsSettings(bulk=bulk, deduplicates=deduplicates),
            breaker=breaker,
        )
        self.heart = Heartbeat(self.queue, CLOCK, "test", (TENANT,))
        chances = itertools.cycle([0.1, 0.5, 0.9])
        self.delivery = OutboxDelivery(
            TENANT,
            client,
            self.queue,
            self.level,
            self.heart,
            CLOCK,
            random=lambda: next(chances),
            settings=settings,
            on_event=self._count,
            on_dead=lambda reason: self.counts.update([reason]),
            callers_wait=callers_wait,
        )
        self.events = QueueEvents(
            self.queue, self.level, wake=lambda tenant_id: self.delivery.wake(), on_event=self._count
        )
        self.submit: SubmitEvents = submit_to(phoenix, queue=self.events)
        self._delivering: asyncio.Task[None] | None = None
        self._beating: asyncio.Task[None] | None = None

    def start(self, *, delivers: bool = True) -> None:
        self.queue.start()
        if delivers:
            loop = asyncio.get_running_loop()
            self._delivering = loop.create_task(self.delivery.run())
            self._beating = loop.create_task(self.heart.run(on_freed=lambda ordering_keys: self.delivery.wake()))

    async def stop(self) -> None:
        """End cleanly."""
        self.delivery.drain()
        if self._delivering is not None:
            await self._delivering
            await self.heart.leave()
        await self._stop_beating()
        await self.queue.stop()
        await self.database.stop()

    async def die(self) -> None:
        """End as by SIGKILL, as far as its leases and marks go: nothing is written down any more."""
        if self._delivering is not None:
            self._delivering.cancel()
            await asyncio.gather(self._delivering, return_exceptions=True)
        await self._stop_beating()
        await self.queue.stop(0.0)
        await self.database.stop()

    async def _stop_beating(self) -> None:
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)

    async def dead_letters(self) -> list[DeadLetter]:
        letters, _ = await self.queue.dead_letters(DeadLetterQuery(tenant_id=TENANT), soon())
        return letters

    async def waiting(self) -> int:
        """Events that are neither delivered nor dead."""
        return (await self.queue.depth(soon())).events

    def _count(self, name: str, count: int) -> None:
        self.counts[name] += count


@asynccontextmanager
async def gateway_at(path: Path, phoenix: GatedPhoenix, **more: object) -> AsyncIterator[DurableGateway]:
    """A started gateway that stops at the end."""
    gateway = DurableGateway(path, phoenix, **more)  # type: ignore[arg-type]
    gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


DYING = dataclasses.replace(QUICK, lease_s=1.5)
"""Settings of a gateway that is to die: its leases end soon."""


eventually = functools.partial(until, within_s=30.0)


async def put(gateway: DurableGateway, *pairs: tuple[str, str]) -> list[str]:
    """Take in events of (id, user); return what each came to."""
    events = [event(event_id, user) for event_id, user in pairs]
    results = await gateway.submit.many("", events, set(range(len(events))), call(30.0), durable=True)
    return [said(one) for one in results]


def said(result: Submitted | Failed) -> str:
    if isinstance(result, Failed):
        return result.error.reason
    return "queued" if result.queued else "duplicate" if result.duplicate else "accepted"


def orders(phoenix: GatedPhoenix) -> dict[str, list[str]]:
    seen: dict[str, list[str]] = {}
    for user, event_id in zip(phoenix.users, phoenix.ids, strict=True):
        seen.setdefault(user, []).append(event_id)
    return seen


async def drained(gateway: DurableGateway, within_s: float = 40.0) -> None:
    async with asyncio.timeout(within_s):
        while await gateway.waiting():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
