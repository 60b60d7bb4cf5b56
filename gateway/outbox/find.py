"""Finds a durable event by its id, whoever's it is, until its row is deleted. Runs inside one transaction."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from gateway.outbox.admission import STATES
from gateway.outbox.record import AdmissionState
from gateway.outbox.statements import Statement
from gateway.outbox.tables import QUEUED

_FIND = Statement(
    "SELECT {returned} FROM durable_events AS event LEFT JOIN durable_lanes ON durable_lanes.lane = event.lane"
    " WHERE event.event_id = :event_id",
    returned="event.tenant_id, state, accepted_at_us, attempts, first_sent_at_us, done_at_us, reason, due_at_us,"
    " (SELECT COUNT(*) FROM durable_events AS earlier WHERE earlier.lane = event.lane AND earlier.state = 0"
    " AND earlier.sequence < event.sequence)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventState:
    """The state of a durable event. Times in microseconds.

    `due_at_us`: of a queued one, when its ordering key may be sent, or the end of
    the lease of the gateway that sends it. `ahead`: events of its ordering key that are sent before it.
    `first_sent_at_us`: when the first send that may have reached Phoenix began; None: none did.
    """

    tenant_id: str
    state: AdmissionState
    accepted_at_us: int
    attempts: int
    first_sent_at_us: int | None
    done_at_us: int | None
    reason: str
    due_at_us: int | None
    ahead: int


def states_of(connection: sa.Connection, event_id: str) -> list[EventState]:
    """Return the event of each tenant that has one with this id."""
    return [
        EventState(
            tenant_id=tenant_id,
            state=STATES[state],
            accepted_at_us=accepted_at_us,
            attempts=attempts,
            first_sent_at_us=first_sent_at_us,
            done_at_us=done_at_us,
            reason=reason or "",
            due_at_us=due_at_us if state == QUEUED else None,
            ahead=ahead if state == QUEUED else 0,
        )
        for tenant_id, state, accepted_at_us, attempts, first_sent_at_us, done_at_us, reason, due_at_us, ahead in (
            _FIND.fetch(connection, event_id=event_id)
        )
    ]
