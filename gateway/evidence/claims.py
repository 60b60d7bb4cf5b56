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
from gateway.evidence.claim_statements import Row, insert_new, lock, read_claimed
from gateway.evidence.record import HELD_ATTEMPT, ClaimResult, MoveClaim, RecordedResponse, Scope
from gateway.evidence.rows import PendingClaim, content_of, recorded_of
from gateway.evidence.settlements import call_key, settlements_of
from gateway.evidence.store import SameMove
from gateway.evidence.tables import operations
from gateway.store.pipeline import defer, now_us_of, steady_us_of

LONGEST_LEASE_US = 86_400 * 1_000_000
"""The longest `PREDICTION_WALLET_LEASE`. A lease that ends later was made before the clock of the store went back."""
_t = operations.c


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
    scopes = [one.claim.scope for one in pending]
    order = sorted(range(len(pending)), key=scopes.__getitem__)
    insert_new(connection, [pending[index] for index in order])
    first, rows = read_claimed(connection, pending)
    now_us = steady_us_of(connection)
    ahead_us = now_us_of(connection) - now_us
    results: dict[int, ClaimResult] = {}
    new: dict[str, ClaimResult] = {}
    for index, one in enumerate(pending):
        row = first.get(one.operation_id)
        if row is not None:  # ours, also from an earlier run
            results[index] = new[one.operation_id] = _new(one, row, ahead_us)
    _flag(connection, new.values())
    found: dict[Scope, _Stored] = {}
    expired: dict[int, MoveClaim] = {}
    for index, one in enumerate(pending):
        if index in results:
            continue
        scope, row = scopes[index], rows[scopes[index]]
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
    asked = [index for index in suspect if results[index].operation_id in new or rows[scopes[index]].may_be_settled]
    results.update(_settled(connection, {index: results[index] for index in asked}, pending))
    return [results[index] for index in range(len(pending))]


def _new(pending: PendingClaim, row: Row, ahead_us: int) -> ClaimResult:
    suspect_replay = row.first_operation_id != pending.operation_id
    held = suspect_replay and pending.claim.holds_suspects
    return ClaimResult(
        disposition=None if held else Disposition.NEW,
        operation_id=pending.operation_id,
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
    locked = lock(connection, (found[claim.scope].operation_id for claim in claims.values()))
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
    return {index: result._replace(settled=settled.get(keys[index])) for index, result in suspects.items()}


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


def _stored(row: Row, new: ClaimResult | None = None) -> _Stored:
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
