"""Signed wallet webhooks as Phoenix sends them, and forged ones. No I/O but random numbers and the clock.

Source: Wallet Operations; Security; Reconciliation. Headers are lower case: content-type, x-provider, x-request-id
(UUIDv7, one per attempt), signature (over the body alone) and, on the two transaction routes, idempotency-key.
Settings choose what is not documented: whether the body has operator_id, environment and idempotency_key, and the
form of `amount`. Assumption: a probe repeats the envelope of the original with another `operation`.
"""

import base64
import os
import time
import uuid
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.sandbox.control_input import InvalidControlRequest, read_base64, reject_unknown
from gateway.sandbox.settings import Settings
from gateway.sandbox.signatures import encode_base64url
from gateway.sandbox.state import Operator, SandboxState
from gateway.sandbox.webhook_oddities import apply_oddities

ROUTES = {
    "transactions": "/wallet/transactions",
    "status": "/wallet/transactions/status",
    "balance": "/wallet/balance",
}
FORGERIES = ("none", "bit", "body", "operator_key", "old_key", "missing", "padded")
REASONS = {
    "reserve_cash": "ORDER_REQUESTED",
    "capture_cash": "ORDER_FILLED",
    "release_cash": "ORDER_CANCELLED",
    "credit_cash": "MARKET_SETTLED",
}
MEMBERS = {
    "operation", "body", "raw_base64", "route", "idempotency_key", "player", "currency", "amount", "references",
    "reason", "forge", "oddities", "operator_code", "environment", "original_operation",
}  # fmt: skip


@dataclass(slots=True, kw_only=True)
class WalletWebhook:
    """One webhook, ready to send. `headers` are in order; a repeated header is listed twice."""

    path: str
    headers: list[tuple[str, str]]
    body: bytes
    idempotency_key: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form for the control listener."""
        return {
            "method": "POST",
            "path": self.path,
            "headers": [list(pair) for pair in self.headers],
            "body_base64": base64.b64encode(self.body).decode(),
            "idempotency_key": self.idempotency_key,
        }


def make_webhook(request: dict[str, Any], state: SandboxState) -> WalletWebhook:
    """Return the webhook that a control request describes. Raises InvalidControlRequest.

    Members: operation, route, player, currency, amount, references, reason, idempotency_key (null: none),
    operator_code, environment, `forge`. `body` (object) or `raw_base64` replaces the generated body. `oddities`: a list
    of what a proxy did to the unsigned parts (ODDITIES).
    """
    reject_unknown(request, MEMBERS)
    route = request.get("route", "transactions")
    if route not in ROUTES:
        raise InvalidControlRequest(f"route: must be one of {', '.join(ROUTES)}")
    forge = request.get("forge", "none")
    if forge not in FORGERIES:
        raise InvalidControlRequest(f"forge: must be one of {', '.join(FORGERIES)}")
    key = _idempotency_key(request, route)
    operator = _operator(request, state)
    body = _body(request, route, key, operator, state.settings)
    headers = [
        ("content-type", "application/json"),
        ("x-provider", "phoenix-prediction-market"),
        ("x-request-id", request_id()),
    ]
    signature = _signature(body, forge, operator, state)
    if forge == "body":
        body = body[:-1] + bytes([body[-1] ^ 1]) if body else b"\x00"
    if forge != "missing":
        headers.append(("signature", signature))
    if key is not None:
        headers.append(("idempotency-key", key))
    call = WalletWebhook(path=ROUTES[route], headers=headers, body=body, idempotency_key=key)
    apply_oddities(call, request.get("oddities", []))
    return call


def make_probe(call: WalletWebhook, state: SandboxState) -> WalletWebhook | None:
    """Return the status probe for a call, with the same envelope and key. None if the body is not a JSON object."""
    try:
        envelope = orjson.loads(call.body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(envelope, dict) or call.idempotency_key is None:
        return None
    request = {
        "route": "status",
        "body": {**envelope, "operation": "transaction_status", "idempotency_key": call.idempotency_key},
        "idempotency_key": call.idempotency_key,
    }
    return make_webhook(request, state)


def next_attempt(call: WalletWebhook) -> WalletWebhook:
    """Return the next attempt: the same webhook with a new x-request-id."""
    headers = [(name, request_id() if name == "x-request-id" else value) for name, value in call.headers]
    return WalletWebhook(path=call.path, headers=headers, body=call.body, idempotency_key=call.idempotency_key)


def request_id() -> str:
    """Return a UUIDv7 (RFC 9562): 48 bits of milliseconds, then random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def _idempotency_key(request: dict[str, Any], route: str) -> str | None:
    key = request.get("idempotency_key", None if route == "balance" else f"pmm:{uuid.uuid4()}")
    if key is not None and not isinstance(key, str):
        raise InvalidControlRequest("idempotency_key: must be a string or null")
    return key


