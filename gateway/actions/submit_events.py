"""Submits events to Phoenix and says of each what became of it.

Order: events of one user on one board leave one after the other, in the order they were given;
others go side by side, within a bound. Nothing is sent twice here: retries that are safe happen in
the events client, and an answer that was lost comes up as OutcomeUnknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.actions.call import Call
from gateway.actions.directory import TenantDirectory
from gateway.actions.rooms import TenantRoom
from gateway.core.wire import Event, encode_event
from gateway.errors import GatewayError, InternalFault
from gateway.phoenix.gamification.events import Acceptance
from gateway.resilience.clock import Clock
from gateway.telemetry.logs import log, where_raised

SIDE_BY_SIDE = 16
"""Calls to Phoenix at once for one batch: enough to hide the way there, too few to crowd out others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """An event that Phoenix said 2xx to, or that it had already (`duplicate`). `accepted_at`: Unix seconds."""

    event_id: str
    duplicate: bool
    accepted_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An event that was not accepted, and why."""

    event_id: str
    error: GatewayError


class SubmitEvents:
    """The action behind SubmitEvent and SubmitEvents."""

    def __init__(self, tenants: TenantDirectory[TenantRoom], clock: Clock, new_event_id: Callable[[], str]) -> None:
        self._tenants = tenants
        self._clock = clock
        self._new_event_id = new_event_id

    def new_event_id(self) -> str:
        """Return an id for an event that came without one: a UUIDv7."""
        return self._new_event_id()

    async def one(self, tenant_id: str, event: Event, call: Call) -> Submitted:
        """Submit one event. Raises: the GatewayError that it failed with."""
        room = self._tenants.resolve(tenant_id)
        call.facts["tenant"] = room.tenant_id
        return await self._send(room, event, call)

    async def many(self, tenant_id: str, events: Sequence[Event | Failed], call: Call) -> list[Submitted | Failed]:
        """Submit the events that are none of the Failed; return one result per event, in order.

        Raises: TenantUnknown, InvalidField; after that every failure is a result. When the caller
        leaves, what was not sent so far is not sent.
        """
        room = self._tenants.resolve(tenant_id)
        call.facts["tenant"] = room.tenant_id
        call.facts["events"] = str(len(events))
        results: list[Submitted | Failed | None] = [event if isinstance(event, Failed) else None for event in events]
        lanes: dict[tuple[str, str], list[tuple[int, Event]]] = {}
        for index, event in enumerate(events):
            if isinstance(event, Event):
                lanes.setdefault((event.leaderboard_id, event.user_id), []).append((index, event))
        places = asyncio.Semaphore(SIDE_BY_SIDE)

        async def run(lane: list[tuple[int, Event]]) -> None:
            for index, event in lane:
                async with places:
                    results[index] = await self._try(room, event, call)

        async with asyncio.TaskGroup() as group:
            for lane in lanes.values():
                group.create_task(run(lane))
        return [result for result in results if result is not None]

    async def _try(self, room: TenantRoom, event: Event, call: Call) -> Submitted | Failed:
        try:
            return await self._send(room, event, call)
        except GatewayError as error:
            return Failed(event_id=event.event_id, error=error)
        except Exception as error:  # noqa: BLE001 - one event's trouble must not cost the others their results
            log().error("event failed unexpectedly", request_id=call.request_id, **where_raised(error))
            return Failed(event_id=event.event_id, error=InternalFault())

    async def _send(self, room: TenantRoom, event: Event, call: Call) -> Submitted:
        body = encode_event(event, room.tenant_id, send_event_id=room.send_event_id)
        taken = await room.events.submit(body, call.deadline)
        return Submitted(
            event_id=event.event_id,
            duplicate=taken.acceptance is Acceptance.DUPLICATE,
            accepted_at=self._clock.now(),
        )
