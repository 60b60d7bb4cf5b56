"""Append the changes of a transaction to the journal, in the same transaction: one row per operator environment.

So a change and its line are committed together or not at all. A line costs a claim about as much as a short column. A
transaction that runs again after a lost commit answer may write the same line twice, which has no further meaning.
Moves from a gateway older than the chain have no line; `journal_missed` adds it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from gateway.core.types import HexStr, KeyId
from gateway.core.wallet_verdict import Disposition
from gateway.errors import GatewayError
from gateway.evidence.chain.entries import (
    claim_line,
    conflict_line,
    incident_line,
    outcome_line,
    reclaim_line,
    replays_line,
)
from gateway.evidence.chain.tables import journal
from gateway.evidence.reading import evidence_of
from gateway.evidence.record import ClaimResult, Conflict, Evidence, Incident, IncidentReason, Outcome, Scope
from gateway.evidence.rows import PendingClaim
from gateway.evidence.tables import conflicts, incidents, operations, repeats
from gateway.store.pipeline import defer_rows, now_us_of, steady_us_of
from gateway.store.schema import pad_in_list

JOURNALED = 1
"""The mark of a move that has lines. A gateway older than the chain leaves it empty."""
_t = operations.c
_INSERT = sa.insert(journal).inline()


class Journal:
    """The lines of one transaction."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], dict[str, Any]] = {}
        self._lines: dict[tuple[str, str], list[str]] = {}

    def add(self, operator_code: str, environment: str, received_at_us: int, line: str) -> None:
        """Add a line about a move with this time of receipt."""
        scope = (operator_code, environment)
        lines = self._lines.get(scope)
        if lines is None:
            self._lines[scope] = [line]
            self._rows[scope] = {
                "operator_code": operator_code,
                "environment": environment,
                "oldest_received_us": received_at_us,
                "newest_received_us": received_at_us,
            }
            return
        lines.append(line)
        row = self._rows[scope]
        if received_at_us < row["oldest_received_us"]:
            row["oldest_received_us"] = received_at_us
        elif received_at_us > row["newest_received_us"]:
            row["newest_received_us"] = received_at_us

    def write(self, connection: sa.Connection) -> None:
        """Append the lines to the journal, if there are any."""
        for scope, row in self._rows.items():
            lines = self._lines[scope]
            row["entry_count"], row["entries"] = len(lines), "\n".join(lines)
            defer_rows(connection, _INSERT, [row])


def journal_decided(
    connection: sa.Connection,
    claims: Iterable[tuple[PendingClaim, ClaimResult]],
    outcomes: Iterable[tuple[Outcome, Evidence | GatewayError]],
    replayed: Collection[str],
) -> None:
    """Append the results of claims and outcomes of this transaction, and the moves whose replays it counted."""
    lines = Journal()
    now_us, lease_now_us = now_us_of(connection), steady_us_of(connection)
    differing: dict[tuple[str, str], tuple[str, str, int]] = {}
    for pending, result in claims:
        claim = pending.claim
        if result.disposition is Disposition.NEW:
            # A different lease means that the row is from an earlier run whose commit answer was lost.
            if result.lease_expires_at_us == lease_now_us + claim.lease_us:
                _add_claim(lines, pending, result)
        elif result.disposition is None:  # held; if it was held before, it has the id of the earlier claim
            if result.operation_id == pending.operation_id:
                _add_claim(lines, pending, result)
        elif result.disposition is Disposition.RECLAIMED:
            _add_reclaim(lines, claim.scope, result)
        elif result.disposition is Disposition.CONFLICT:
            operator_code, environment, _, _ = claim.scope
            move = (operator_code, environment, result.received_at_us)
            differing[result.operation_id, claim.content.body_sha256] = move
    refused: list[str] = []
    recorded: set[str] = set()
    for outcome, answer in outcomes:
        if not isinstance(answer, Evidence):
            refused.append(outcome.operation_id)
        elif (
            answer.response is not None
            and answer.response.recorded_at_us == now_us
            and answer.operation_id not in recorded
        ):
            recorded.add(answer.operation_id)
            _add_outcome(lines, answer)
    if refused:
        _add_incidents(connection, lines, refused, now_us)
    if differing:
        _add_conflicts(connection, lines, differing)
    if replayed:
        _add_replays(connection, lines, replayed)
    lines.write(connection)


def _add_claim(lines: Journal, pending: PendingClaim, result: ClaimResult) -> None:
    claim = pending.claim
    line = claim_line(
        operation_id=result.operation_id,
        operator_code=claim.operator_code,
        environment=claim.environment,
        idempotency_key=claim.idempotency_key,
        content=claim.content,
        reason=claim.reason,
        signature=claim.signature,
        key_id=claim.key_id,
        request_id=claim.request_id,
        received_at_us=claim.received_at_us,
        suspect_replay=result.suspect_replay,
        probed_before=result.probed_before,
        attempt=result.attempt,
        lease_expires_at_us=result.lease_expires_at_us,
    )
    lines.add(claim.operator_code, claim.environment.value, claim.received_at_us, line)


def _add_first(lines: Journal, evidence: Evidence) -> None:
    """Add the claim of a move without a line, in its present state."""
    line = claim_line(
        operation_id=evidence.operation_id,
        operator_code=evidence.operator_code,
        environment=evidence.environment,
        idempotency_key=evidence.idempotency_key,
        content=evidence.content,
        reason=evidence.reason,
        signature=evidence.signature,
        key_id=evidence.key_id,
        request_id=evidence.request_id,
        received_at_us=evidence.received_at_us,
        suspect_replay=evidence.suspect_replay,
        probed_before=evidence.probed_before,
        attempt=evidence.attempt,
        lease_expires_at_us=evidence.lease_expires_at_us,
    )
    lines.add(evidence.operator_code, evidence.environment.value, evidence.received_at_us, line)


