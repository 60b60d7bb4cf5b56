"""The statements that claim moves: insert those that are new, and read what is stored. claims.py decides.

Each is built once, because building a statement costs as much as running it. PostgreSQL may be distant, so it is asked
as seldom as possible. SQLite is near: it is asked first what is usual and short.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from gateway.evidence.record import Scope
from gateway.evidence.rows import RESPONSE_COLUMNS, PendingClaim, claim_row
from gateway.evidence.settlements import is_settled
from gateway.evidence.tables import bodies, operations, probes
from gateway.store.pipeline import defer, defer_rows, lease_time
from gateway.store.schema import insert_into, is_in_list, list_parameter, pad_in_list

Row = sa.Row[*tuple[Any, ...]]
_MOVE = ("idempotency_key", "operator_code", "environment", "operation")
_BODY = ("body_sha256", "operator_code", "environment")
_t = operations.c

_WITH_BODIES = operations.outerjoin(
    bodies,
    sa.and_(
        bodies.c.body_sha256 == _t.body_sha256,
        bodies.c.operator_code == _t.operator_code,
        bodies.c.environment == _t.environment,
    ),
)
_NEW_COLUMNS = (
    *(_t.operation_id, _t.lease_expires_at_us, _t.received_at_us, bodies.c.first_operation_id),
    sa.exists()
    .where(
        probes.c.idempotency_key == _t.idempotency_key,
        probes.c.operator_code == _t.operator_code,
        probes.c.environment == _t.environment,
    )
    .label("was_probed"),
)
_NEW_ON_SQLITE = (
    sa.select(*_NEW_COLUMNS)
    .select_from(_WITH_BODIES)
    .where(is_in_list("sqlite", _t.operation_id, "ids"), _t.attempt == 1)
)
_FOUND = (
    sa.select(
        *_NEW_COLUMNS,
        *(_t.operator_code, _t.environment, _t.operation, _t.idempotency_key, _t.attempt, _t.suspect_replay),
        *(_t.probed_before, _t.player_id, _t.currency, _t.amount, _t.amount_json, _t.references_json, _t.body_sha256),
        *RESPONSE_COLUMNS,
        # Settling marks the body as used, so only suspect replays can be settled, and few of them are.
        sa.case(
            (_t.suspect_replay, is_settled(_t.idempotency_key, _t.operator_code, _t.environment)), else_=sa.false()
        ).label("may_be_settled"),
    )
    .select_from(_WITH_BODIES)
    .where(_t.idempotency_key.in_(sa.bindparam("keys", expanding=True)))
)
_INSERTS: dict[str, tuple[sa.Insert, sa.Insert]] = {}
"""Of the moves and of their bodies, by dialect."""
_LOCKED = (
    sa.select(_t.operation_id, _t.attempt, _t.lease_expires_at_us, *RESPONSE_COLUMNS)
    .where(_t.operation_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(_t.operation_id)
    .with_for_update()
)


def insert_new(connection: sa.Connection, ordered: Sequence[PendingClaim]) -> None:
    """Insert the moves that are new, and their bodies. The rows show later which ones were."""
    moves, first_of_bodies = _inserts_of(connection)
    defer_rows(connection, moves, [claim_row(one) for one in ordered])
    ids = list_parameter(connection, (one.operation_id for one in ordered))
    defer(connection, first_of_bodies, {"ids": ids})


def _inserts_of(connection: sa.Connection) -> tuple[sa.Insert, sa.Insert]:
    dialect = connection.dialect.name
    if dialect not in _INSERTS:
        lease = lease_time() + sa.bindparam("lease_us", type_=sa.BigInteger)
        moves = insert_into(connection, operations).values(lease_expires_at_us=lease)
        first_of_body = (
            sa.select(_t.body_sha256, _t.operator_code, _t.environment, _t.operation_id)
            .where(is_in_list(dialect, _t.operation_id, "ids"))
            # One order everywhere, so that two batches cannot deadlock.
            .order_by(_t.body_sha256, _t.operator_code, _t.environment, _t.sequence)
        )
        first = insert_into(connection, bodies).from_select([*_BODY, "first_operation_id"], first_of_body)
        _INSERTS[dialect] = (
            moves.on_conflict_do_nothing(index_elements=_MOVE),
            first.on_conflict_do_nothing(index_elements=_BODY),
        )
    return _INSERTS[dialect]


def read_claimed(connection: sa.Connection, pending: Sequence[PendingClaim]) -> tuple[dict[str, Row], dict[Scope, Row]]:
    """Return the rows of first attempts, by operation id, and by scope those of every claim that has none of its own.

    A row of the first kind with the id of a claim is that claim's, also from an earlier run.
    """
    first: dict[str, Row] = {}
    others: Iterable[PendingClaim] = pending
    is_near = connection.dialect.name == "sqlite"
    if is_near:
        ids = list_parameter(connection, (one.operation_id for one in pending))
        first = {row.operation_id: row for row in connection.execute(_NEW_ON_SQLITE, {"ids": ids}).all()}
        others = [one for one in pending if one.operation_id not in first]
        if not others:
            return first, {}
    keys = pad_in_list(one.claim.idempotency_key for one in others)
    found: dict[Scope, Row] = {
        (row.operator_code, row.environment, row.operation, row.idempotency_key): row
        for row in connection.execute(_FOUND, {"keys": keys}).all()
    }
    if not is_near:
        first = {row.operation_id: row for row in found.values() if row.attempt == 1}
    return first, found


def lock(connection: sa.Connection, operation_ids: Iterable[str]) -> dict[str, Row]:
    """Lock these moves in one order. Return what may have changed of them, by operation id."""
    ids = pad_in_list(operation_ids)
    return {row.operation_id: row for row in connection.execute(_LOCKED, {"ids": ids}).all()}
