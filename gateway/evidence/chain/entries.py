"""The lines of the chain: one short line for each change of a money move. Pure.

A line has the move's id, its time of receipt, and the SHA-256 of the change, so that anyone with the exported evidence
can compute the line again and compare. `evidence_verify` does this with independent code: change the format of a line
in both places, and keep old lines readable. blocks.py orders the lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import orjson

from gateway.core.types import Environment, KeyId, OperatorCode
from gateway.core.wallet_amount import money_text
from gateway.core.wallet_operation import MoveContent
from gateway.evidence.record import Balance, Conflict, Incident, RecordedResponse


def claim_line(
    *,
    operation_id: str,
    operator_code: OperatorCode,
    environment: Environment,
    idempotency_key: str,
    content: MoveContent,
    reason: str,
    signature: str,
    key_id: KeyId,
    request_id: str,
    received_at_us: int,
    suspect_replay: bool,
    probed_before: bool,
    attempt: int,
    lease_expires_at_us: int,
) -> str:
    """Return the line for the first claim of a move, with everything that never changes afterwards."""
    digest = _digest(
        [
            operation_id,
            operator_code,
            environment.value,
            content.operation,
            idempotency_key,
            received_at_us,
            content.player_id,
            content.currency,
            None if content.amount is None else money_text(content.amount),
            content.amount_json,
            content.references_json,
            reason,
            content.body_sha256,
            signature,
            key_id,
            request_id,
            suspect_replay,
            probed_before,
        ]
    )
    return _line(["claim", operation_id, received_at_us, attempt, lease_expires_at_us, digest])


def reclaim_line(operation_id: str, received_at_us: int, attempt: int, lease_expires_at_us: int) -> str:
    """Return the line for a later attempt that took the move over. `received_at_us`: of the move, as in every line."""
    return _line(["reclaim", operation_id, received_at_us, attempt, lease_expires_at_us])


def outcome_line(
    operation_id: str,
    received_at_us: int,
    *,
    response: RecordedResponse,
    operator_transaction_id: str,
    operator_reservation_id: str,
    available: Balance | None,
    reserved: Balance | None,
    processed_at_us: int | None,
) -> str:
    """Return the line for what the wallet did and answered, and whether the body of its answer is stored."""
    digest = _digest(
        [
            operation_id,
            response.status,
            response.body_sha256,
            response.body is not None,
            response.recorded_at_us,
            operator_transaction_id,
            operator_reservation_id,
            _parts(available),
            _parts(reserved),
            processed_at_us,
        ]
    )
    return _line(["outcome", operation_id, received_at_us, digest])


def incident_line(operation_id: str, received_at_us: int, incident: Incident) -> str:
    """Return the line for an outcome that was refused and stored."""
    digest = _digest(
        [
            operation_id,
            incident.reason.value,
            incident.received_at_us,
            incident.attempt,
            incident.status,
            incident.body_sha256,
            incident.operator_transaction_id,
        ]
    )
    return _line(["incident", operation_id, received_at_us, digest])


def conflict_line(operation_id: str, received_at_us: int, conflict: Conflict) -> str:
    """Return the line for a signed call with the move's key and other content, with its count so far."""
    digest = _digest(
        [
            operation_id,
            conflict.received_at_us,
            conflict.body_sha256,
            conflict.signature,
            conflict.key_id,
            conflict.request_id,
        ]
    )
    return _line(["conflict", operation_id, received_at_us, digest, conflict.count])


def replays_line(operation_id: str, received_at_us: int, count: int) -> str:
    """Return the line for the number of times that the recorded response was repeated so far."""
    return _line(["replays", operation_id, received_at_us, count])


def _parts(balance: Balance | None) -> list[str] | None:
    return None if balance is None else [balance.amount, balance.currency]


def _digest(members: Sequence[object]) -> str:
    return sha256(orjson.dumps(members)).hexdigest()


def _line(members: Sequence[object]) -> str:
    return orjson.dumps(members).decode()
