"""Deliver one tenant's durable events in the background.

Several gateways deliver at once: each leases the first events of some ordering keys, sends them, and records the
results. lease_sender.py sends them and decides what becomes of each. While Phoenix fails (phoenix_health.py), one event
at a time is sent as a probe.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from gateway.core.types import TenantId
from gateway.errors import GatewayError, StoreUnavailable
from gateway.outbox.delivery_settings import DeliverySettings
from gateway.outbox.heartbeat import Heartbeat
from gateway.outbox.lease_sender import LeaseSender
from gateway.outbox.phoenix_health import PhoenixHealth
from gateway.outbox.queue_level import QueueLevel
from gateway.outbox.record import DeliveryResult, Release, Settle, Settled, Take, Taken
from gateway.outbox.store import EventQueue
from gateway.phoenix.gamification.event_sender import EventSender
from gateway.phoenix.gamification.events import EventsClient
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.resilience.retry import RetrySettings, wait_s
from gateway.resilience.supervision import run_job
from gateway.telemetry.logs import log, where_raised
from gateway.telemetry.spans import OWN, Linked, unlinked

RECHECK_S = 0.5
"""How often to check again whether events may be sent."""
_YIELD_CHECK_S = 0.01
_US = 1_000_000


class OutboxDelivery:
    """The background delivery of one tenant in this process."""

    def __init__(
        self,
        tenant_id: TenantId,
        client: EventsClient,
        queue: EventQueue,
        level: QueueLevel,
        heart: Heartbeat,
        clock: Clock,
        *,
        random: Callable[[], float],
        settings: DeliverySettings | None = None,
        on_event: Callable[[str, int], None] = lambda name, count: None,
        on_dead: Callable[[str], None] = lambda reason: None,
        may_send: Callable[[], bool] = lambda: True,
        callers_wait: Callable[[], bool] = lambda: False,
        linked: Linked = unlinked,
    ) -> None:
        """Args: `client` must try each request once, because attempts are counted here. `heart` is shared by all
        deliveries of the process, and beats beside them. `on_event` receives the counts of delivered and retried
        events; `on_dead` the reason of each dead letter. `may_send` is called before each lease: while a kill switch is
        on, events wait in the queue. `callers_wait`: whether calls wait for the store or for Phoenix; then they go
        first. `linked`: makes the span of a lease's delivery.
        """
        self._tenant_id = tenant_id
        self._queue = queue
        self._level = level
        self._heart = heart
        self._clock = clock
        self._random = random
        self._settings = settings or DeliverySettings()
        self._on_event = on_event
        self._on_dead = on_dead
        self._may_send = may_send
        self._callers_wait = callers_wait
        self._linked = linked
        self._news = asyncio.Event()
        self._stopping = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self._phoenix = PhoenixHealth(clock, self._settings.retry, random)
        self._events = EventSender(client, clock)
        self._sender = LeaseSender(
            client,
            self._events,
            self._phoenix,
            clock,
            random=random,
            settings=self._settings,
            may_begin=self._may_begin,
        )
        self._lost_leases: list[int] = []
        self._takes = 0

    def wake(self) -> None:
        """Notify that there may be new events."""
        self._news.set()

    def drain(self) -> None:
        """Stop leasing events. Running deliveries continue."""
        self._stopping.set()
        self._news.set()

    async def run(self) -> None:
        """Deliver until `drain` is called and the results of running deliveries are recorded.

        What they have not sent then, they give back. If cancelled, it drops them: their marks stay, and their leases
        end when the heart leaves, or by their time.
        """
        try:
            await self._run()
        finally:
            for task in self._under_way:
                task.cancel()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._turn()
            except GatewayError:
                await self._wait(self._stopping, self._poll_s())  # the store failed and has reported it
            except Exception as error:  # noqa: BLE001 - an unexpected error must not end the delivery
                log().error("durable events failed unexpectedly", tenant=self._tenant_id, **where_raised(error))
                await self._wait(self._stopping, self._poll_s())
        if self._under_way:
            await asyncio.wait(self._under_way)
        with contextlib.suppress(GatewayError):  # then the leases expire
            await self._release_lost()

    async def _turn(self) -> None:
        """Lease due events and start their delivery; if none is due, wait. Raises: StoreUnavailable."""
        await self._room()
        await self._let_callers_first()
        if not self._may_send():
            await self._wait(self._stopping, RECHECK_S)
            return
        if (pause_s := self._phoenix.pause_s) > 0:
            await self._wait(self._stopping, pause_s)
            return
        self._news.clear()
        lease_id = await self._heart.lease()
        began_at = self._clock.monotonic()  # the lease cannot have begun before
        try:
            taken = await self._take(lease_id)
        except BaseException:
            self._heart.ended()
            raise
        if taken.events and not self._may_begin(lease_id):
            self._lost_leases.append(lease_id)
            self._heart.ended()
        elif taken.events:
            self._begin(self._deliver(lease_id, taken, began_at))
        else:
            self._heart.ended()
            await self._idle(taken)

    def _may_begin(self, lease_id: int) -> bool:
        """Whether a request under this lease may leave now. Asked again right before each one is written."""
        return not self._stopping.is_set() and self._heart.covers(lease_id)

    async def _idle(self, found: Taken) -> None:
        """Wait until an event is due, or new events arrive."""
        while not (self._news.is_set() or self._stopping.is_set()):
            poll_s = self._poll_s()
            left_s = poll_s if found.next_due_us is None else (found.next_due_us - found.now_us) / _US
            if left_s <= 0:
                return
            await self._wait(self._news, min(poll_s, max(left_s, 0.005)))
            if not self._news.is_set():
                found = await self._queue.look(self._tenant_id, self._store_deadline())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = run_job("queue-lease", work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _room(self) -> None:
        """Wait until another lease is allowed. While Phoenix fails, only one is."""
        while len(self._under_way) >= (1 if self._phoenix.fails else self._settings.leases):
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)

    async def _let_callers_first(self) -> None:
        until = self._clock.monotonic() + self._settings.yield_s
        while self._callers_wait() and not self._stopping.is_set() and self._clock.monotonic() < until:
            await self._wait(self._stopping, _YIELD_CHECK_S)

    async def _take(self, lease_id: int) -> Taken:
        """Lease due events. Raises: GatewayError; then the lease, if it exists, is released later."""
        settings = self._settings
        ordering_keys = settings.ordering_keys if self._events.sends_bulk else settings.single_keys
        requested = Take(
            tenant_id=self._tenant_id,
            max_keys=1 if self._phoenix.fails else ordering_keys,
            lease_id=lease_id,
            lease_us=round(settings.lease_s * _US),
            max_bytes=settings.lease_bytes,
        )
        await self._release_lost()
        self._takes += 1
        try:
            return await self._queue.take(requested, self._store_deadline())
        except StoreUnavailable:
            self._lost_leases.append(lease_id)  # it may exist, and nothing was sent with it
            raise

    async def _release_lost(self) -> None:
        """Release leases of which nothing was sent. Raises: StoreUnavailable; then they are released later."""
        while self._lost_leases:
            requested = Release(lease_id=self._lost_leases[0], lease_us=round(self._settings.lease_s * _US))
            await self._queue.release(requested, self._store_deadline())
            self._lost_leases.pop(0)

    async def _deliver(self, lease_id: int, taken: Taken, began_at: float) -> None:
        """Send leased events and record the results. Args: `began_at`: when the lease was requested, monotonic."""
        try:
            with self._linked([event.trace for event in taken.events]) as span:
                if span is not None:
                    span.set(OWN + "tenant", self._tenant_id)
                    span.set(OWN + "events", len(taken.events))
                await self._deliver_leased(lease_id, taken, began_at)
        finally:
            self._heart.ended()

    async def _deliver_leased(self, lease_id: int, taken: Taken, began_at: float) -> None:
        try:
            outcomes = await self._sender.send(lease_id, taken, began_at)
        except Exception as error:  # noqa: BLE001 - an unexpected error must not end the delivery
            log().error("durable events failed unexpectedly", tenant=self._tenant_id, **where_raised(error))
            return  # the lease expires, and the marks say that Phoenix may have the events
        await self._settle(Settle(lease_id=lease_id, outcomes=tuple(outcomes)))

    async def _settle(self, settle: Settle) -> None:
        """Record the results, even if the store is down for long. No other gateway can take over meanwhile."""
        held: int | None = None
        failures = takes = 0
        while held is None:
            # A lease requested now is in the same commit, and gets the next events of these ordering keys.
            takes = self._takes
            self._news.set()
            try:
                held = await self._queue.settle(settle, self._store_deadline())
            except GatewayError:
                failures += 1
                if self._stopping.is_set() and failures > 1:
                    return  # the marks stay, so the next gateway knows that Phoenix may have these events
                await asyncio.sleep(wait_s(failures, RetrySettings(longest_wait_s=self._settings.poll_s), self._random))
        if held < len(settle.outcomes) and not failures:  # after a failure, an earlier commit may have succeeded
            log().warning(
                "a lease of durable events was lost", tenant=self._tenant_id, count=len(settle.outcomes) - held
            )
            return
        self._report(settle.outcomes)
        if takes == self._takes:
            self._news.set()

    def _report(self, outcomes: Sequence[Settled]) -> None:
        out = [one.event for one in outcomes if one.result is not DeliveryResult.AGAIN]
        dead = [one for one in outcomes if one.result is DeliveryResult.DEAD]
        self._level.left(len(out), sum(len(event.body) for event in out))
        for name, count in (("delivered", len(out) - len(dead)), ("retried", len(outcomes) - len(out))):
            if count:
                self._on_event(name, count)
        for one in dead:
            self._on_dead(one.reason)

    def _poll_s(self) -> float:
        return self._settings.poll_s * (0.75 + 0.5 * self._random())

    def _store_deadline(self) -> Deadline:
        return Deadline.after(self._settings.store_s, self._clock)

    async def _wait(self, event: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass
