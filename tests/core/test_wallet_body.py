"""The signed body: certain members, undecided members, and equal operations."""

from __future__ import annotations

import dataclasses
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.encoding import sha256_hex
from gateway.core.types import Environment, HexStr
from gateway.core.wallet import (
    IdempotencyKey,
    MoveContent,
    Operation,
    OperationKind,
    Refusal,
    Verdict,
    WalletAdapter,
    find_route,
    parse_operation,
    route_anomalies,
    same_move,
    signed_parts,
)

_MOVE: dict[str, Any] = {
    "operation": "reserve_cash",
    "operator_id": "op-1",
    "environment": "prod",
    "player": {"external_id": "player-7"},
    "currency_code": "EUR",
    "amount": {"value": "12.50"},
    "references": {"order_id": "o-1"},
    "reason": "ORDER_REQUESTED",
}
_PROBE: dict[str, Any] = {"operation": "transaction_status", "idempotency_key": "k-1", "environment": "prod"}
_BALANCE: dict[str, Any] = {"operation": "balance", "player": {"external_id": "player-7"}, "currency_code": "EUR"}
_MOVES, _STATUS, _BALANCES = "/wallet/transactions", "/wallet/transactions/status", "/wallet/balance"


def _parse(
    body: bytes | dict[str, Any],
    *,
    path: str = _MOVES,
    method: str = "POST",
    key: str | None = "k-1",
    expected: str | None = "op-1",
    environment: Environment = Environment.PROD,
    adapter: WalletAdapter | None = None,
) -> Operation | Refusal:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    route = find_route(method, path)
    return parse_operation(route, raw, _header(key), adapter or WalletAdapter(), expected, environment)


def _header(key: str | None) -> IdempotencyKey | None:
    parts = signed_parts([("signature", "A" * 86), *([] if key is None else [("idempotency-key", key)])])
    assert not isinstance(parts, Refusal)
    return parts.idempotency_key


def _verdict(found: Operation | Refusal) -> Verdict:
    return found.verdict if isinstance(found, Refusal) else Verdict.VERIFIED


def _read(found: Operation | Refusal) -> Operation:
    assert isinstance(found, Operation), found
    return found


def _without(name: str) -> dict[str, Any]:
    return {member: value for member, value in _MOVE.items() if member != name}


def test_a_move_is_read() -> None:
    """Every member is in its documented place."""
    raw = json.dumps(_MOVE).encode()
    assert _parse(raw) == Operation(
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
    read = _read(_parse(_MOVE | {"operation": operation}, path="/shop/v2/wallet/transactions?x=/wallet/balance"))
    assert (read.operation, read.kind) == (operation, OperationKind.MOVE)


def test_what_a_move_may_leave_out() -> None:
    """References, reason, operator and environment may be absent or null; unknown members may come."""
    bare = {name: _MOVE[name] for name in ("operation", "player", "currency_code", "amount")}
    nulls = {"references": None, "reason": None, "operator_id": None, "environment": None, "idempotency_key": None}
    read = (_read(_parse(bare)), _read(_parse(bare | nulls | {"new_member": [1, {"x": None}]})))
    assert [(o.references_json, o.reason, o.player_id) for o in read] == [("", "", "player-7")] * 2


def test_an_unknown_form_of_amount_is_kept() -> None:
    """No amount is better than a wrong one; the JSON text has its exact values."""
    raw = json.dumps(_without("amount")).encode()[:-1] + b', "amount": {"z": 1.50, "units": 12, "nanos": 5e8}}'
    read = _read(_parse(raw))
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
        json.dumps(_MOVE).encode() + b"x",
    ],
)
@pytest.mark.parametrize("path", [_MOVES, _STATUS, _BALANCES])
def test_malformed_body(body: bytes, path: str) -> None:
    """MALFORMED_BODY: certainly no JSON object."""
    assert _verdict(_parse(body, path=path)) is Verdict.MALFORMED_BODY


