"""Read evidence exactly as it was written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from gateway.core.types import Environment, HexStr, KeyId, OperatorCode
from gateway.evidence.record import Balance, Conflict, Evidence, Incident, IncidentReason, Scope
from gateway.evidence.rows import content_of, recorded_of
from gateway.evidence.tables import conflicts, incidents, operations, repeats
from gateway.store.schema import pad_in_list

MAX_INCIDENTS = 100
MAX_CONFLICTS = 100
MAX_CONFLICT_BYTES = 512 * 1024
"""Total size of the conflict bodies of one move, so that the move fits into one gRPC message."""
NO_SUCH_OPERATION = "No such wallet operation exists. Check the operation id or the key."
_t = operations.c


# Built once: building these statements costs more than running them, and every outcome runs all three.
_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_WITH_REPEATS = sa.select(operations, repeats.c.replay_count).outerjoin(
    repeats, repeats.c.operation_id == operations.c.operation_id
)
_BY_ID = _WITH_REPEATS.where(_t.operation_id.in_(_IDS))


def _incidents_statement() -> sa.Select[*tuple[Any, ...]]:
    place = sa.func.row_number().over(partition_by=incidents.c.operation_id, order_by=incidents.c.sequence)
    numbered = sa.select(incidents, place.label("place")).where(incidents.c.operation_id.in_(_IDS)).subquery()
    return sa.select(numbered).where(numbered.c.place <= MAX_INCIDENTS).order_by(numbered.c.sequence)


def _conflicts_statement() -> sa.Select[*tuple[Any, ...]]:
    of, by = conflicts.c.operation_id, conflicts.c.sequence
    kept = [column for column in conflicts.columns if column.name != "body"]
    numbered = (
        sa.select(
            *kept,
            sa.func.row_number().over(partition_by=of, order_by=by).label("place"),
            sa.func.sum(sa.func.length(conflicts.c.body)).over(partition_by=of, order_by=by).label("bytes"),
        )
        .where(conflicts.c.operation_id.in_(_IDS))
        .subquery()
    )
    fits = sa.case((numbered.c.bytes <= MAX_CONFLICT_BYTES, conflicts.c.body), else_=sa.null()).label("body")
    return (
        sa.select(*(numbered.c[column.name] for column in kept), fits)
        .join(conflicts, conflicts.c.sequence == numbered.c.sequence)
        .where(numbered.c.place <= MAX_CONFLICTS)
        .order_by(numbered.c.sequence)
    )


_INCIDENTS, _CONFLICTS = _incidents_statement(), _conflicts_statement()


def evidence_of(connection: sa.Connection, operation_ids: Iterable[str]) -> dict[str, Evidence]:
    """Return the evidence of the existing moves, by id."""
    ids = pad_in_list(operation_ids)
    return _evidence(connection, connection.execute(_BY_ID, {"ids": ids}).all()) if ids else {}


def evidence_at(connection: sa.Connection, scope: Scope) -> Evidence | None:
    """Return the evidence of the move with this scope."""
    operator_code, environment, operation, idempotency_key = scope
    rows = connection.execute(
        _WITH_REPEATS.where(
            _t.idempotency_key == idempotency_key,
            _t.operator_code == operator_code,
            _t.environment == environment,
            _t.operation == operation,
        )
    ).all()
    return next(iter(_evidence(connection, rows).values()), None)


def _evidence(connection: sa.Connection, rows: Sequence[sa.Row[*tuple[Any, ...]]]) -> dict[str, Evidence]:
    if not rows:
        return {}
    ids = {"ids": pad_in_list(row.operation_id for row in rows)}
    refused: dict[str, list[Incident]] = defaultdict(list)
    for row in connection.execute(_INCIDENTS, ids):
        refused[row.operation_id].append(_incident(row))
    differing: dict[str, list[Conflict]] = defaultdict(list)
    for row in connection.execute(_CONFLICTS, ids):
        differing[row.operation_id].append(_conflict(row))
    return {
        row.operation_id: _from_row(row, tuple(refused[row.operation_id]), tuple(differing[row.operation_id]))
        for row in rows
    }


def _incident(row: sa.Row[*tuple[Any, ...]]) -> Incident:
    return Incident(
        reason=IncidentReason(row.reason),
        received_at_us=row.received_at_us,
        attempt=row.attempt,
        status=row.response_status,
        body_sha256=HexStr(row.response_body_sha256),
        operator_transaction_id=row.operator_transaction_id,
    )


def _conflict(row: sa.Row[*tuple[Any, ...]]) -> Conflict:
    return Conflict(
        received_at_us=row.first_received_at_us,
        count=row.conflict_count,
        body_sha256=HexStr(row.body_sha256),
        body=row.body,
        signature=row.signature,
        key_id=KeyId(row.key_id),
        request_id=row.request_id,
    )


def _from_row(
    row: sa.Row[*tuple[Any, ...]], refused: tuple[Incident, ...], differing: tuple[Conflict, ...]
) -> Evidence:
    return Evidence(
        operation_id=row.operation_id,
        operator_code=OperatorCode(row.operator_code),
        environment=Environment(row.environment),
        idempotency_key=row.idempotency_key,
        content=content_of(row),
        reason=row.reason,
        body=row.body,
        signature=row.signature,
        key_id=KeyId(row.key_id),
        request_id=row.request_id,
        received_at_us=row.received_at_us,
        attempt=row.attempt,
        lease_expires_at_us=row.lease_expires_at_us,
        suspect_replay=row.suspect_replay,
        probed_before=row.probed_before,
        response=recorded_of(row),
        operator_transaction_id=row.operator_transaction_id or "",
        operator_reservation_id=row.operator_reservation_id or "",
        available=_balance(row.available_amount, row.available_currency),
        reserved=_balance(row.reserved_amount, row.reserved_currency),
        processed_at_us=row.processed_at_us,
        incidents=refused,
        replay_count=row.replay_count or 0,
        conflicts=differing,
    )


def _balance(amount: str | None, currency: str | None) -> Balance | None:
    return None if amount is None else Balance(amount=amount, currency=currency or "")
