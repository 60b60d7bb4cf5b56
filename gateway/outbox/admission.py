"""Accept events into the queue, each id once. Runs inside one transaction, and may run again.

The row of an ordering key (`lane` in the database) is written before its events. Only the transaction that has locked
this row adds events, so the sequence of a key's events is their order of commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from gateway.core.types import TenantId
from gateway.outbox.record import AdmissionState, Admit, Admitted, NewEvent, ordering_key_of
from gateway.outbox.statements import Statement
from gateway.outbox.tables import DEAD, DELIVERED, QUEUED
from gateway.store.pipeline import now_us_of

_KNOWN = Statement(
    "SELECT {returned} FROM {given} JOIN durable_events AS kept"
    " ON kept.event_id = given.event_id AND kept.tenant_id = given.tenant_id",
    given="tenant_id text, event_id text",
    returned="kept.tenant_id, kept.event_id, kept.state, kept.digest, kept.accepted_at_us, kept.reason",
)
ADD_TO_QUEUE = Statement(
    "INSERT INTO durable_lanes (lane, tenant_id, pending, pending_bytes, due_at_us)"
    " SELECT lane, tenant_id, pending, pending_bytes, {steady} FROM {given} WHERE true"
    " ON CONFLICT (lane) DO UPDATE SET pending = durable_lanes.pending + excluded.pending,"
    " pending_bytes = durable_lanes.pending_bytes + excluded.pending_bytes",
    given="lane bigint, tenant_id text, pending integer, pending_bytes bigint",
)
_INSERT = Statement(
    "INSERT INTO durable_events (tenant_id, event_id, state, lane, is_id_given, accepted_at_us, size_bytes, attempts,"
    " digest, leaderboard_id, user_id, body, trace)"
    " SELECT tenant_id, event_id, 0, lane, is_id_given, {now}, size_bytes, 0, digest, leaderboard_id,"
    " user_id, body, trace FROM {given} WHERE true ON CONFLICT (event_id, tenant_id) DO NOTHING",
    given="tenant_id text, event_id text, lane bigint, is_id_given integer, size_bytes integer, digest text,"
    " leaderboard_id text, user_id text, body text, trace text",
)
STATES = {QUEUED: AdmissionState.QUEUED, DELIVERED: AdmissionState.DELIVERED, DEAD: AdmissionState.DEAD}

_Known = tuple[str, Admitted]
"""Digest, and the answer for the same event."""


class ConcurrentInsert(Exception):
    """Another gateway committed one of the ids meanwhile. Roll back, and check all ids in the next run."""


def admit_all(
    connection: sa.Connection, admits: Sequence[Admit], *, check_all_ids: bool, is_in_doubt: bool = False
) -> list[list[Admitted] | None]:
    """Accept the events in their order. Return one answer per event.

    Args: `check_all_ids`: also check ids that gateways made. `is_in_doubt`: an earlier run may be committed. Then None
    is returned for an Admit with such an id that is not found: its event may be delivered, and forgotten since.
    Raises: ConcurrentInsert.
    """
    known = _known(connection, admits, check_all_ids=check_all_ids or is_in_doubt)
    taken: dict[tuple[str, str], str] = {}
    """Digests of the new events by tenant and id."""
    rows: list[tuple[Any, ...]] = []
    totals: dict[int, list[Any]] = {}
    results: list[list[Admitted | AdmissionState] | None] = []
    for admit in admits:
        tenant_id = admit.tenant_id
        if is_in_doubt and any(
            not event.is_id_given and (tenant_id, event.event_id) not in known for event in admit.events
        ):
            results.append(None)
            continue
        answers: list[Admitted | AdmissionState] = []
        for event in admit.events:
            digest, place = event.digest.hex(), (tenant_id, event.event_id)
            held = known.get(place)
            if held is not None:
                answers.append(held[1] if held[0] == digest else _reused(held[1]))
                continue
            if place in taken:
                answers.append(AdmissionState.QUEUED if taken[place] == digest else AdmissionState.REUSED)
                continue
            taken[place] = digest
            answers.append(AdmissionState.NEW)
            rows.append(_row(tenant_id, event, digest, totals))
        results.append(answers)
    if rows:
        ADD_TO_QUEUE.later(connection, [totals[key] for key in sorted(totals)])
        if _INSERT.run(connection, rows) != len(rows):
            raise ConcurrentInsert
    now_us = now_us_of(connection)
    accepted = {state: Admitted(state=state, accepted_at_us=now_us) for state in AdmissionState}
    return [
        None if answers is None else [accepted[one] if isinstance(one, AdmissionState) else one for one in answers]
        for answers in results
    ]


def _known(connection: sa.Connection, admits: Sequence[Admit], *, check_all_ids: bool) -> dict[tuple[str, str], _Known]:
    asked = [
        (admit.tenant_id, event.event_id)
        for admit in admits
        for event in admit.events
        if event.is_id_given or check_all_ids
    ]
    if not asked:
        return {}
    return {
        (tenant_id, event_id): (
            digest,
            Admitted(state=STATES[state], accepted_at_us=accepted_at_us, reason=reason or ""),
        )
        for tenant_id, event_id, state, digest, accepted_at_us, reason in _KNOWN.fetch(connection, asked)
    }


def _row(tenant_id: TenantId, event: NewEvent, digest: str, totals: dict[int, list[Any]]) -> tuple[Any, ...]:
    ordering_key = ordering_key_of(tenant_id, event.leaderboard_id, event.user_id)
    size = len(event.body)
    total = totals.get(ordering_key)
    if total is None:
        totals[ordering_key] = [ordering_key, tenant_id, 1, size]
    else:
        total[2] += 1
        total[3] += size
    return (
        tenant_id,
        event.event_id,
        ordering_key,
        int(event.is_id_given),
        size,
        digest,
        event.leaderboard_id,
        event.user_id,
        event.body.decode(),
        event.trace,
    )


def _reused(held: Admitted) -> Admitted:
    return Admitted(state=AdmissionState.REUSED, accepted_at_us=held.accepted_at_us)