@pytest.mark.parametrize(
    ("body", "path", "key"),
    [
        (_MOVE, _MOVES, None),
        (_MOVE | {"idempotency_key": "k-1"}, _MOVES, None),
        (_without("player"), _MOVES, None),
        ({"operation": "transaction_status"}, _STATUS, None),
        (_PROBE | {"idempotency_key": None}, _STATUS, None),
        (_PROBE | {"idempotency_key": ""}, _STATUS, None),
    ],
)
def test_missing_idempotency_key(body: dict[str, Any], path: str, key: str | None) -> None:
    """MISSING_IDEMPOTENCY_KEY: a move without the header; a probe without it in header and body."""
    assert _verdict(_parse(body, path=path, key=key)) is Verdict.MISSING_IDEMPOTENCY_KEY


@pytest.mark.parametrize("operator_id", ["op-2", "op-11", "op", "x"])
@pytest.mark.parametrize(("body", "path"), [(_MOVE, _MOVES), (_PROBE, _STATUS), (_BALANCE, _BALANCES)])
def test_wrong_operator(operator_id: str, body: dict[str, Any], path: str) -> None:
    """WRONG_OPERATOR: the signed body names another operator."""
    assert _verdict(_parse(body | {"operator_id": operator_id}, path=path)) is Verdict.WRONG_OPERATOR


@pytest.mark.parametrize(("body", "path"), [(_MOVE, _MOVES), (_PROBE, _STATUS), (_BALANCE, _BALANCES)])
def test_wrong_environment(body: dict[str, Any], path: str) -> None:
    """WRONG_ENVIRONMENT: the signed body names the other environment, in either direction."""
    verdicts = (
        _verdict(_parse(body | {"environment": "sandbox"}, path=path)),
        _verdict(_parse(body | {"environment": "prod"}, path=path, environment=Environment.SANDBOX)),
        _verdict(_parse(body | {"environment": "sandbox"}, path=path, environment=Environment.SANDBOX)),
    )
    assert verdicts == (Verdict.WRONG_ENVIRONMENT, Verdict.WRONG_ENVIRONMENT, Verdict.VERIFIED)


def test_an_operator_that_is_not_configured_is_not_checked() -> None:
    """Without a configured id no body names another one."""
    assert _verdict(_parse(_MOVE | {"operator_id": "op-2"}, expected=None)) is Verdict.VERIFIED


