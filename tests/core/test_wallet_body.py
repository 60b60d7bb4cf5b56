"""The signed body: what is read from its members, and what decides nothing."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from gateway.core.encoding import sha256_hex
from gateway.core.wallet import (
    Operation,
    OperationKind,
    Refusal,
    WalletAdapter,
)
from tests.core.wallet_bodies import (
    BALANCE,
    BALANCES,
    MOVE,
    operation_of,
    parse,
    without,
)


def test_a_move_is_read() -> None:
    """Every member is in its documented place."""
    raw = json.dumps(MOVE).encode()
    assert parse(raw) == Operation(
        operation="reserve_cash",
        kind=OperationKind.MOVE,
        idempotency_key="k-1",
        player_id="player-7",
        currency="EUR",
        amount=Decimal("12.50"),
        amount_json='{"value":"12.50"}',
        references_json='{"order_id":"o-1"}',
        reason="ORDER_REQUESTED",
        original_operation=None,
        body_sha256=sha256_hex(raw),
    )


@pytest.mark.parametrize("operation", ["reserve_cash", "capture_cash", "release_cash", "credit_cash"])
def test_every_move_is_known(operation: str) -> None:
    """The four operations of the moves' route, each under any prefix and with a query."""
    read = operation_of(parse(MOVE | {"operation": operation}, path="/shop/v2/wallet/transactions?x=/wallet/balance"))
    assert (read.operation, read.kind) == (operation, OperationKind.MOVE)


def test_what_a_move_may_leave_out() -> None:
    """References, reason, operator and environment may be absent or null; unknown members may come."""
    bare = {name: MOVE[name] for name in ("operation", "player", "currency_code", "amount")}
    nulls = {"references": None, "reason": None, "operator_id": None, "environment": None, "idempotency_key": None}
    read = (operation_of(parse(bare)), operation_of(parse(bare | nulls | {"new_member": [1, {"x": None}]})))
    assert [(o.references_json, o.reason, o.player_id) for o in read] == [("", "", "player-7")] * 2


def test_an_unknown_form_of_amount_is_kept() -> None:
    """No amount is better than a wrong one; the JSON text has its exact values."""
    raw = json.dumps(without("amount")).encode()[:-1] + b', "amount": {"z": 1.50, "units": 12, "nanos": 5e8}}'
    read = operation_of(parse(raw))
    assert (read.amount, read.amount_json) == (None, '{"nanos":5E+8,"units":12,"z":1.50}')


@pytest.mark.parametrize(
    ("members", "kept"),
    [
        (b'"references":{"title":"Goal \\ud83d"}', {"references_json": '{"title":"Goal \\ud83d"}'}),
        (b'"references":{"title":"a\\u0000b"}', {"references_json": '{"title":"a\\u0000b"}'}),
        (b'"references":{"odds":1e400}', {"references_json": '{"odds":1e400}'}),
        (b'"references":{"odds":' + b"9" * 41 + b"}", {"references_json": '{"odds":' + "9" * 41 + "}"}),
        (b'"odds":1e400', {}),
        (b'"odds":' + b"9" * 41, {}),
        (b'"odds":0.' + b"1" * 60, {}),
        (b'"title":"Goal \\ud83d"', {}),
        (b'"\\udfff":["\\u0000"]', {}),
        (b'"reason":"a\\u0000\\ud83d"', {"reason": "a\ufffd\ufffd"}),
        (b'"reason":1e400', {"reason": ""}),
        (b'"note":1,"note":2,"more":{"a":1,"a":2}', {}),
        (b'"reason":"A","reason":"B"', {"reason": "B"}),
        (b'"deep":' + b"[" * 200 + b"]" * 200, {}),
    ],
)
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
def test_what_decides_nothing_makes_no_body_unreadable(start: bytes, members: bytes, kept: dict[str, str]) -> None:
    """The move is read, and the strange member is kept as it came."""
    bare = {name: MOVE[name] for name in ("operation", "player", "currency_code", "amount")}
    read = operation_of(parse(start + json.dumps(bare).encode()[:-1] + b"," + members + b"}"))
    assert (read.player_id, read.amount) == ("player-7", Decimal("12.50"))
    assert kept == {name: getattr(read, name) for name in kept}


@pytest.mark.parametrize("key", [None, "unexpected", "a,b"])
def test_a_balance_needs_no_key_and_minds_none(key: str | None) -> None:
    """An unexpected key on the balance route is no ground to refuse."""
    read = operation_of(parse(BALANCE, path=BALANCES, key=key))
    assert (read.kind, read.idempotency_key, read.player_id) == (OperationKind.BALANCE, None, "player-7")


def test_member_names_are_settings() -> None:
    """Another place for each member is a setting away."""
    adapter = WalletAdapter(player="user", currency="money.currency", amount="money", operator_id="op.id")
    body = {
        "operation": "credit_cash",
        "user": "p",
        "money": {"value": "1.00", "currency": "EUR"},
        "op": {"id": "op-1"},
    }
    read = operation_of(parse(body, adapter=adapter))
    assert (read.player_id, read.currency, read.amount) == ("p", "EUR", Decimal("1.00"))


def test_an_amount_that_is_text_is_a_setting() -> None:
    """Read as decimals, kept as an object of the usual name, so that it is compared like any other."""
    adapter = WalletAdapter(amount="sum", amount_is_text=True)
    body = {**without("amount"), "sum": "12.50"}
    read = operation_of(parse(body, adapter=adapter))
    assert (read.amount, read.amount_json) == (Decimal("12.50"), '{"value":"12.50"}')
    assert isinstance(parse({**body, "sum": 1250}, adapter=adapter), Refusal)


def test_whole_amounts_of_a_currency_with_a_scale() -> None:
    """The scale applies only to its currency."""
    adapter = WalletAdapter(currency_scales={"EUR": 2})
    body = {**MOVE, "amount": {"value": 1250}}
    assert Decimal("12.50") == operation_of(parse(body, adapter=adapter)).amount
    assert None is operation_of(parse({**body, "currency_code": "USD"}, adapter=adapter)).amount
