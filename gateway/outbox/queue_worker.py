"""Run the background tasks of the queue of durable events: delivery of each tenant, measuring, and purging."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from gateway.core.types import TenantId
from gateway.errors import GatewayError
from gateway.outbox.delivery import OutboxDelivery
from gateway.outbox.heartbeat import Heartbeat
from gateway.outbox.queue_level import QueueLevel
from gateway.outbox.record import Depth
from gateway.outbox.store import EventQueue
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.resilience.supervision import SupervisedTask
from gateway.telemetry.logs import log, where_raised

MEASURE_EVERY_S = 2.0
MEASURE_SHARE = 20
"""The time of a measurement grows with the number of ordering keys. It may use one part in this many of all time."""
PURGE_EVERY_S = 60.0
_STEP_PAUSE_S = 0.1
_STORE_S = 10.0


class QueueWorker:
    """The background tasks of the queue."""

    def __init__(
        self,
        deliveries: Mapping[TenantId, OutboxDelivery],
        queue: EventQueue,
        level: QueueLevel,
        heart: Heartbeat,
        clock: Clock,
        *,
        on_depth: Callable[[Depth], None] = lambda depth: None,
        on_purged: Callable[[int, int], None] = lambda delivered, dead: None,
        on_taken_over: Callable[[int], None] = lambda ordering_keys: None,
    ) -> None:
        self._deliveries = deliveries
        self._queue = queue
        self._level = level
        self._heart = heart
        self._clock = clock
        self._on_depth = on_depth
        self._on_purged = on_purged
        self._on_taken_over = on_taken_over
        self._tasks: list[SupervisedTask] = []
        self._upkeep: list[SupervisedTask] = []
        self._beats: SupervisedTask | None = None

    def wake(self, tenant_id: TenantId) -> None:
        """Notify the delivery of a tenant about new events."""
        delivery = self._deliveries.get(tenant_id)
        if delivery is not None:
            delivery.wake()

    def start(self) -> None:
        """Start the tasks. Needs a running event loop; does not wait for the store."""
        self._tasks = [SupervisedTask("queue-delivery", one.run()) for one in self._deliveries.values()]
        self._upkeep = [
            SupervisedTask("queue-measuring", self._measure()),
            SupervisedTask("queue-purging", self._purge()),
        ]
        self._beats = SupervisedTask("queue-heartbeat", self._heart.run(on_freed=self._taken_over))

    def drain(self) -> None:
        """Stop leasing events."""
        for task in self._tasks:
            task.expect_end()
        for delivery in self._deliveries.values():
            delivery.drain()

    async def stop(self, within_s: float = 12.0) -> None:
        """Finish running deliveries within this time and give back all leases. What is not finished keeps its marks."""
        self.drain()
        tasks, upkeep = self._tasks, self._upkeep
        self._tasks, self._upkeep = [], []
        await asyncio.gather(*(one.stop() for one in upkeep), *(one.stop(within_s) for one in tasks))
        beats, self._beats = self._beats, None
        if beats is not None:
            await beats.stop()
            await _noted(self._heart.leave())

    def _taken_over(self, ordering_keys: int) -> None:
        self._on_taken_over(ordering_keys)
        for delivery in self._deliveries.values():
            delivery.wake()

    async def measure(self) -> Depth:
        """Measure the queue and report its size."""
        self._level.measuring()
        depth = await self._queue.depth(Deadline.after(_STORE_S, self._clock))
        self._level.measured(depth)
        self._on_depth(depth)
        return depth

    async def purge(self) -> None:
        """Delete old rows in small steps, so that other transactions do not wait long."""
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
    """Run `work`. A failure must not end the background task."""
    try:
        await work
    except GatewayError:
        pass  # the store counts it, and the next run comes soon
    except Exception as error:  # noqa: BLE001 - an unexpected error is logged each time
        log().error("upkeep of durable events failed unexpectedly", **where_raised(error))
