"""Show the other replicas that this one lives, and release the ordering keys of those that do not.

A replica beats only while it needs leases, so an idle gateway writes nothing. It sends under a lease only while it is
certain that no other replica can hold it for dead: for SURE_S from the beginning of its last counted beat, by the
monotonic clock and by the wall clock, because the former stops while a machine sleeps.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable

from gateway.core.types import TenantId
from gateway.errors import GatewayError
from gateway.outbox.peer_watch import DEAD_AFTER_S, PeerWatch
from gateway.outbox.record import REPLICA_NUMBERS, Beat, End, lease_id_of
from gateway.outbox.store import EventQueue
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.telemetry.logs import log, where_raised

BEAT_S = 0.75
SURE_S = DEAD_AFTER_S - 0.5
"""Half a second for a request on its way, and for clocks that differ."""
LINGER_S = 10.0
"""How long a replica beats after its last lease."""
_STORE_S = 5.0


class Heartbeat:
    """The beats of this process, for the deliveries of all its tenants."""

    def __init__(
        self,
        queue: EventQueue,
        clock: Clock,
        name: str,
        tenants: tuple[TenantId, ...],
    ) -> None:
        """Args: `name`: host and process; `tenants`: whose ordering keys to release."""
        self._queue = queue
        self._clock = clock
        self._name = name
        self._tenants = tenants
        self._peers = PeerWatch()
        self._number: int | None = None
        self._counts = itertools.count()
        self._sure_from = (float("-inf"), float("-inf"))
        self._needed_until = float("-inf")
        self._under_way = 0
        self._beating = asyncio.Lock()

    async def lease(self) -> int:
        """Return the id for a new lease, after a beat if the last one is old. `ended` ends it. Raises: GatewayError."""
        self._needed_until = self._clock.monotonic() + LINGER_S
        async with self._beating:
            if not self._is_sure():
                await self._beat()
            number = self._number
        assert number is not None
        self._under_way += 1
        return lease_id_of(number, next(self._counts))

    def ended(self) -> None:
        """Note that a lease is settled, released or given up."""
        self._under_way -= 1

    def covers(self, lease_id: int) -> bool:
        """Whether certainly no other replica has taken over the lease because of this one's silence."""
        number = self._number
        return (
            number is not None and lease_id_of(number, 0) <= lease_id < lease_id_of(number + 1, 0) and self._is_sure()
        )

    async def run(self, *, on_freed: Callable[[int], None] = lambda ordering_keys: None) -> None:
        """Beat and look at the others, until cancelled. Args: `on_freed`: gets how many ordering keys became due."""
        while True:
            try:
                if freed := await self.step():
                    on_freed(freed)
            except GatewayError:
                pass  # the store has reported it
            except Exception as error:  # noqa: BLE001 - an unexpected error must not end the beats
                log().error("the heartbeat of durable events failed unexpectedly", **where_raised(error))
            await asyncio.sleep(BEAT_S)

    async def step(self) -> int:
        """Beat if there are leases; release the keys of dead replicas and return how many. Raises: GatewayError."""
        if self._under_way or self._clock.monotonic() < self._needed_until:
            async with self._beating:
                await self._beat()
        asked_at = self._clock.monotonic()
        found = await self._queue.replicas(self._store_deadline())
        total = 0
        others = [one for one in found if one.number != self._number]
        for one in self._peers.dead(others, asked_at=asked_at, answered_at=self._clock.monotonic()):
            freed = await self._queue.end(
                End(number=one.number, beats=one.beats, tenants=self._tenants), self._store_deadline()
            )
            if freed:
                log().warning(
                    "a gateway stopped beating; its durable events are taken over", peer=one.name, count=freed
                )
                total += freed
        return total

    async def leave(self) -> None:
        """Give back all that is still leased, at a clean stop. Raises: GatewayError."""
        number, self._number = self._number, None
        if number is not None:
            await self._queue.end(End(number=number, beats=None, tenants=self._tenants), self._store_deadline())

    def _is_sure(self) -> bool:
        monotonic, wall = self._sure_from
        return self._clock.monotonic() - monotonic < SURE_S and self._clock.now() - wall < SURE_S

    async def _beat(self) -> None:
        """Beat, with a new number if there is none or this replica was held for dead. Raises: GatewayError."""
        counted = 0
        while not counted:
            begins = self._number is None
            number = secrets.randbelow(REPLICA_NUMBERS) if self._number is None else self._number
            from_ = (self._clock.monotonic(), self._clock.now())
            counted = await self._queue.beat(
                Beat(number=number, name=self._name, begins=begins), self._store_deadline()
            )
            if counted:
                self._number, self._sure_from = number, from_
            else:
                self._number = None

    def _store_deadline(self) -> Deadline:
        return Deadline.after(_STORE_S, self._clock)
