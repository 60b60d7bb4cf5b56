"""Claim many money moves in one transaction: decide which claim is new, which repeats, and which takes over.

It runs on both databases with SQLAlchemy Core. It is repeatable: if it runs again after a lost commit answer, the same
claim gets NEW again. Source: prediction.md 4.7 and 5.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from gateway.core.wallet_operation import MoveContent
from gateway.core.wallet_verdict import Disposition
from gateway.evidence.record import HELD_ATTEMPT, ClaimResult, MoveClaim, RecordedResponse, Scope
from gateway.evidence.rows import RESPONSE_COLUMNS, claim_row, content_of, recorded_of
from gateway.evidence.settlements import call_key, is_settled, settlements_of
from gateway.evidence.store import SameMove
from gateway.evidence.tables import bodies, operations, probes
from gateway.store.pipeline import defer, lease_time, now_us_of, steady_us_of
from gateway.store.schema import insert_into, pad_in_list

_MOVE = ("idempotency_key", "operator_code", "environment", "operation")
_BODY = ("body_sha256", "operator_code", "environment")
LONGEST_LEASE_US = 86_400 * 1_000_000
"""The longest `PREDICTION_WALLET_LEASE`. A lease that ends later was made before the clock of the store went back."""
_t = operations.c

# Built once: building a statement costs as much as running it.
_FIRST_OF_BODY = (
    sa.select(_t.body_sha256, _t.operator_code, _t.environment, _t.operation_id)
    .where(_t.operation_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(_t.body_sha256, _t.operator_code, _t.environment, _t.sequence)  # one order everywhere: no deadlock
)
_FOUND = sa.select(
    *(_t.operation_id, _t.operator_code, _t.environment, _t.operation, _t.idempotency_key, _t.attempt),
    *(_t.lease_expires_at_us, _t.received_at_us, _t.suspect_replay, _t.probed_before, _t.player_id, _t.currency),
    *(_t.amount, _t.amount_json, _t.references_json, _t.body_sha256, *RESPONSE_COLUMNS),
    bodies.c.first_operation_id,
    sa.exists()
    .where(
        probes.c.idempotency_key == _t.idempotency_key,
        probes.c.operator_code == _t.operator_code,
        probes.c.environment == _t.environment,
    )
    .label("was_probed"),
    # Settling marks the body as used, so only suspect replays can be settled, and few of them are.
    sa.case((_t.suspect_replay, is_settled(_t.idempotency_key, _t.operator_code, _t.environment)), else_=sa.false())
    .label("may_be_settled"),
).outerjoin(
    bodies,
    sa.and_(
        bodies.c.body_sha256 == _t.body_sha256,
        bodies.c.operator_code == _t.operator_code,
        bodies.c.environment == _t.environment,
    ),
).where(_t.idempotency_key.in_(sa.bindparam("keys", expanding=True)))  # fmt: skip
_INSERTS: dict[str, tuple[sa.Insert, sa.Insert]] = {}
"""Of the moves and of their bodies, by dialect. To build them for each group took 8 % of a claim."""
_LOCKED = (
    sa.select(_t.operation_id, _t.attempt, _t.lease_expires_at_us, *RESPONSE_COLUMNS)
    .where(_t.operation_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(_t.operation_id)
    .with_for_update()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingClaim:
    """A claim with the operation id for the case that it is new. A repeated run uses the same id."""

    claim: MoveClaim
    operation_id: str


@dataclass(slots=True, kw_only=True)
class _Stored:
    """A move that is already in the store."""

    operation_id: str
    attempt: int
    lease_expires_at_us: int
    suspect_replay: bool
    probed_before: bool
    received_at_us: int
    content: MoveContent
    recorded: RecordedResponse | None


def claim_all(connection: sa.Connection, pending: Sequence[PendingClaim], same_move: SameMove) -> list[ClaimResult]:
    """Claim all moves, in the order of their keys, so that two batches cannot deadlock.

    Returns: one result per claim, in the given order.
    """
    if not pending:
        return []
    order = sorted(range(len(pending)), key=lambda index: pending[index].claim.scope)
    _insert(connection, [pending[index] for index in order])
    keys = pad_in_list(one.claim.idempotency_key for one in pending)
    rows = {
        (row.operator_code, row.environment, row.operation, row.idempotency_key): row
        for row in connection.execute(_FOUND, {"keys": keys})
    }
    now_us = steady_us_of(connection)
    ahead_us = now_us_of(connection) - now_us
    results: dict[int, ClaimResult] = {}
    new: dict[str, ClaimResult] = {}
    for index, one in enumerate(pending):
        row = rows[one.claim.scope]
        if row.operation_id == one.operation_id and row.attempt == 1:  # ours, also from an earlier run
            results[index] = new[row.operation_id] = _new(one.claim, row, ahead_us)
    _flag(connection, new.values())
    found: dict[Scope, _Stored] = {}
    expired: dict[int, MoveClaim] = {}
    for index, one in enumerate(pending):
        if index in results:
            continue
        scope, row = one.claim.scope, rows[one.claim.scope]
        if scope not in found:
            found[scope] = _stored(row, new.get(row.operation_id))
        stored = found[scope]
        disposition = _disposition(stored, one.claim, now_us, same_move)
        if disposition is Disposition.RECLAIMED:
            expired[index] = one.claim
        else:
            results[index] = _result(stored, disposition, ahead_us)
    results.update(_reclaim(connection, now_us, ahead_us, expired, found, same_move))
    # A row does not show yet that a new move is a suspect replay.
    suspect = [index for index, result in results.items() if result.suspect_replay]
    asked = [
        index
        for index in suspect
        if results[index].operation_id in new or rows[pending[index].claim.scope].may_be_settled
    ]
    results.update(_settled(connection, {index: results[index] for index in asked}, pending))
    return [results[index] for index in range(len(pending))]


def _insert(connection: sa.Connection, ordered: Sequence[PendingClaim]) -> None:
    """Insert the moves that are new, and their bodies. The rows show later which ones were."""
    moves, first_of_bodies = _inserts_of(connection)
    defer(connection, moves, [claim_row(one.claim, one.operation_id) for one in ordered])
    defer(connection, first_of_bodies, {"ids": pad_in_list(one.operation_id for one in ordered)})


def _inserts_of(connection: sa.Connection) -> tuple[sa.Insert, sa.Insert]:
    dialect = connection.dialect.name
    if dialect not in _INSERTS:
        lease = lease_time() + sa.bindparam("lease_us", type_=sa.BigInteger)
        moves = insert_into(connection, operations).values(lease_expires_at_us=lease)
        first = insert_into(connection, bodies).from_select([*_BODY, "first_operation_id"], _FIRST_OF_BODY)
        _INSERTS[dialect] = (
            moves.on_conflict_do_nothing(index_elements=_MOVE),
            first.on_conflict_do_nothing(index_elements=_BODY),
        )
    return _INSERTS[dialect]


def _new(claim: MoveClaim, row: sa.Row[*tuple[Any, ...]], ahead_us: int) -> ClaimResult:
    suspect_replay = row.first_operation_id != row.operation_id
    held = suspect_replay and claim.holds_suspects
    return ClaimResult(
        disposition=None if held else Disposition.NEW,
        operation_id=row.operation_id,
        attempt=HELD_ATTEMPT if held else 1,
        lease_expires_at_us=0 if held else row.lease_expires_at_us,
        lease_ends_us=0 if held else row.lease_expires_at_us + ahead_us,
        recorded=None,
        suspect_replay=suspect_replay,
        probed_before=bool(row.was_probed),
        received_at_us=row.received_at_us,
    )


def _flag(connection: sa.Connection, new: Iterable[ClaimResult]) -> None:
    """Store the flags of new moves where they are true, and hold the suspects that are to be held."""
    raised = [
        {"of": one.operation_id, "suspect": one.suspect_replay, "probed": one.probed_before}
        for one in new
        if one.suspect_replay or one.probed_before
    ]
    if raised:
        defer(
            connection,
            sa.update(operations)
            .where(_t.operation_id == sa.bindparam("of"))
            .values(suspect_replay=sa.bindparam("suspect"), probed_before=sa.bindparam("probed")),
            raised,
        )
    held = [{"of": one.operation_id} for one in new if one.attempt == HELD_ATTEMPT]
    if held:
        defer(
            connection,
            sa.update(operations)
            .where(_t.operation_id == sa.bindparam("of"))
            .values(attempt=HELD_ATTEMPT, lease_expires_at_us=0),
            held,
        )


def _disposition(stored: _Stored, claim: MoveClaim, now_us: int, same_move: SameMove) -> Disposition | None:
    """Return what the claimant has to do; None: the move stays held."""
    if not same_move(stored.content, claim.content):
        return Disposition.CONFLICT
    if stored.recorded is not None:
        return Disposition.REPLAY
    if stored.attempt == HELD_ATTEMPT and claim.holds_suspects:
        return None
    is_leased = 0 < stored.lease_expires_at_us - now_us <= LONGEST_LEASE_US
    return Disposition.IN_PROGRESS if is_leased else Disposition.RECLAIMED


def _reclaim(
    connection: sa.Connection,
    now_us: int,
    ahead_us: int,
    claims: dict[int, MoveClaim],
    found: dict[Scope, _Stored],
    same_move: SameMove,
) -> dict[int, ClaimResult]:
    """Take over unfinished moves. Of several claimants, one wins and the others see its new lease."""
    if not claims:
        return {}
    ids = pad_in_list(found[claim.scope].operation_id for claim in claims.values())
    locked = {row.operation_id: row for row in connection.execute(_LOCKED, {"ids": ids})}
    results: dict[int, ClaimResult] = {}
    updates: list[dict[str, Any]] = []
    for index, claim in claims.items():
        stored = found[claim.scope]
        row = locked.pop(stored.operation_id, None)
        if row is not None:  # first claim of this move here: its state now, under the lock
            stored.attempt, stored.lease_expires_at_us = row.attempt, row.lease_expires_at_us
            stored.recorded = recorded_of(row)
        disposition = _disposition(stored, claim, now_us, same_move)
        if disposition is Disposition.RECLAIMED:
            # A held move continues as attempt 2, because attempt 1 belongs to the first claimant, held or not.
            stored.attempt = max(stored.attempt, 1) + 1
            stored.lease_expires_at_us = now_us + claim.lease_us
            updates.append(
                {
                    "of": stored.operation_id,
                    "new_attempt": stored.attempt,
                    "new_lease": stored.lease_expires_at_us,
                }
            )
        results[index] = _result(stored, disposition, ahead_us)
    if updates:
        defer(
            connection,
            sa.update(operations)
            .where(_t.operation_id == sa.bindparam("of"))
            .values(attempt=sa.bindparam("new_attempt"), lease_expires_at_us=sa.bindparam("new_lease")),
            updates,
        )
    return results


def _settled(
    connection: sa.Connection, suspects: dict[int, ClaimResult], pending: Sequence[PendingClaim]
) -> dict[int, ClaimResult]:
    """Return these results with what a person settled for their calls."""
    keys = {index: call_key(pending[index].claim) for index in suspects}
    settled = settlements_of(connection, keys.values())
    return {index: replace(result, settled=settled.get(keys[index])) for index, result in suspects.items()}


def _result(stored: _Stored, disposition: Disposition | None, ahead_us: int) -> ClaimResult:
    return ClaimResult(
        disposition=disposition,
        operation_id=stored.operation_id,
        attempt=stored.attempt,
        lease_expires_at_us=stored.lease_expires_at_us,
        lease_ends_us=stored.lease_expires_at_us + ahead_us,
        recorded=stored.recorded,
        suspect_replay=stored.suspect_replay,
        probed_before=stored.probed_before,
        received_at_us=stored.received_at_us,
    )


def _stored(row: sa.Row[*tuple[Any, ...]], new: ClaimResult | None = None) -> _Stored:
    """Return the move of a row. `new`: what this transaction decides about it."""
    now = new or row
    return _Stored(
        operation_id=row.operation_id,
        attempt=now.attempt,
        lease_expires_at_us=now.lease_expires_at_us,
        suspect_replay=now.suspect_replay,
        probed_before=now.probed_before,
        received_at_us=row.received_at_us,
        content=content_of(row),
        recorded=recorded_of(row),
    )