def _operator(request: dict[str, Any], state: SandboxState) -> Operator | None:
    code, environment = request.get("operator_code"), request.get("environment")
    for operator in state.operators.values():
        identity = operator.identity
        if code in (None, identity.operator_code) and environment in (None, identity.environment):
            return operator
    if code is None and environment is None:
        return None
    raise InvalidControlRequest("operator_code and environment: unknown operator")


def _body(request: dict[str, Any], route: str, key: str | None, operator: Operator | None, settings: Settings) -> bytes:
    if "raw_base64" in request:
        return read_base64(request, "raw_base64")
    if "body" in request:
        return orjson.dumps(request["body"])
    defaults = {"transactions": "reserve_cash", "status": "transaction_status", "balance": "balance"}
    operation = request.get("operation", defaults[route])
    body: dict[str, Any] = {"operation": operation}
    if operator is not None and settings.wallet_body_operator:
        body["operator_id"] = operator.identity.operator_id
    if operator is not None and settings.wallet_body_environment:
        body["environment"] = operator.identity.environment
    body["player"] = {"external_id": request.get("player", "player-1")}
    body["currency_code"] = request.get("currency", "EUR")
    if route != "balance":
        original = request.get("original_operation", "reserve_cash") if route == "status" else operation
        body["amount"] = _amount(request.get("amount", "12.50"), settings.wallet_amount)
        body["references"] = request.get("references", _references(original))
        body["reason"] = request.get("reason", REASONS.get(original, "ORDER_REQUESTED"))
        if key is not None and (settings.wallet_body_key or route == "status"):
            body["idempotency_key"] = key
        if "original_operation" in request:
            body["original_operation"] = original
    return orjson.dumps(body)


def _references(operation: str) -> dict[str, str]:
    return {"claim_side": "yes"} if operation == "credit_cash" else {"order_id": "order-1"}


def _amount(amount: Any, form: str) -> Any:
    if not isinstance(amount, str):
        return amount  # a test may ask for an object or a wrong type
    if form == "text":
        return amount
    if form == "value":
        return {"value": amount}
    try:
        exponent = Decimal(amount).as_tuple().exponent
    except InvalidOperation:
        raise InvalidControlRequest("amount: must be a decimal string") from None
    scale = -exponent if isinstance(exponent, int) and exponent < 0 else 0
    return {"value": int(Decimal(amount).scaleb(scale)), "scale": scale}


def _signature(body: bytes, forge: str, operator: Operator | None, state: SandboxState) -> str:
    key: Ed25519PrivateKey | None = state.keys.current
    if forge == "operator_key":
        key = operator.forgery_key if operator else Ed25519PrivateKey.generate()
    elif forge == "old_key":
        key = state.keys.previous
    if key is None:
        raise InvalidControlRequest("forge: old_key needs a rotation of the platform key first")
    raw = key.sign(body)
    if forge == "bit":
        raw = bytes([raw[0] ^ 1]) + raw[1:]
    text = encode_base64url(raw)
    return text + "==" if forge == "padded" else text
