"""Lease the first event of each ordering key, and record the results. Runs inside one transaction.

An event is marked before it is sent, so that after a crash the mark shows that Phoenix may have it. Only one event of
an ordering key is leased at a time, so events never overtake each other. In the database, an ordering key is a `lane`.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from gateway.core.types import TenantId
from gateway.outbox.record import DeliveryResult, Release, Settle, Settled, Take, Taken, TakenEvent
from gateway.outbox.statements import Statement
from gateway.store.pipeline import defer, now_us_of, steady_us_of

_DUE = (
    "SELECT lane FROM durable_lanes WHERE tenant_id = :tenant_id AND due_at_us <= {steady}"
    " ORDER BY due_at_us LIMIT :max_keys {skip}"
)
# PostgreSQL: first the locks, then the events in a statement of their own. A statement sees what was committed before
# it began, so one that locks would still read an event that was settled just before it got the lock. The locked keys
# are in a setting of the transaction, because an answer in between would be a round trip.
_LOCK_DUE = Statement(
    "SELECT set_config('gateway.due_keys', COALESCE(CAST(json_agg(lane) AS text), '[]'), true)"  # noqa: S608 - ours
    f" FROM ({_DUE}) AS due"
)
_LOCKED = (
    "SELECT CAST(value AS bigint) AS lane"
    " FROM json_array_elements_text(CAST(current_setting('gateway.due_keys') AS json)) AS one(value)"
)


def _first_events_of(keys: str) -> Statement:
    """Find the first events of these ordering keys, and read those that fit."""
    return Statement(
        "SELECT {returned} FROM (SELECT event.*, row_number() OVER oldest_first AS place,"  # noqa: S608 - ours
        f" sum(event.size_bytes) OVER oldest_first AS size_so_far FROM ({keys}) AS due"
        " JOIN durable_events AS event ON event.sequence = (SELECT min(waiting.sequence) FROM durable_events AS waiting"
        " WHERE waiting.lane = due.lane AND waiting.state = 0) WINDOW oldest_first AS (ORDER BY event.sequence))"
        " AS head WHERE head.place = 1 OR head.size_so_far <= :max_bytes",
        returned="head.sequence, head.lane, head.event_id, head.is_id_given, head.leaderboard_id, head.user_id,"
        " head.accepted_at_us, head.attempts, head.first_sent_at_us, head.body, head.trace",
    )


_OF_DUE = _first_events_of(_DUE)
_OF_LOCKED = _first_events_of(_LOCKED)
_MARK = Statement(
    "UPDATE durable_events SET attempts = attempts + 1, first_sent_at_us = COALESCE(first_sent_at_us, :now_us)"
    " WHERE sequence IN (SELECT sequence FROM {given})",
    given="sequence bigint",
)
_LEASE = Statement(
    "UPDATE durable_lanes SET due_at_us = :until_us, lease_id = :lease_id WHERE lane IN (SELECT lane FROM {given})",
    given="lane bigint",
)
_NEXT_DUE = sa.text("SELECT min(due_at_us) FROM durable_lanes WHERE tenant_id = :tenant_id")

LOCK_KEYS = Statement(
    "SELECT {returned} FROM (SELECT lane, lease_id FROM durable_lanes WHERE lane IN (SELECT lane FROM {given})"
    " ORDER BY lane {lock}) AS held",
    given="lane bigint",
    returned="held.lane, held.lease_id",
)
# "state < 1" means "state = 0", but keeps PostgreSQL from using the index of all queued events.
_DELIVERED = Statement(
    "UPDATE durable_events SET state = 1, done_at_us = :now_us, first_sent_at_us = NULL, body = NULL"
    " WHERE state < 1 AND sequence IN (SELECT sequence FROM {given})",
    given="sequence bigint",
)
_FORGOTTEN = Statement(
    "DELETE FROM durable_events WHERE state < 1 AND sequence IN (SELECT sequence FROM {given})",
    given="sequence bigint",
)
_DEAD = Statement(
    "UPDATE durable_events SET state = 2, done_at_us = :now_us, reason = given.reason, detail = given.detail,"
    " first_sent_at_us = given.first_sent_at_us"
    " FROM {given} WHERE durable_events.sequence = given.sequence AND durable_events.state < 1",
    given="sequence bigint, reason text, detail text, first_sent_at_us bigint",
)
_AGAIN = Statement(
    "UPDATE durable_events SET first_sent_at_us = given.first_sent_at_us"
    " FROM {given} WHERE durable_events.sequence = given.sequence AND durable_events.state < 1",
    given="sequence bigint, first_sent_at_us bigint",
)
_LAST_OUT = Statement(
    "DELETE FROM durable_lanes WHERE pending = 1 AND lane IN (SELECT lane FROM {given})", given="lane bigint"
)
_ONE_OUT = Statement(
    "UPDATE durable_lanes SET pending = durable_lanes.pending - 1,"
    " pending_bytes = durable_lanes.pending_bytes - given.size_bytes, due_at_us = {steady}, lease_id = NULL"
    " FROM {given} WHERE durable_lanes.lane = given.lane",
    given="lane bigint, size_bytes bigint",
)
_WAIT = Statement(
    "UPDATE durable_lanes SET due_at_us = given.due_at_us, lease_id = NULL"
    " FROM {given} WHERE durable_lanes.lane = given.lane",
    given="lane bigint, due_at_us bigint",
)
# Find the events that this lease marked by their time, which is the beginning of the lease. Not by their position,
# because a dead letter that was queued again meanwhile comes before them.
_UNMARK = sa.text(
    "UPDATE durable_events SET first_sent_at_us = NULL, attempts = attempts - 1 WHERE state = 0 AND lane IN"
    " (SELECT held.lane FROM durable_lanes AS held WHERE held.lease_id = :lease_id)"
    " AND first_sent_at_us = (SELECT held.due_at_us - :lease_us FROM durable_lanes AS held"
    " WHERE held.lane = durable_events.lane AND held.lease_id = :lease_id)"
)
_FREE = Statement("UPDATE durable_lanes SET lease_id = NULL, due_at_us = {steady} WHERE lease_id = :lease_id")


def take(connection: sa.Connection, asked: Take) -> Taken:
    """Lease the due events, those that have waited longest first."""
    if connection.dialect.name == "sqlite":  # nothing is committed meanwhile
        rows = _OF_DUE.fetch(connection, tenant_id=asked.tenant_id, max_keys=asked.max_keys, max_bytes=asked.max_bytes)
    else:
        _LOCK_DUE.later(connection, tenant_id=asked.tenant_id, max_keys=asked.max_keys)
        rows = _OF_LOCKED.fetch(connection, max_bytes=asked.max_bytes)
    now_us = steady_us_of(connection)
    if not rows:
        return look(connection, asked.tenant_id)
    events = sorted((_taken(*row) for row in rows), key=lambda event: event.sequence)
    sequences = [(event.sequence,) for event in events]
    _MARK.later(connection, sequences, now_us=now_us)
    _LEASE.later(
        connection,
        [(event.ordering_key,) for event in events],
        until_us=now_us + asked.lease_us,
        lease_id=asked.lease_id,
    )
    return Taken(events=tuple(events), now_us=now_us, next_due_us=None)


def look(connection: sa.Connection, tenant_id: TenantId) -> Taken:
    """Return when the next event is due, without a lease."""
    now_us = steady_us_of(connection)
    next_due_us = connection.execute(_NEXT_DUE, {"tenant_id": tenant_id}).scalar_one()
    return Taken(events=(), now_us=now_us, next_due_us=next_due_us)


def settle_all(connection: sa.Connection, settles: Sequence[Settle]) -> list[int]:
    """Record results of events whose lease is still valid. Return the number of these for each argument.

    If another gateway took the lease over, its result counts, because it saw the mark of the event.
    """
    keys = [(settled.event.ordering_key,) for settle in settles for settled in settle.outcomes]
    if not keys:
        return [0] * len(settles)
    held: dict[int, int | None] = dict(LOCK_KEYS.fetch(connection, keys))
    kept: list[Settled] = []
    counts = []
    for settle in settles:
        own = [settled for settled in settle.outcomes if held.get(settled.event.ordering_key) == settle.lease_id]
        kept += own
        counts.append(len(own))
    _write_down(connection, now_us_of(connection), kept)
    return counts


def release(connection: sa.Connection, asked: Release) -> int:
    """Release a lease of which certainly nothing was sent. Return how many ordering keys it held."""
    defer(connection, _UNMARK, {"lease_id": asked.lease_id, "lease_us": asked.lease_us})
    return _FREE.run(connection, lease_id=asked.lease_id)


def _write_down(connection: sa.Connection, now_us: int, outcomes: Sequence[Settled]) -> None:
    delivered = [settled.event for settled in outcomes if settled.result is DeliveryResult.DELIVERED]
    dead = [settled for settled in outcomes if settled.result is DeliveryResult.DEAD]
    again = [settled for settled in outcomes if settled.result is DeliveryResult.AGAIN]
    if remembered := [(event.sequence,) for event in delivered if event.is_id_given]:
        _DELIVERED.later(connection, remembered, now_us=now_us)
    # Callers do not know the ids that gateways made, so such an event need not be remembered.
    if forgotten := [(event.sequence,) for event in delivered if not event.is_id_given]:
        _FORGOTTEN.later(connection, forgotten)
    if dead:
        rows = [(one.event.sequence, one.reason, one.detail, one.first_sent_at_us) for one in dead]
        _DEAD.later(connection, rows, now_us=now_us)
    if again:
        _AGAIN.later(connection, [(one.event.sequence, one.first_sent_at_us) for one in again])
        steady_us = steady_us_of(connection)
        _WAIT.later(connection, [(one.event.ordering_key, steady_us + one.wait_us) for one in again])
    if out := [*delivered, *(one.event for one in dead)]:
        _LAST_OUT.later(connection, [(event.ordering_key,) for event in out])
        _ONE_OUT.later(connection, [(event.ordering_key, len(event.body)) for event in out])


def _taken(
    sequence: int,
    ordering_key: int,
    event_id: str,
    is_id_given: int,
    leaderboard_id: str,
    user_id: str,
    accepted_at_us: int,
    attempts: int,
    first_sent_at_us: int | None,
    body: str,
    trace: str | None,
) -> TakenEvent:
    return TakenEvent(
        sequence=sequence,
        ordering_key=ordering_key,
        event_id=event_id,
        is_id_given=bool(is_id_given),
        leaderboard_id=leaderboard_id,
        user_id=user_id,
        accepted_at_us=accepted_at_us,
        attempts=attempts + 1,
        first_sent_at_us=first_sent_at_us,
        body=body.encode(),
        trace=trace,
    )