_DOUBTS: dict[str, bytes | dict[str, Any]] = {
    "no operation": _without("operation"),
    "unknown operation": _MOVE | {"operation": "burn_cash"},
    "operation of another case": _MOVE | {"operation": "RESERVE_CASH"},
    "operation no text": _MOVE | {"operation": 7},
    "operation a list": _MOVE | {"operation": ["reserve_cash"]},
    "balance on the moves' route": _MOVE | {"operation": "balance"},
    "probe on the moves' route": _MOVE | {"operation": "transaction_status"},
    "no player": _without("player"),
    "player null": _MOVE | {"player": None},
    "player text": _MOVE | {"player": "player-7"},
    "player number": _MOVE | {"player": {"external_id": 7}},
    "player empty": _MOVE | {"player": {"external_id": ""}},
    "player with a line break": _MOVE | {"player": {"external_id": "a\nb"}},
    "player too long": _MOVE | {"player": {"external_id": "a" * 257}},
    "player list": _MOVE | {"player": ["player-7"]},
    "no currency": _without("currency_code"),
    "currency number": _MOVE | {"currency_code": 978},
    "currency empty": _MOVE | {"currency_code": ""},
    "no amount": _without("amount"),
    "amount null": _MOVE | {"amount": None},
    "amount text": _MOVE | {"amount": "12.50"},
    "amount number": _MOVE | {"amount": 1250},
    "amount list": _MOVE | {"amount": ["12.50"]},
    "amount empty": _MOVE | {"amount": {}},
    "amount negative": _MOVE | {"amount": {"value": "-12.50"}},
    "amount of another currency": _MOVE | {"amount": {"value": "12.50", "currency": "USD"}},
    "environment unknown": _MOVE | {"environment": "production"},
    "environment of another case": _MOVE | {"environment": "Prod"},
    "environment empty": _MOVE | {"environment": ""},
    "environment number": _MOVE | {"environment": 1},
    "environment object": _MOVE | {"environment": {"sandbox": 1}},
    "operator number": _MOVE | {"operator_id": 7},
    "operator empty": _MOVE | {"operator_id": " "},
    "operator object": _MOVE | {"operator_id": {"id": "op-2"}},
    "operator spelt otherwise": _MOVE | {"operator_id": "OP-1 "},
    "key in the body differs": _MOVE | {"idempotency_key": "k-2"},
    "key in the body empty": _MOVE | {"idempotency_key": ""},
    "key in the body number": _MOVE | {"idempotency_key": 1},
    "member twice": json.dumps(_MOVE).encode()[:-1] + b',"amount":{"value":"99.50"}}',
    "environment twice": b'{"environment":"sandbox","environment":"prod"}',
    "nested member twice": json.dumps(_without("amount")).encode()[:-1] + b',"amount":{"value":"1","value":"2"}}',
    "operation twice": json.dumps(_MOVE).encode()[:-1] + b',"operation":"credit_cash"}',
    "player twice": json.dumps(_MOVE).encode()[:-1] + b',"player":{"external_id":"p"}}',
    "player's id twice": json.dumps(_without("player")).encode()[:-1]
    + b',"player":{"external_id":"a","external_id":"b"}}',
    "lone surrogate in the player": _MOVE | {"player": {"external_id": "player-\ud83d"}},
    "NUL in the player": _MOVE | {"player": {"external_id": "player\x00"}},
    "lone surrogate in the currency": _MOVE | {"currency_code": "EU\ud83d"},
    "lone surrogate in the operation": _MOVE | {"operation": "reserve_cash\ud83d"},
    "NUL in the operation": _MOVE | {"operation": "reserve_cash\x00"},
    "lone surrogate in the operator": _MOVE | {"operator_id": "op-1\ud83d"},
    "NUL in the operator": _MOVE | {"operator_id": "op-2\x00"},
    "NUL in the environment": _MOVE | {"environment": "sandbox\x00"},
    "lone surrogate in the key": _MOVE | {"idempotency_key": "k-1\ud83d"},
    "NUL in the amount": _MOVE | {"amount": {"value": "12.50", "note": "a\x00"}},
    "lone surrogate in the amount": _MOVE | {"amount": {"value": "12.50", "note": ["\ud800"]}},
    "huge amount": _MOVE | {"amount": {"value": 10**50, "scale": 2}},
    "huge exponent in the amount": json.dumps(_without("amount")).encode()[:-1] + b',"amount":{"value":1e400}}',
    "references twice": json.dumps(_MOVE).encode()[:-1] + b',"references":{"order_id":"o-2"}}',
    "order id twice": json.dumps(_without("references")).encode()[:-1]
    + b',"references":{"order_id":"o-1","order_id":"o-2"}}',
    "references deep": _MOVE | {"references": json.loads("[" * 40 + "]" * 40)},
    "very deep": b'{"a":' * 100000 + b"1" + b"}" * 100000,
}


@pytest.mark.parametrize("name", _DOUBTS)
def test_unreadable_operation(name: str) -> None:
    """UNREADABLE_OPERATION: signed, perhaps meant for us, and not to be interpreted: never a final refusal."""
    assert _verdict(_parse(_DOUBTS[name])) is Verdict.UNREADABLE_OPERATION