def _add_reclaim(lines: Journal, scope: Scope, result: ClaimResult) -> None:
    line = reclaim_line(result.operation_id, result.received_at_us, result.attempt, result.lease_expires_at_us)
    lines.add(scope[0], scope[1], result.received_at_us, line)


def _moves(connection: sa.Connection, operation_ids: Iterable[str]) -> Sequence[sa.Row[*tuple[Any, ...]]]:
    """Return the owners of these moves and their times of receipt."""
    return connection.execute(
        sa.select(_t.operation_id, _t.operator_code, _t.environment, _t.received_at_us).where(
            _t.operation_id.in_(pad_in_list(operation_ids))
        )
    ).all()


def _add_outcome(lines: Journal, evidence: Evidence) -> None:
    assert evidence.response is not None
    line = outcome_line(
        evidence.operation_id,
        evidence.received_at_us,
        response=evidence.response,
        operator_transaction_id=evidence.operator_transaction_id,
        operator_reservation_id=evidence.operator_reservation_id,
        available=evidence.available,
        reserved=evidence.reserved,
        processed_at_us=evidence.processed_at_us,
    )
    lines.add(evidence.operator_code, evidence.environment.value, evidence.received_at_us, line)


def _add_incidents(connection: sa.Connection, lines: Journal, operation_ids: list[str], now_us: int) -> None:
    """Add the refusals that this transaction stored. A repeated refusal was stored before."""
    moves = {row.operation_id: row for row in _moves(connection, operation_ids)}
    if not moves:
        return
    kept = sa.select(incidents).where(
        incidents.c.operation_id.in_(pad_in_list(moves)), incidents.c.received_at_us == now_us
    )
    for row in connection.execute(kept.order_by(incidents.c.sequence)):
        incident = Incident(
            reason=IncidentReason(row.reason),
            received_at_us=row.received_at_us,
            attempt=row.attempt,
            status=row.response_status,
            body_sha256=HexStr(row.response_body_sha256),
            operator_transaction_id=row.operator_transaction_id,
        )
        move = moves[row.operation_id]
        line = incident_line(row.operation_id, move.received_at_us, incident)
        lines.add(move.operator_code, move.environment, move.received_at_us, line)


def _add_conflicts(
    connection: sa.Connection, lines: Journal, brought: Mapping[tuple[str, str], tuple[str, str, int]]
) -> None:
    """Add the counts of conflicting calls.

    Args: `brought`: by move and hash of the body, the owner and time of receipt of the moves whose conflicts arrived.
    """
    kept = sa.select(*(column for column in conflicts.columns if column.name != "body")).where(
        conflicts.c.operation_id.in_(pad_in_list(operation_id for operation_id, _ in brought))
    )
    for row in connection.execute(kept.order_by(conflicts.c.sequence)):
        move = brought.get((row.operation_id, row.body_sha256))
        if move is None:
            continue
        conflict = Conflict(
            received_at_us=row.first_received_at_us,
            count=row.conflict_count,
            body_sha256=HexStr(row.body_sha256),
            body=None,
            signature=row.signature,
            key_id=KeyId(row.key_id),
            request_id=row.request_id,
        )
        operator_code, environment, received_at_us = move
        line = conflict_line(row.operation_id, received_at_us, conflict)
        lines.add(operator_code, environment, received_at_us, line)


def _add_replays(connection: sa.Connection, lines: Journal, operation_ids: Collection[str]) -> None:
    """Add the replay counts of these moves, which this transaction has just updated."""
    counted = sa.select(
        *(_t.operation_id, _t.operator_code, _t.environment, _t.received_at_us, repeats.c.replay_count)
    ).join(repeats, repeats.c.operation_id == _t.operation_id)
    for row in connection.execute(counted.where(_t.operation_id.in_(pad_in_list(operation_ids)))):
        line = replays_line(row.operation_id, row.received_at_us, row.replay_count)
        lines.add(row.operator_code, row.environment, row.received_at_us, line)


def journal_missed(connection: sa.Connection, limit: int) -> int:
    """Append lines for moves that have none, in their present state. Return the number of moves."""
    missed = (
        connection.execute(sa.select(_t.operation_id).where(_t.journaled.is_(None)).order_by(_t.sequence).limit(limit))
        .scalars()
        .all()
    )
    if not missed:
        return 0
    # Locked first, so that a change that another gateway commits now has its own line, or is read here.
    connection.execute(
        sa.select(_t.operation_id)
        .where(_t.operation_id.in_(pad_in_list(missed)))
        .order_by(_t.operation_id)
        .with_for_update()
    ).all()
    lines = Journal()
    for evidence in evidence_of(connection, missed).values():
        _add_first(lines, evidence)
        if evidence.response is not None:
            _add_outcome(lines, evidence)
        for incident in evidence.incidents:
            line = incident_line(evidence.operation_id, evidence.received_at_us, incident)
            lines.add(evidence.operator_code, evidence.environment.value, evidence.received_at_us, line)
        for conflict in evidence.conflicts:
            line = conflict_line(evidence.operation_id, evidence.received_at_us, conflict)
            lines.add(evidence.operator_code, evidence.environment.value, evidence.received_at_us, line)
        if evidence.replay_count:
            line = replays_line(evidence.operation_id, evidence.received_at_us, evidence.replay_count)
            lines.add(evidence.operator_code, evidence.environment.value, evidence.received_at_us, line)
    lines.write(connection)
    connection.execute(
        sa.update(operations).where(_t.operation_id.in_(pad_in_list(missed))).values(journaled=JOURNALED)
    )
    return len(missed)
