"""Convert between rows of wallet_operations and values: a claim to a row; a row to its content and response."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa

from gateway.core.types import HexStr
from gateway.core.wallet_operation import MoveContent
from gateway.evidence.record import MoveClaim, RecordedResponse
from gateway.evidence.tables import operations

_t = operations.c
RESPONSE_COLUMNS = (_t.response_status, _t.response_body_sha256, _t.response_body, _t.recorded_at_us)


class PendingClaim(NamedTuple):
    """A claim with the operation id for the case that it is new. A repeated run uses the same id."""

    claim: MoveClaim
    operation_id: str


def recorded_of(row: sa.Row[*tuple[Any, ...]]) -> RecordedResponse | None:
    """Return the response from a row with its columns; None if there is none yet."""
    if row.response_status is None:
        return None
    return RecordedResponse(
        status=row.response_status,
        body_sha256=HexStr(row.response_body_sha256),
        body=row.response_body,
        recorded_at_us=row.recorded_at_us,
    )


def content_of(row: sa.Row[*tuple[Any, ...]]) -> MoveContent:
    """Return the content from a row with its columns."""
    return MoveContent(
        operation=row.operation,
        player_id=row.player_id,
        currency=row.currency,
        amount=None if row.amount is None else Decimal(row.amount),
        amount_json=row.amount_json,
        references_json=row.references_json,
        body_sha256=HexStr(row.body_sha256),
    )


def claim_row(pending: PendingClaim) -> dict[str, Any]:
    """Return the values of a new move's row, with `lease_us` in place of the time at which the lease expires."""
    claim, operation_id = pending
    content = claim.content
    return {
        "operation_id": operation_id,
        "operator_code": claim.operator_code,
        "environment": claim.environment.value,
        "operation": content.operation,
        "idempotency_key": claim.idempotency_key,
        "attempt": 1,
        "lease_us": claim.lease_us,
        "received_at_us": claim.received_at_us,
        "suspect_replay": False,
        "probed_before": False,
        "player_id": content.player_id,
        "currency": content.currency,
        "amount": None if content.amount is None else str(content.amount),
        "body_sha256": content.body_sha256,
        "signature": claim.signature,
        "key_id": claim.key_id,
        "request_id": claim.request_id,
        "reason": claim.reason,
        "amount_json": content.amount_json,
        "references_json": content.references_json,
        "body": claim.body,
        "journaled": 1,  # chain/journal.py appends its line in the same transaction
    }
