"""The signed body: what makes a refusal final, and what stays in doubt."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.types import Environment
from gateway.core.wallet import (
    Operation,
    Refusal,
    Verdict,
)
from tests.core.wallet_bodies import (
    BALANCE,
    BALANCES,
    MOVE,
    MOVES,
    PROBE,
    STATUS,
    parse,
    verdict_of,
    without,
)


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