@pytest.mark.parametrize(
    ("body", "path", "method"),
    [
        (_MOVE, "/wallet/transfer", "POST"),
        (_MOVE, "/", "POST"),
        (_MOVE, "", "POST"),
        (_MOVE, "/wallet%2Ftransactions", "POST"),
        (_MOVE, "/x?/wallet/transactions", "POST"),
        (_MOVE, "/mywallet/transaction", "POST"),
        (_MOVE, _STATUS, "POST"),
        (_MOVE, _BALANCES, "POST"),
        (_PROBE, _MOVES, "POST"),
        (_PROBE, _BALANCES, "POST"),
        (_BALANCE, _MOVES, "POST"),
        (_BALANCE, _STATUS, "POST"),
        (_MOVE, _MOVES, "GET"),
        (_MOVE, _MOVES, "PUT"),
        (_MOVE, _MOVES, "PO\u017fT"),
        (b"no json", "/elsewhere", "POST"),
        (b"", _MOVES, "GET"),
    ],
)
def test_route_and_operation_hold_only_together(body: dict[str, Any] | bytes, path: str, method: str) -> None:
    """The route is unsigned: with another operation, path or method the call is in doubt."""
    assert _verdict(_parse(body, path=path, method=method)) is Verdict.UNREADABLE_OPERATION


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
    bare = {name: _MOVE[name] for name in ("operation", "player", "currency_code", "amount")}
    read = _read(_parse(start + json.dumps(bare).encode()[:-1] + b"," + members + b"}"))
    assert (read.player_id, read.amount) == ("player-7", Decimal("12.50"))
    assert kept == {name: getattr(read, name) for name in kept}


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/wallet/transactions/", "POST"),
        ("/wallet//transactions", "POST"),
        ("//wallet/transactions//", "POST"),
        ("/wallet/./transactions", "POST"),
        ("/./wallet/transactions/.", "POST"),
        ("/wallet/balance/../transactions", "POST"),
        ("/wallet/trans%61ctions", "POST"),
        ("/shop/wallet/transactions?" + "q" * 2100, "POST"),
        ("https://wallet.example/hooks/wallet/transactions/#top", "POST"),
        ("/wallet/transactions", "post"),
        ("/wallet/transactions", "Post"),
    ],
)
def test_equivalent_paths_and_methods_are_one_route(path: str, method: str) -> None:
    """Slashes, dots, a query and the case of the method make no difference."""
    assert _read(_parse(_MOVE, path=path, method=method)).kind is OperationKind.MOVE


@pytest.mark.parametrize(
    ("path", "method", "anomalies"),
    [
        ("/wallet/transactions", "POST", set()),
        ("/shop/wallet/transactions", "POST", set()),
        ("/wallet/transactions/", "POST", {"PATH"}),
        ("/wallet//transactions", "POST", {"PATH"}),
        ("/wallet/./transactions?a=b", "post", {"PATH", "QUERY", "METHOD"}),
        ("", "POST", set()),
    ],
)
def test_odd_paths_and_methods_are_counted(path: str, method: str, anomalies: set[str]) -> None:
    """Each oddity has its name."""
    assert {one.value for one in route_anomalies(method, path)} == anomalies


def test_a_named_route_counts_in_place_of_the_path() -> None:
    """A wallet may mount its webhooks anywhere; the operation must still be of the route."""
    for kind in OperationKind:
        assert find_route("POST", "/hooks/phoenix", kind) is kind
    assert find_route("GET", "/hooks/phoenix", OperationKind.MOVE) is None
    found = parse_operation(
        OperationKind.BALANCE, json.dumps(_MOVE).encode(), _header("k-1"), WalletAdapter(), "op-1", Environment.PROD
    )
    assert _verdict(found) is Verdict.UNREADABLE_OPERATION


@pytest.mark.parametrize("key", ["k1,k2", "k1, k2", "k1,k2,k1", "k-1, k-", "k-1,a\x00b", "k-1,\x7f, k-1", ","])
def test_a_key_that_may_be_several_is_ambiguous(key: str) -> None:
    """AMBIGUOUS_HEADERS: a proxy may have folded two different headers, of which one may be cut."""
    assert _verdict(_parse(_MOVE, key=key)) is Verdict.AMBIGUOUS_HEADERS


@pytest.mark.parametrize("key", ["k1,k1", "k1, k1", "k1 ,\tk1, k1"])
def test_folded_copies_of_a_key_are_one_key(key: str) -> None:
    """A proxy folded equal headers."""
    assert _read(_parse(_MOVE, key=key)).idempotency_key == "k1"


@pytest.mark.parametrize("key", ["a" * 1025, "ü" * 513, "a\nb", "a\x00", "a\x7f"])
def test_keys_that_cannot_be_trusted_or_kept_are_in_doubt(key: str) -> None:
    """Too long, control characters, perhaps two headers joined: 503, and no second move."""
    assert _verdict(_parse(_MOVE, key=key)) is Verdict.UNREADABLE_OPERATION


