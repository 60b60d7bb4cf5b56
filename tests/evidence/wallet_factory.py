"""Claims and outcomes for tests, and the stores that take them."""

from __future__ import annotations

import hashlib
from decimal import Decimal

from gateway.core.types import Environment, HexStr, KeyId, OperatorCode
from gateway.core.wallet_operation import MoveContent
from gateway.evidence.record import Balance, MoveClaim, Outcome
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline

OPERATOR = OperatorCode("acme")
RECEIVED_AT_US = 1_700_000_000_000_000
LEASE_S = 60


def soon(seconds: float = 20.0) -> Deadline:
    """A deadline on the real clock, long enough that only a failure reaches it."""
    return Deadline.after(seconds, SystemClock())


def sha256(data: bytes) -> HexStr:
    return HexStr(hashlib.sha256(data).hexdigest())


def claim_of(
    key: str = "key-1",
    *,
    operation: str = "reserve_cash",
    amount: str = "12.50",
    body: bytes | None = None,
    player_id: str = "player-1",
    operator_code: OperatorCode = OPERATOR,
    environment: Environment = Environment.PROD,
    lease_s: float = LEASE_S,
    reason: str = "ORDER_REQUESTED",
    request_id: str = "018f0000-0000-7000-8000-000000000001",
) -> MoveClaim:
    """A claim whose body differs with its content and key, unless `body` is given."""
    raw = f"{operation} {key} {amount} {player_id}".encode() if body is None else body
    return MoveClaim(
        operator_code=operator_code,
        environment=environment,
        idempotency_key=key,
        content=MoveContent(
            operation=operation,
            player_id=player_id,
            currency="EUR",
            amount=Decimal(amount),
            amount_json=f'{{"value":"{amount}"}}',
            references_json='{"order_id":"o-1"}',
            body_sha256=sha256(raw),
        ),
        reason=reason,
        body=raw,
        signature="A" * 86,
        key_id=KeyId("c" * 64),
        request_id=request_id,
        received_at_us=RECEIVED_AT_US,
        lease_us=round(lease_s * 1_000_000),
    )


def outcome_of(
    operation_id: str,
    *,
    attempt: int = 1,
    status: int = 200,
    body: bytes = b'{"available":"87.50"}',
    keep_body: bool = True,
    transaction_id: str = "tx-1",
    reservation_id: str = "res-1",
) -> Outcome:
    """An outcome; only its hash is kept unless `keep_body`."""
    return Outcome(
        operation_id=operation_id,
        attempt=attempt,
        status=status,
        body=body if keep_body else None,
        body_sha256=sha256(body),
        operator_transaction_id=transaction_id,
        operator_reservation_id=reservation_id,
        available=Balance(amount="87.50", currency="EUR"),
        reserved=Balance(amount="12.50", currency="EUR"),
        processed_at_us=RECEIVED_AT_US + 5,
    )
