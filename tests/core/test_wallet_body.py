"""The signed body: what is certain of its members, and what is in doubt."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.encoding import sha256_hex
from gateway.core.types import Environment
from gateway.core.wallet import (
    Operation,
    OperationKind,
    Refusal,
    Verdict,
    WalletAdapter,
)
from tests.core.wallet_bodies import (
    BALANCE,
    BALANCES,
    MOVE,
    MOVES,
    PROBE,
    STATUS,
    operation_of,
    parse,
    verdict_of,
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
    "body",
    [
        b"",
        b"  ",
        b"\xff\xfe",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"reserve_cash"',
        b'{"operation":NaN}',
        b'{"operation":"reserve_cash",}',
        b"operation=reserve_cash",
        json.dumps(MOVE).encode() + b"x",
    ],
)
@pytest.mark.parametrize("path", [MOVES, STATUS, BALANCES])
def test_malformed_body(body: bytes, path: str) -> None:
    """MALFORMED_BODY: certainly no JSON object."""
    assert verdict_of(parse(body, path=path)) is Verdict.MALFORMED_BODY


@pytest.mark.parametrize("member", ["player-7", "EUR", "12.50", "reserve_cash", "op-1", "prod"])
def test_bytes_that_are_not_utf_8_in_what_decides(member: str) -> None:
    """UNREADABLE_OPERATION, which is not final: a person can see what was meant."""
    body = json.dumps(MOVE).encode()
    assert member.encode() in body
    assert verdict_of(parse(body.replace(member.encode(), member.encode() + b"\xff"))) is Verdict.UNREADABLE_OPERATION


@pytest.mark.parametrize(
    ("body", "path", "key"),
    [
        (MOVE, MOVES, None),
        (MOVE | {"idempotency_key": "k-1"}, MOVES, None),
        (without("player"), MOVES, None),
        ({"operation": "transaction_status"}, STATUS, None),
        (PROBE | {"idempotency_key": None}, STATUS, None),
        (PROBE | {"idempotency_key": ""}, STATUS, None),
    ],
)
def test_missing_idempotency_key(body: dict[str, Any], path: str, key: str | None) -> None:
    """MISSING_IDEMPOTENCY_KEY: a move without the header; a probe without it in header and body."""
    assert verdict_of(parse(body, path=path, key=key)) is Verdict.MISSING_IDEMPOTENCY_KEY


@pytest.mark.parametrize("operator_id", ["op-2", "op-11", "op", "x"])
@pytest.mark.parametrize(("body", "path"), [(MOVE, MOVES), (PROBE, STATUS), (BALANCE, BALANCES)])
def test_wrong_operator(operator_id: str, body: dict[str, Any], path: str) -> None:
    """WRONG_OPERATOR: the signed body names another operator."""
    assert verdict_of(parse(body | {"operator_id": operator_id}, path=path)) is Verdict.WRONG_OPERATOR


@pytest.mark.parametrize(("body", "path"), [(MOVE, MOVES), (PROBE, STATUS), (BALANCE, BALANCES)])
def test_wrong_environment(body: dict[str, Any], path: str) -> None:
    """WRONG_ENVIRONMENT: the signed body names the other environment, in either direction."""
    verdicts = (
        verdict_of(parse(body | {"environment": "sandbox"}, path=path)),
        verdict_of(parse(body | {"environment": "prod"}, path=path, environment=Environment.SANDBOX)),
        verdict_of(parse(body | {"environment": "sandbox"}, path=path, environment=Environment.SANDBOX)),
    )
    assert verdicts == (Verdict.WRONG_ENVIRONMENT, Verdict.WRONG_ENVIRONMENT, Verdict.VERIFIED)


def test_an_operator_that_is_not_configured_is_not_checked() -> None:
    """Without a configured id no body names another one."""
    assert verdict_of(parse(MOVE | {"operator_id": "op-2"}, expected=None)) is Verdict.VERIFIED


_DOUBTS: dict[str, bytes | dict[str, Any]] = {
    "no operation": without("operation"),
    "unknown operation": MOVE | {"operation": "burn_cash"},
    "operation of another case": MOVE | {"operation": "RESERVE_CASH"},
    "operation no text": MOVE | {"operation": 7},
    "operation a list": MOVE | {"operation": ["reserve_cash"]},
    "balance on the moves' route": MOVE | {"operation": "balance"},
    "probe on the moves' route": MOVE | {"operation": "transaction_status"},
    "no player": without("player"),
    "player null": MOVE | {"player": None},
    "player text": MOVE | {"player": "player-7"},
    "player number": MOVE | {"player": {"external_id": 7}},
    "player empty": MOVE | {"player": {"external_id": ""}},
    "player with a line break": MOVE | {"player": {"external_id": "a\nb"}},
    "player too long": MOVE | {"player": {"external_id": "a" * 257}},
    "player list": MOVE | {"player": ["player-7"]},
    "no currency": without("currency_code"),
    "currency number": MOVE | {"currency_code": 978},
    "currency empty": MOVE | {"currency_code": ""},
    "no amount": without("amount"),
    "amount null": MOVE | {"amount": None},
    "amount text": MOVE | {"amount": "12.50"},
    "amount number": MOVE | {"amount": 1250},
    "amount list": MOVE | {"amount": ["12.50"]},
    "amount empty": MOVE | {"amount": {}},
    "amount negative": MOVE | {"amount": {"value": "-12.50"}},
    "amount of another currency": MOVE | {"amount": {"value": "12.50", "currency": "USD"}},
    "environment unknown": MOVE | {"environment": "production"},
    "environment of another case": MOVE | {"environment": "Prod"},
    "environment empty": MOVE | {"environment": ""},
    "environment number": MOVE | {"environment": 1},
    "environment object": MOVE | {"environment": {"sandbox": 1}},
    "operator number": MOVE | {"operator_id": 7},
    "operator empty": MOVE | {"operator_id": " "},
    "operator object": MOVE | {"operator_id": {"id": "op-2"}},
    "operator spelt otherwise": MOVE | {"operator_id": "OP-1 "},
    "key in the body differs": MOVE | {"idempotency_key": "k-2"},
    "key in the body empty": MOVE | {"idempotency_key": ""},
    "key in the body number": MOVE | {"idempotency_key": 1},
    "member twice": json.dumps(MOVE).encode()[:-1] + b',"amount":{"value":"99.50"}}',
    "environment twice": b'{"environment":"sandbox","environment":"prod"}',
    "nested member twice": json.dumps(without("amount")).encode()[:-1] + b',"amount":{"value":"1","value":"2"}}',
    "operation twice": json.dumps(MOVE).encode()[:-1] + b',"operation":"credit_cash"}',
    "player twice": json.dumps(MOVE).encode()[:-1] + b',"player":{"external_id":"p"}}',
    "player's id twice": json.dumps(without("player")).encode()[:-1]
    + b',"player":{"external_id":"a","external_id":"b"}}',
    "lone surrogate in the player": MOVE | {"player": {"external_id": "player-\ud83d"}},
    "NUL in the player": MOVE | {"player": {"external_id": "player\x00"}},
    "lone surrogate in the currency": MOVE | {"currency_code": "EU\ud83d"},
    "lone surrogate in the operation": MOVE | {"operation": "reserve_cash\ud83d"},
    "NUL in the operation": MOVE | {"operation": "reserve_cash\x00"},
    "lone surrogate in the operator": MOVE | {"operator_id": "op-1\ud83d"},
    "NUL in the operator": MOVE | {"operator_id": "op-2\x00"},
    "NUL in the environment": MOVE | {"environment": "sandbox\x00"},
    "lone surrogate in the key": MOVE | {"idempotency_key": "k-1\ud83d"},
    "NUL in the amount": MOVE | {"amount": {"value": "12.50", "note": "a\x00"}},
    "lone surrogate in the amount": MOVE | {"amount": {"value": "12.50", "note": ["\ud800"]}},
    "huge amount": MOVE | {"amount": {"value": 10**50, "scale": 2}},
    "huge exponent in the amount": json.dumps(without("amount")).encode()[:-1] + b',"amount":{"value":1e400}}',
    "references twice": json.dumps(MOVE).encode()[:-1] + b',"references":{"order_id":"o-2"}}',
    "order id twice": json.dumps(without("references")).encode()[:-1]
    + b',"references":{"order_id":"o-1","order_id":"o-2"}}',
    "references deep": MOVE | {"references": json.loads("[" * 40 + "]" * 40)},
    "very deep": b'{"a":' * 100000 + b"1" + b"}" * 100000,
}


@pytest.mark.parametrize("name", _DOUBTS)
def test_unreadable_operation(name: str) -> None:
    """UNREADABLE_OPERATION: signed, perhaps meant for us, and not to be interpreted: never a final refusal."""
    assert verdict_of(parse(_DOUBTS[name])) is Verdict.UNREADABLE_OPERATION


@pytest.mark.parametrize(
    ("body", "path", "method"),
    [
        (MOVE, "/wallet/transfer", "POST"),
        (MOVE, "/", "POST"),
        (MOVE, "", "POST"),
        (MOVE, "/wallet%2Ftransactions", "POST"),
        (MOVE, "/x?/wallet/transactions", "POST"),
        (MOVE, "/mywallet/transaction", "POST"),
        (MOVE, STATUS, "POST"),
        (MOVE, BALANCES, "POST"),
        (PROBE, MOVES, "POST"),
        (PROBE, BALANCES, "POST"),
        (BALANCE, MOVES, "POST"),
        (BALANCE, STATUS, "POST"),
        (MOVE, MOVES, "GET"),
        (MOVE, MOVES, "PUT"),
        (MOVE, MOVES, "PO\u017fT"),
        (b"no json", "/elsewhere", "POST"),
        (b"", MOVES, "GET"),
    ],
)
def test_route_and_operation_hold_only_together(body: dict[str, Any] | bytes, path: str, method: str) -> None:
    """The route is unsigned: with another operation, path or method the call is in doubt."""
    assert verdict_of(parse(body, path=path, method=method)) is Verdict.UNREADABLE_OPERATION


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


_FINAL = {
    Verdict.MALFORMED_BODY,
    Verdict.MISSING_IDEMPOTENCY_KEY,
    Verdict.WRONG_OPERATOR,
    Verdict.WRONG_ENVIRONMENT,
}
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(["prod", "op-1"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from([*MOVE, "idempotency_key", "x"]), _VALUES, max_size=6),
    st.sampled_from([MOVES, STATUS, BALANCES, "/x"]),
    st.none() | st.text(max_size=5),
)
def test_whatever_the_members_only_certainty_is_final(changes: dict[str, Any], path: str, key: str | None) -> None:
    """Any members lead to an operation, a doubt, or a final refusal whose ground is plainly there."""
    body = MOVE | changes
    found = parse(body, path=path, key=key)
    grounds = {
        Verdict.WRONG_ENVIRONMENT: body["environment"] == "sandbox",
        Verdict.WRONG_OPERATOR: isinstance(body["operator_id"], str) and body["operator_id"] not in ("", "op-1"),
        Verdict.MISSING_IDEMPOTENCY_KEY: key is None or not key.strip(" \t\r\n"),
        Verdict.MALFORMED_BODY: "NaN" in json.dumps(body) or "Infinity" in json.dumps(body),
    }
    assert isinstance(found, Operation) or found.verdict not in _FINAL or grounds[found.verdict]


@given(st.binary(max_size=80))
def test_no_bytes_crash_the_parser(body: bytes) -> None:
    """Any bytes give a verdict, and bytes that are no JSON object are never read as an operation."""
    found = parse(body)
    try:
        is_object = isinstance(json.loads(body), dict)
    except ValueError:
        is_object = False
    assert isinstance(found, Refusal)
    assert found.verdict is not Verdict.MALFORMED_BODY or not is_object or b"NaN" in body or b"Infinity" in body
