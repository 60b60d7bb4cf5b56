"""List money moves in the order of their receipt, in bounded pages.

Pages use a key (time of receipt, then id), so moves do not shift between pages. A move may be committed after a later
one; `settled_us` is the time before which the list is complete.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from gateway.evidence.reading import evidence_of
from gateway.evidence.record import Evidence, EvidencePage, EvidenceQuery, Position, state_of
from gateway.evidence.tables import operations

SETTLES_AFTER_US = 10_000_000
"""A claim is committed within the 5 s of its call or never; the rest is for clock differences."""
_EXAMINED = 1000
"""Maximum rows that one page examines, so that a filter with few matches does not block other reads."""
_PAGE_BYTES = 2 * 1024 * 1024
"""Well below the 4 MiB that a gRPC client accepts in one message."""
_OVERHEAD_BYTES = 2048
_INCIDENT_BYTES = 448
_t = operations.c


def page_of(connection: sa.Connection, now_us: int, query: EvidenceQuery) -> EvidencePage:
    """Return the next page. Bodies are read only for moves on the page."""
    filtered = bool(query.player_id) or query.state is not None
    most = _EXAMINED if filtered else query.limit
    rows = connection.execute(_statement(query, most + 1)).all()
    examined = rows[:most]
    chosen: list[str] = []
    position = query.after
    seen = size = 0
    for row in examined:
        if _matches(row, query):
            size += 2 * row.body_bytes + (row.response_bytes or 0) + _OVERHEAD_BYTES
            if chosen and (len(chosen) == query.limit or size > _PAGE_BYTES):
                break
            chosen.append(row.operation_id)
        seen += 1
        position = _position(row)
    found = evidence_of(connection, chosen) if chosen else {}
    evidence = _fit_message([found[operation_id] for operation_id in chosen])
    if len(evidence) < len(chosen):
        last = evidence[-1]
        position = Position(received_at_us=last.received_at_us, operation_id=last.operation_id)
    return EvidencePage(
        evidence=tuple(evidence),
        position=position,
        more=seen < len(rows) or len(evidence) < len(chosen),
        settled_us=now_us - SETTLES_AFTER_US,
    )


def _statement(query: EvidenceQuery, rows: int) -> sa.Select[*tuple[Any, ...]]:
    wanted = sa.select(
        _t.operation_id,
        _t.received_at_us,
        _t.player_id,
        _t.attempt,
        _t.response_status,
        sa.func.length(_t.body).label("body_bytes"),
        sa.func.length(_t.response_body).label("response_bytes"),
    ).where(_t.operator_code == query.operator_code, _t.environment == query.environment.value)
    if query.start_us is not None:
        wanted = wanted.where(_t.received_at_us >= query.start_us)
    if query.end_us is not None:
        wanted = wanted.where(_t.received_at_us < query.end_us)
    after = query.after
    if after is not None:  # the first condition uses the index, which has no id
        wanted = wanted.where(
            _t.received_at_us >= after.received_at_us,
            sa.or_(_t.received_at_us > after.received_at_us, _t.operation_id > after.operation_id),
        )
    return wanted.order_by(_t.received_at_us, _t.operation_id).limit(rows)


def _matches(row: sa.Row[*tuple[Any, ...]], query: EvidenceQuery) -> bool:
    if query.player_id and row.player_id != query.player_id:
        return False
    return query.state is None or query.state is state_of(row.attempt, has_response=row.response_status is not None)


def _position(row: sa.Row[*tuple[Any, ...]]) -> Position:
    return Position(received_at_us=row.received_at_us, operation_id=row.operation_id)


def _fit_message(evidence: list[Evidence]) -> list[Evidence]:
    """Return as many as fit into a message with their incidents and conflicts; at least one."""
    size = 0
    for index, one in enumerate(evidence):
        size += 2 * len(one.body) + len(one.response.body or b"" if one.response else b"") + _OVERHEAD_BYTES
        size += _INCIDENT_BYTES * (len(one.incidents) + len(one.conflicts))
        size += sum(len(conflict.body or b"") for conflict in one.conflicts)
        if index and size > _PAGE_BYTES:
            return evidence[:index]
    return evidence
