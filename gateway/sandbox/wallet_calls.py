"""Signed wallet webhooks as Phoenix would send them, and forged ones. Pure but for chance and the clock.

Source: Wallet Operations; Security; Reconciliation. Headers are lower case: content-type, x-provider, x-request-id
(UUIDv7, one per attempt), signature (over the body alone) and, on the two transaction routes, idempotency-key.
Assumptions, by setting: which of operator_id, environment, idempotency_key the body holds; the inner form of
`amount`. A probe repeats the original's envelope with `operation` exchanged.
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

from gateway.sandbox.checks import encode_base64url
from gateway.sandbox.settings import Settings
from gateway.sandbox.world import Operator, World

ROUTES = {
    "transactions": "/wallet/transactions",
    "status": "/wallet/transactions/status",
    "balance": "/wallet/balance",
}
FORGERIES = ("none", "bit", "body", "operator_key", "old_key", "missing", "padded", "repeated")
REASONS = {
    "reserve_cash": "ORDER_REQUESTED",
    "capture_cash": "ORDER_FILLED",
    "release_cash": "ORDER_CANCELLED",
    "credit_cash": "MARKET_SETTLED",
}
MEMBERS = {
    "operation", "body", "raw_base64", "route", "idempotency_key", "player", "currency", "amount", "references",
    "reason", "forge", "operator_code", "environment", "original_operation",
}  # fmt: skip


class BadWish(ValueError):
    """A wallet call that cannot be made as asked; the text names the member."""


@dataclass(slots=True, kw_only=True)
class WalletCall:
    """One webhook, ready to send; `headers` in order, repeated ones twice."""

    path: str
    headers: list[tuple[str, str]]
    body: bytes
    idempotency_key: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return the form in which control hands it to a test."""
        return {
            "method": "POST",
            "path": self.path,
            "headers": [list(pair) for pair in self.headers],
            "body_base64": base64.b64encode(self.body).decode(),
            "idempotency_key": self.idempotency_key,
        }


def make_call(wish: dict[str, Any], world: World) -> WalletCall:
    """Return the webhook that `wish` asks for; raises BadWish.

    Members: operation, route, player, currency, amount, references, reason, idempotency_key (null: none),
    operator_code, environment; or `body` (object) or `raw_base64` instead of a made body; `forge`.
    """
    unknown = set(wish) - MEMBERS
    if unknown:
        raise BadWish(f"no such member: {', '.join(sorted(unknown))}")
    route = wish.get("route", "transactions")
    if route not in ROUTES:
        raise BadWish(f"route: one of {', '.join(ROUTES)}")
    forge = wish.get("forge", "none")
    if forge not in FORGERIES:
        raise BadWish(f"forge: one of {', '.join(FORGERIES)}")
    key = _idempotency_key(wish, route)
    operator = _operator(wish, world)
    body = _body(wish, route, key, operator, world.settings)
    headers = [
        ("content-type", "application/json"),
        ("x-provider", "phoenix-prediction-market"),
        ("x-request-id", request_id()),
    ]
    signature = _signature(body, forge, operator, world)
    if forge == "body":
        body = body[:-1] + bytes([body[-1] ^ 1]) if body else b"\x00"
    if forge != "missing":
        headers += [("signature", signature)] * (2 if forge == "repeated" else 1)
    if key is not None:
        headers.append(("idempotency-key", key))
    return WalletCall(path=ROUTES[route], headers=headers, body=body, idempotency_key=key)