@pytest.mark.parametrize("key", ["k", "a" * 1024, "01890-abc:reserve", "ü", "a b", "{}"])
def test_keys_are_opaque(key: str) -> None:
    """A key of any form is used unchanged."""
    assert _read(_parse(_MOVE, key=key)).idempotency_key == key


def test_a_comma_in_a_key_is_fine_where_the_signed_body_repeats_it() -> None:
    """The signed body proves that the comma belongs to the key."""
    assert _read(_parse(_MOVE | {"idempotency_key": "k1,k2"}, key="k1,k2")).idempotency_key == "k1,k2"


@pytest.mark.parametrize(
    ("members", "header_key", "verdict"),
    [
        ({}, "k-1", Verdict.VERIFIED),
        ({}, None, Verdict.VERIFIED),
        ({}, "k-2", Verdict.UNREADABLE_OPERATION),
        ({"idempotency_key": None}, "k-1", Verdict.VERIFIED),
        ({"idempotency_key": 7}, None, Verdict.UNREADABLE_OPERATION),
        ({"idempotency_key": "a\n"}, None, Verdict.UNREADABLE_OPERATION),
    ],
)
def test_a_probe_takes_its_key_from_header_or_body(
    members: dict[str, Any], header_key: str | None, verdict: Verdict
) -> None:
    """Either is enough; two that differ are in doubt."""
    assert _verdict(_parse(_PROBE | members, path=_STATUS, key=header_key)) is verdict


@pytest.mark.parametrize(
    ("members", "original"),
    [
        ({}, None),
        ({"original_operation": None}, None),
        ({"original_operation": "credit_cash"}, "credit_cash"),
        ({"original": {"operation": "capture_cash"}}, "capture_cash"),
        ({"original_operation": "credit_cash", "original": {"operation": "credit_cash"}}, "credit_cash"),
    ],
)
def test_a_probe_names_its_original_in_one_of_several_places(members: dict[str, Any], original: str | None) -> None:
    """The candidates of the settings are looked at; none is needed."""
    read = _read(_parse(_PROBE | members, path=_STATUS))
    assert (read.kind, read.original_operation, read.idempotency_key) == (OperationKind.PROBE, original, "k-1")


@pytest.mark.parametrize(
    "members",
    [
        {"original_operation": "balance"},
        {"original_operation": "burn"},
        {"original_operation": 7},
        {"original": "credit_cash"},
        {"original_operation": "credit_cash", "original": {"operation": "reserve_cash"}},
    ],
)
def test_a_probe_that_names_no_known_original_is_in_doubt(members: dict[str, Any]) -> None:
    """An answer about another move than the one meant could make Phoenix repeat it or drop it."""
    assert _verdict(_parse(_PROBE | members, path=_STATUS)) is Verdict.UNREADABLE_OPERATION


@pytest.mark.parametrize("key", [None, "unexpected", "a,b"])
def test_a_balance_needs_no_key_and_minds_none(key: str | None) -> None:
    """An unexpected key on the balance route is no ground to refuse."""
    read = _read(_parse(_BALANCE, path=_BALANCES, key=key))
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
    read = _read(_parse(body, adapter=adapter))
    assert (read.player_id, read.currency, read.amount) == ("p", "EUR", Decimal("1.00"))


def test_an_amount_that_is_text_is_a_setting() -> None:
    """Read as decimals, kept as an object of the usual name, so that it is compared like any other."""
    adapter = WalletAdapter(amount="sum", amount_is_text=True)
    body = {**_without("amount"), "sum": "12.50"}
    read = _read(_parse(body, adapter=adapter))
    assert (read.amount, read.amount_json) == (Decimal("12.50"), '{"value":"12.50"}')
    assert isinstance(_parse({**body, "sum": 1250}, adapter=adapter), Refusal)


def test_whole_amounts_of_a_currency_with_a_scale() -> None:
    """The scale applies only to its currency."""
    adapter = WalletAdapter(currency_scales={"EUR": 2})
    body = {**_MOVE, "amount": {"value": 1250}}
    assert Decimal("12.50") == _read(_parse(body, adapter=adapter)).amount
    assert None is _read(_parse({**body, "currency_code": "USD"}, adapter=adapter)).amount


