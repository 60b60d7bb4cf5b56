"""Bodies of wallet webhooks, and a shortcut to what the gateway reads in them."""

from __future__ import annotations

import json
from typing import Any

from gateway.core.types import Environment
from gateway.core.wallet import (
    IdempotencyKey,
    Operation,
    Refusal,
    Verdict,
    WalletAdapter,
    find_route,
    parse_operation,
    signed_parts,
)

MOVE: dict[str, Any] = {
    "operation": "reserve_cash",
    "operator_id": "op-1",
    "environment": "prod",
    "player": {"external_id": "player-7"},
    "currency_code": "EUR",
    "amount": {"value": "12.50"},
    "references": {"order_id": "o-1"},
    "reason": "ORDER_REQUESTED",
}
PROBE: dict[str, Any] = {"operation": "transaction_status", "idempotency_key": "k-1", "environment": "prod"}
BALANCE: dict[str, Any] = {"operation": "balance", "player": {"external_id": "player-7"}, "currency_code": "EUR"}
MOVES, STATUS, BALANCES = "/wallet/transactions", "/wallet/transactions/status", "/wallet/balance"


def parse(
    body: bytes | dict[str, Any],
    *,
    path: str = MOVES,
    method: str = "POST",
    key: str | None = "k-1",
    expected: str | None = "op-1",
    environment: Environment = Environment.PROD,
    adapter: WalletAdapter | None = None,
) -> Operation | Refusal:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    route = find_route(method, path)
    return parse_operation(route, raw, header(key), adapter or WalletAdapter(), expected, environment)


def header(key: str | None) -> IdempotencyKey | None:
    parts = signed_parts([("signature", "A" * 86), *([] if key is None else [("idempotency-key", key)])])
    assert not isinstance(parts, Refusal)
    return parts.idempotency_key


def verdict_of(found: Operation | Refusal) -> Verdict:
    return found.verdict if isinstance(found, Refusal) else Verdict.VERIFIED


def operation_of(found: Operation | Refusal) -> Operation:
    assert isinstance(found, Operation), found
    return found


def without(name: str) -> dict[str, Any]:
    return {member: value for member, value in MOVE.items() if member != name}
