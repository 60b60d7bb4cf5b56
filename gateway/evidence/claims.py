"""Claim many money moves in one transaction: decide which claim is new, which repeats, and which takes over.

It runs on both databases with SQLAlchemy Core. It is repeatable: if it runs again after a lost commit answer, the same
claim gets NEW again. Source: prediction.md 4.7 and 5.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from gateway.core.wallet_operation import MoveContent
from gateway.core.wallet_verdict import Disposition
from gateway.evidence.record import HELD_ATTEMPT, ClaimResult, MoveClaim, RecordedResponse, Scope
from gateway.evidence.rows import RESPONSE_COLUMNS, claim_row, content_of, recorded_of
from gateway.evidence.store import SameMove
from gateway.evidence.tables import bodies, operations, probes
from gateway.store.schema import insert_into, pad_in_list

_MOVE = ("idempotency_key", "operator_code", "environment", "operation")
_BODY = ("body_sha256", "operator_code", "environment")
_t = operations.c

# Built once: building a statement costs as much as running it.
_INSERTED = sa.select(_t.operation_id, _t.lease_expires_at_us).where(
    _t.operation_id.in_(sa.bindparam("ids", expanding=True)), _t.attempt == 1
)
_FIRST = sa.select(
    bodies.c.body_sha256, bodies.c.operator_code, bodies.c.environment, bodies.c.first_operation_id
).where(bodies.c.body_sha256.in_(sa.bindparam("digests", expanding=True)))
_PROBED = sa.select(probes.c.operator_code, probes.c.environment, probes.c.idempotency_key).where(
    probes.c.idempotency_key.in_(sa.bindparam("keys", expanding=True))
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
    content: MoveContent
    recorded: RecordedResponse | None


def claim_all(
    connection: sa.Connection, now_us: int, pending: Sequence[PendingClaim], same_move: SameMove
) -> list[ClaimResult]:
    """Claim all moves, in the order of their keys, so that two batches cannot deadlock.

    Returns: one result per claim, in the given order.
    """
    if not pending:
        return []
    order = sorted(range(len(pending)), key=lambda index: pending[index].claim.scope)
    connection.execute(
        insert_into(connection, operations).on_conflict_do_nothing(index_elements=_MOVE),
        [claim_row(pending[index].claim, pending[index].operation_id, now_us) for index in order],
    )
    inserted = _inserted(connection, pending)
    flags = _flags_of_new(connection, [pending[index] for index in order if pending[index].operation_id in inserted])
    existing = [index for index in order if pending[index].operation_id not in inserted]
    found = _found(connection, [pending[index].claim for index in existing])
    results: dict[int, ClaimResult] = {}
    for index, one in enumerate(pending):
        if one.operation_id in inserted:
            suspect_replay, probed_before = flags[one.operation_id]
            held = suspect_replay and one.claim.holds_suspects
            results[index] = ClaimResult(
                disposition=None if held else Disposition.NEW,
                operation_id=one.operation_id,
                attempt=HELD_ATTEMPT if held else 1,
                lease_expires_at_us=0 if held else inserted[one.operation_id],
                recorded=None,
                suspect_replay=suspect_replay,
                probed_before=probed_before,
            )
    expired: list[int] = []
    for index in existing:
        claim = pending[index].claim
        stored = found[claim.scope]
        disposition = _disposition(stored, claim, now_us, same_move)
        if disposition is Disposition.RECLAIMED:
            expired.append(index)
        else:
            results[index] = _result(stored, disposition)
    results.update(_reclaim(connection, now_us, {index: pending[index].claim for index in expired}, found, same_move))
    return [results[index] for index in range(len(pending))]


def _disposition(stored: _Stored, claim: MoveClaim, now_us: int, same_move: SameMove) -> Disposition | None:
    """Return what the claimant has to do; None: the move stays held."""
    if not same_move(stored.content, claim.content):
        return Disposition.CONFLICT
    if stored.recorded is not None:
        return Disposition.REPLAY
    if stored.attempt == HELD_ATTEMPT and claim.holds_suspects:
        return None
    return Disposition.IN_PROGRESS if stored.lease_expires_at_us > now_us else Disposition.RECLAIMED


def _reclaim(
    connection: sa.Connection,
    now_us: int,
    claims: dict[int, MoveClaim],
    found: dict[Scope, _Stored],
    same_move: SameMove,
) -> dict[int, ClaimResult]:
    """Take over unfinished moves. Of several claimants, one wins and the others see its new lease."""
    if not claims:
        return {}
    rows = connection.execute(
        sa.select(_t.operation_id, _t.attempt, _t.lease_expires_at_us, *RESPONSE_COLUMNS)
        .where(_t.operation_id.in_(pad_in_list(found[claim.scope].operation_id for claim in claims.values())))
        .order_by(_t.operation_id)
        .with_for_update()
    )
    locked = {row.operation_id: row for row in rows}
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
        results[index] = _result(stored, disposition)
    if updates:
        connection.execute(
            sa.update(operations)
            .where(_t.operation_id == sa.bindparam("of"))
            .values(attempt=sa.bindparam("new_attempt"), lease_expires_at_us=sa.bindparam("new_lease")),
            updates,
        )
    return results


def _result(stored: _Stored, disposition: Disposition | None) -> ClaimResult:
    return ClaimResult(
        disposition=disposition,
        operation_id=stored.operation_id,
        attempt=stored.attempt,
        lease_expires_at_us=stored.lease_expires_at_us,
        recorded=stored.recorded,
        suspect_replay=stored.suspect_replay,
        probed_before=stored.probed_before,
    )


def _inserted(connection: sa.Connection, pending: Sequence[PendingClaim]) -> dict[str, int]:
    """Return the claims whose row exists with their own id, with its lease."""
    rows = connection.execute(_INSERTED, {"ids": pad_in_list(one.operation_id for one in pending)})
    return {row.operation_id: row.lease_expires_at_us for row in rows}


def _flags_of_new(connection: sa.Connection, new: Sequence[PendingClaim]) -> dict[str, tuple[bool, bool]]:
    """Return suspect_replay and probed_before of each new move; store them if true, and hold suspects if requested."""
    if not new:
        return {}
    by_body = sorted(new, key=lambda one: (one.claim.content.body_sha256, one.claim.operator_code))
    connection.execute(
        insert_into(connection, bodies).on_conflict_do_nothing(index_elements=_BODY),
        [
            {
                "body_sha256": one.claim.content.body_sha256,
                "operator_code": one.claim.operator_code,
                "environment": one.claim.environment.value,
                "first_operation_id": one.operation_id,
            }
            for one in by_body
        ],
    )
    digests = pad_in_list(one.claim.content.body_sha256 for one in new)
    first = {
        (body_sha256, operator_code, environment): operation_id
        for body_sha256, operator_code, environment, operation_id in connection.execute(_FIRST, {"digests": digests})
    }
    keys = pad_in_list(one.claim.idempotency_key for one in new)
    probed = {tuple(row) for row in connection.execute(_PROBED, {"keys": keys})}
    flags: dict[str, tuple[bool, bool]] = {}
    for one in new:
        operator_code, environment, _, idempotency_key = one.claim.scope
        flags[one.operation_id] = (
            first[one.claim.content.body_sha256, operator_code, environment] != one.operation_id,
            (operator_code, environment, idempotency_key) in probed,
        )
    raised = [{"of": key, "suspect": flag[0], "probed": flag[1]} for key, flag in flags.items() if any(flag)]
    if raised:
        connection.execute(
            sa.update(operations)
            .where(_t.operation_id == sa.bindparam("of"))
            .values(suspect_replay=sa.bindparam("suspect"), probed_before=sa.bindparam("probed")),
            raised,
        )
    held = [{"of": one.operation_id} for one in new if one.claim.holds_suspects and flags[one.operation_id][0]]
    if held:
        connection.execute(
            sa.update(operations)
            .where(_t.operation_id == sa.bindparam("of"))
            .values(attempt=HELD_ATTEMPT, lease_expires_at_us=0),
            held,
        )
    return flags


def _found(connection: sa.Connection, claims: Iterable[MoveClaim]) -> dict[Scope, _Stored]:
    """Return the stored moves for claims that are not new."""
    keys = pad_in_list(claim.idempotency_key for claim in claims)
    if not keys:
        return {}
    columns = [column for column in operations.columns if column.name not in ("sequence", "body", "signature")]
    rows = connection.execute(sa.select(*columns).where(_t.idempotency_key.in_(keys)))
    return {
        (row.operator_code, row.environment, row.operation, row.idempotency_key): _Stored(
            operation_id=row.operation_id,
            attempt=row.attempt,
            lease_expires_at_us=row.lease_expires_at_us,
            suspect_replay=row.suspect_replay,
            probed_before=row.probed_before,
            content=content_of(row),
            recorded=recorded_of(row),
        )
        for row in rows
    }
