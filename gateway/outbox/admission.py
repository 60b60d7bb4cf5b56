"""Takes events into the queue, each id once. Runs inside one transaction and may be run again.

Lanes come before their events: whoever holds a lane's row alone adds to it, so the sequence of a lane's events is the
order in which they were committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from gateway.core.types import TenantId
from gateway.outbox.record import Admit, Admitted, NewEvent, Standing, lane_of
from gateway.outbox.statements import Statement
from gateway.outbox.tables import DEAD, DELIVERED, QUEUED

_KNOWN = Statement(
    "SELECT {told} FROM {given} JOIN durable_events AS kept"
    " ON kept.event_id = given.event_id AND kept.tenant_id = given.tenant_id",
    given="tenant_id text, event_id text",
    told="kept.tenant_id, kept.event_id, kept.state, kept.digest, kept.accepted_at_us, kept.reason",
)
ADD_TO_LANES = Statement(
    "INSERT INTO durable_lanes (lane, tenant_id, pending, pending_bytes, due_at_us)"
    " SELECT lane, tenant_id, pending, pending_bytes, CAST(:now_us AS bigint) FROM {given} WHERE true"
    " ON CONFLICT (lane) DO UPDATE SET pending = durable_lanes.pending + excluded.pending,"
    " pending_bytes = durable_lanes.pending_bytes + excluded.pending_bytes",
    given="lane bigint, tenant_id text, pending integer, pending_bytes bigint",
)
_INSERT = Statement(
    "INSERT INTO durable_events (tenant_id, event_id, state, lane, is_id_given, accepted_at_us, size_bytes, attempts,"
    " digest, leaderboard_id, user_id, body)"
    " SELECT tenant_id, event_id, 0, lane, is_id_given, CAST(:now_us AS bigint), size_bytes, 0, digest, leaderboard_id,"
    " user_id, body FROM {given} WHERE true ON CONFLICT (event_id, tenant_id) DO NOTHING",
    given="tenant_id text, event_id text, lane bigint, is_id_given integer, size_bytes integer, digest text,"
    " leaderboard_id text, user_id text, body text",
)
_STANDINGS = {QUEUED: Standing.QUEUED, DELIVERED: Standing.DELIVERED, DEAD: Standing.DEAD}

_Known = tuple[str, Admitted]
"""Digest, and what to tell whoever brings the same."""


class ConcurrentInsert(Exception):
    """Another gateway committed one of the ids meanwhile: undo, and look at all of them in the next run."""


def admit_all(
    connection: sa.Connection, now_us: int, admits: Sequence[Admit], *, look_at_all: bool
) -> list[list[Admitted]]:
    """Take them in, in their order; return one answer per event.

    Args: `look_at_all`: also at ids that gateways made, which may be there after a commit whose answer was lost.
    Raises: ConcurrentInsert.
    """
    known = _known(connection, admits, look_at_all=look_at_all)
    new = Admitted(standing=Standing.NEW, accepted_at_us=now_us)
    again = Admitted(standing=Standing.QUEUED, accepted_at_us=now_us)
    rows: list[tuple[Any, ...]] = []
    lanes: dict[int, list[Any]] = {}
    results: list[list[Admitted]] = []
    for admit in admits:
        tenant_id = admit.tenant_id
        answers: list[Admitted] = []
        for event in admit.events:
            digest = event.digest.hex()
            held = known.get((tenant_id, event.event_id))
            if held is not None:
                answers.append(held[1] if held[0] == digest else _reused(held[1]))
                continue
            known[tenant_id, event.event_id] = (digest, again)
            answers.append(new)
            rows.append(_row(tenant_id, event, digest, lanes))
        results.append(answers)
    if rows:
        ADD_TO_LANES.run(connection, [lanes[lane] for lane in sorted(lanes)], now_us=now_us)
        if _INSERT.run(connection, rows, now_us=now_us) != len(rows):
            raise ConcurrentInsert
    return results


def _known(connection: sa.Connection, admits: Sequence[Admit], *, look_at_all: bool) -> dict[tuple[str, str], _Known]:
    asked = [
        (admit.tenant_id, event.event_id)
        for admit in admits
        for event in admit.events
        if event.is_id_given or look_at_all
    ]
    if not asked:
        return {}
    return {
        (tenant_id, event_id): (
            digest,
            Admitted(standing=_STANDINGS[state], accepted_at_us=accepted_at_us, reason=reason or ""),
        )
        for tenant_id, event_id, state, digest, accepted_at_us, reason in _KNOWN.told(connection, asked)
    }


def _row(tenant_id: TenantId, event: NewEvent, digest: str, lanes: dict[int, list[Any]]) -> tuple[Any, ...]:
    lane = lane_of(tenant_id, event.leaderboard_id, event.user_id)
    size = len(event.body)
    total = lanes.get(lane)
    if total is None:
        lanes[lane] = [lane, tenant_id, 1, size]
    else:
        total[2] += 1
        total[3] += size
    return (
        tenant_id,
        event.event_id,
        lane,
        int(event.is_id_given),
        size,
        digest,
        event.leaderboard_id,
        event.user_id,
        event.body.decode(),
    )


def _reused(held: Admitted) -> Admitted:
    return Admitted(standing=Standing.REUSED, accepted_at_us=held.accepted_at_us)