def make_probe(call: WalletCall, world: World) -> WalletCall | None:
    """Return the status probe for a call: same envelope and key. None for a body that is no JSON object."""
    try:
        envelope = orjson.loads(call.body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(envelope, dict) or call.idempotency_key is None:
        return None
    wish = {
        "route": "status",
        "body": {**envelope, "operation": "transaction_status", "idempotency_key": call.idempotency_key},
        "idempotency_key": call.idempotency_key,
    }
    return make_call(wish, world)


def again(call: WalletCall) -> WalletCall:
    """Return the next attempt: all the same but for a new x-request-id."""
    headers = [(name, request_id() if name == "x-request-id" else value) for name, value in call.headers]
    return WalletCall(path=call.path, headers=headers, body=call.body, idempotency_key=call.idempotency_key)


def request_id() -> str:
    """Return a UUIDv7 (RFC 9562): 48 bits of milliseconds, then chance."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def _idempotency_key(wish: dict[str, Any], route: str) -> str | None:
    key = wish.get("idempotency_key", None if route == "balance" else f"pmm:{uuid.uuid4()}")
    if key is not None and not isinstance(key, str):
        raise BadWish("idempotency_key: a text or null")
    return key


def _operator(wish: dict[str, Any], world: World) -> Operator | None:
    code, environment = wish.get("operator_code"), wish.get("environment")
    for operator in world.operators.values():
        identity = operator.identity
        if code in (None, identity.operator_code) and environment in (None, identity.environment):
            return operator
    if code is None and environment is None:
        return None
    raise BadWish("operator_code and environment: no such operator")


def _body(wish: dict[str, Any], route: str, key: str | None, operator: Operator | None, settings: Settings) -> bytes:
    if "raw_base64" in wish:
        try:
            return base64.b64decode(wish["raw_base64"], validate=True)
        except (ValueError, TypeError):
            raise BadWish("raw_base64: not base64") from None
    if "body" in wish:
        return orjson.dumps(wish["body"])
    defaults = {"transactions": "reserve_cash", "status": "transaction_status", "balance": "balance"}
    operation = wish.get("operation", defaults[route])
    body: dict[str, Any] = {"operation": operation}
    if operator is not None and settings.wallet_body_operator:
        body["operator_id"] = operator.identity.operator_id
    if operator is not None and settings.wallet_body_environment:
        body["environment"] = operator.identity.environment
    body["player"] = {"external_id": wish.get("player", "player-1")}
    body["currency_code"] = wish.get("currency", "EUR")
    if route != "balance":
        original = wish.get("original_operation", "reserve_cash") if route == "status" else operation
        body["amount"] = _amount(wish.get("amount", "12.50"), settings.wallet_amount)
        body["references"] = wish.get("references", _references(original))
        body["reason"] = wish.get("reason", REASONS.get(original, "ORDER_REQUESTED"))
        if key is not None and (settings.wallet_body_key or route == "status"):
            body["idempotency_key"] = key
        if "original_operation" in wish:
            body["original_operation"] = original
    return orjson.dumps(body)


def _references(operation: str) -> dict[str, str]:
    return {"claim_side": "yes"} if operation == "credit_cash" else {"order_id": "order-1"}


def _amount(amount: Any, form: str) -> Any:
    if not isinstance(amount, str):
        return amount  # an object or a wrong type, as the test wants it
    if form == "text":
        return amount
    if form == "value":
        return {"value": amount}
    try:
        exponent = Decimal(amount).as_tuple().exponent
    except InvalidOperation:
        raise BadWish("amount: not a decimal") from None
    scale = -exponent if isinstance(exponent, int) and exponent < 0 else 0
    return {"value": int(Decimal(amount).scaleb(scale)), "scale": scale}


def _signature(body: bytes, forge: str, operator: Operator | None, world: World) -> str:
    key: Ed25519PrivateKey | None = world.keys.current
    if forge == "operator_key":
        key = operator.forger if operator else Ed25519PrivateKey.generate()
    elif forge == "old_key":
        key = world.keys.previous
    if key is None:
        raise BadWish("forge: there is no old key before a rotation")
    raw = key.sign(body)
    if forge == "bit":
        raw = bytes([raw[0] ^ 1]) + raw[1:]
    text = encode_base64url(raw)
    return text + "==" if forge == "padded" else text