def _content(body: bytes | dict[str, Any]) -> MoveContent:
    return _read(_parse(body)).content()


_SAME: dict[str, bytes | dict[str, Any]] = {
    "spacing": json.dumps(_MOVE, indent=2).encode(),
    "order": dict(reversed(list(_MOVE.items()))),
    "decimal places": _MOVE | {"amount": {"value": "12.5"}},
    "another form of the amount": _MOVE | {"amount": {"minor_units": 1250, "scale": 2}},
    "reason": _MOVE | {"reason": "ELSE"},
    "unknown member": _MOVE | {"sent_at": 1},
    "escapes": json.dumps(_MOVE).replace("player-7", "\\u0070layer-7").encode(),
}


@pytest.mark.parametrize("name", _SAME)
def test_a_resent_move_is_the_same_however_it_is_written(name: str) -> None:
    """Only a real difference counts."""
    assert same_move(_content(_MOVE), _content(_SAME[name])) is True


_OTHER: dict[str, dict[str, Any]] = {
    "operation": _MOVE | {"operation": "capture_cash"},
    "player": _MOVE | {"player": {"external_id": "player-8"}},
    "currency": _MOVE | {"currency_code": "USD"},
    "amount": _MOVE | {"amount": {"value": "12.51"}},
    "scale": _MOVE | {"amount": {"minor_units": 1250, "scale": 3}},
    "form not understood": _MOVE | {"amount": {"value": 1250}},
    "references": _MOVE | {"references": {"order_id": "o-2"}},
    "no references": _without("references"),
    "more references": _MOVE | {"references": {"order_id": "o-1", "claim_side": "yes"}},
}


@pytest.mark.parametrize("name", _OTHER)
def test_a_real_difference_is_a_conflict(name: str) -> None:
    """Operation, player, currency, amount and references each make another move, both ways round."""
    one, other = _content(_MOVE), _content(_OTHER[name])
    assert (same_move(one, other), same_move(other, one)) == (False, False)


def test_amounts_not_understood_are_compared_by_value() -> None:
    """Order and spelling of numbers do not count in an unknown form, values do."""
    head = json.dumps(_without("amount")).encode()[:-1]
    one = _content(head + b',"amount":{"units":12,"nanos":5.0e8}}')
    same = _content(head + b',"amount":{"nanos":500000000,"units":12}}')
    other = _content(head + b',"amount":{"nanos":500000001,"units":12}}')
    assert (same_move(one, same), same_move(one, other)) == (True, False)


def test_large_amounts_are_compared_to_the_last_digit() -> None:
    """No context's precision makes two amounts equal."""
    one = _content(_MOVE | {"amount": {"value": 10**29 + 1, "scale": 2}})
    other = _content(_MOVE | {"amount": {"value": 10**29 + 2, "scale": 2}})
    assert (one.amount is not None, same_move(one, other)) == (True, False)


def test_equal_bodies_are_the_same_move() -> None:
    """Equal hashes settle it, whatever an adapter read then and reads now."""
    content = _content(_MOVE)
    read_otherwise = dataclasses.replace(content, amount=None, amount_json="", player_id="else")
    other_hash = dataclasses.replace(read_otherwise, body_sha256=HexStr("0" * 64))
    assert (same_move(content, read_otherwise), same_move(content, other_hash)) == (True, False)


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
    st.dictionaries(st.sampled_from([*_MOVE, "idempotency_key", "x"]), _VALUES, max_size=6),
    st.sampled_from([_MOVES, _STATUS, _BALANCES, "/x"]),
    st.none() | st.text(max_size=5),
)
def test_whatever_the_members_only_certainty_is_final(changes: dict[str, Any], path: str, key: str | None) -> None:
    """Any members lead to an operation, a doubt, or a final refusal whose ground is plainly there."""
    body = _MOVE | changes
    found = _parse(body, path=path, key=key)
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
    found = _parse(body)
    try:
        is_object = isinstance(json.loads(body), dict)
    except ValueError:
        is_object = False
    assert isinstance(found, Refusal)
    assert found.verdict is not Verdict.MALFORMED_BODY or not is_object or b"NaN" in body or b"Infinity" in body
