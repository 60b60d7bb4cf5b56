"""Runs the queue of durable events: its tenants' deliveries, its measuring, and the purging of what is old."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from gateway.core.types import TenantId
from gateway.errors import GatewayError
from gateway.outbox.delivery import OutboxDelivery
from gateway.outbox.queue_level import QueueLevel
from gateway.outbox.record import Depth
from gateway.outbox.store import EventQueue
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.resilience.supervision import SupervisedTask
from gateway.telemetry.logs import log, where_raised

MEASURE_EVERY_S = 2.0
MEASURE_SHARE = 20
"""Measuring takes time with the lanes that wait; it may take one part in so many of it."""
PURGE_EVERY_S = 60.0
_STEP_PAUSE_S = 0.1
_STORE_S = 10.0


class TendQueue:
    """Everything of the queue that runs by itself."""

    def __init__(
        self,
        deliveries: Mapping[TenantId, OutboxDelivery],
        queue: EventQueue,
        level: QueueLevel,
        clock: Clock,
        *,
        on_depth: Callable[[Depth], None] = lambda depth: None,
        on_purged: Callable[[int, int], None] = lambda delivered, dead: None,
    ) -> None:
        self._deliveries = deliveries
        self._queue = queue
        self._level = level
        self._clock = clock
        self._on_depth = on_depth
        self._on_purged = on_purged
        self._tasks: list[SupervisedTask] = []
        self._upkeep: list[SupervisedTask] = []

    def wake(self, tenant_id: TenantId) -> None:
        """A tenant has new events."""
        delivery = self._deliveries.get(tenant_id)
        if delivery is not None:
            delivery.wake()

    def start(self) -> None:
        """Begin; needs a running loop and waits for no store."""
        self._tasks = [SupervisedTask("queue-delivery", one.run()) for one in self._deliveries.values()]
        self._upkeep = [
            SupervisedTask("queue-measuring", self._measure()),
            SupervisedTask("queue-purging", self._purge()),
        ]

    def drain(self) -> None:
        """Take nothing more to deliver."""
        for task in self._tasks:
            task.expect_end()
        for delivery in self._deliveries.values():
            delivery.drain()

    async def stop(self, within_s: float = 12.0) -> None:
        """Finish what is under way, at most this long; what remains has its mark, and its lease ends by itself."""
        self.drain()
        tasks, upkeep = self._tasks, self._upkeep
        self._tasks, self._upkeep = [], []
        await asyncio.gather(*(one.stop() for one in upkeep), *(one.stop(within_s) for one in tasks))

    async def measure(self) -> Depth:
        """Look how much waits, and tell."""
        self._level.measuring()
        depth = await self._queue.depth(Deadline.after(_STORE_S, self._clock))
        self._level.measured(depth)
        self._on_depth(depth)
        return depth

    async def purge(self) -> None:
        """Delete what is old, step by step, so that nobody waits long behind it."""
        while True:
            delivered, dead = await self._queue.purge(Deadline.after(_STORE_S, self._clock))
            if not delivered and not dead:
                return
            self._on_purged(delivered, dead)
            await asyncio.sleep(_STEP_PAUSE_S)

    async def _measure(self) -> None:
        while True:
            began_at = self._clock.monotonic()
            await _noted(self.measure())
            took_s = self._clock.monotonic() - began_at
            await asyncio.sleep(max(MEASURE_EVERY_S, MEASURE_SHARE * took_s))

    async def _purge(self) -> None:
        while True:
            await asyncio.sleep(PURGE_EVERY_S)
            await _noted(self.purge())


async def _noted(work: Awaitable[object]) -> None:
    """Do it; what goes wrong must not end the upkeep."""
    try:
        await work
    except GatewayError:
        pass  # counted by the store; the next time comes soon
    except Exception as error:  # noqa: BLE001 - a fault of our own, said once each time
        log().error("upkeep of durable events failed unexpectedly", **where_raised(error))
