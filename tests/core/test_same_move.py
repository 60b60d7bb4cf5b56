"""Whether two signed bodies are the same move."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.core.types import HexStr
from gateway.core.wallet import MoveContent, same_move
from tests.core.wallet_bodies import (
    MOVE,
    operation_of,
    parse,
    without,
)


def _content(body: bytes | dict[str, Any]) -> MoveContent:
    return operation_of(parse(body)).content()


_SAME: dict[str, bytes | dict[str, Any]] = {
    "spacing": json.dumps(MOVE, indent=2).encode(),
    "order": dict(reversed(list(MOVE.items()))),
    "decimal places": MOVE | {"amount": {"value": "12.5"}},
    "another form of the amount": MOVE | {"amount": {"minor_units": 1250, "scale": 2}},
    "reason": MOVE | {"reason": "ELSE"},
    "unknown member": MOVE | {"sent_at": 1},
    "escapes": json.dumps(MOVE).replace("player-7", "\\u0070layer-7").encode(),
}


@pytest.mark.parametrize("name", _SAME)
def test_a_resent_move_is_the_same_however_it_is_written(name: str) -> None:
    """Only a real difference counts."""
    assert same_move(_content(MOVE), _content(_SAME[name])) is True


_OTHER: dict[str, dict[str, Any]] = {
    "operation": MOVE | {"operation": "capture_cash"},
    "player": MOVE | {"player": {"external_id": "player-8"}},
    "currency": MOVE | {"currency_code": "USD"},
    "amount": MOVE | {"amount": {"value": "12.51"}},
    "scale": MOVE | {"amount": {"minor_units": 1250, "scale": 3}},
    "form not understood": MOVE | {"amount": {"value": 1250}},
    "references": MOVE | {"references": {"order_id": "o-2"}},
    "no references": without("references"),
    "more references": MOVE | {"references": {"order_id": "o-1", "claim_side": "yes"}},
}


@pytest.mark.parametrize("name", _OTHER)
def test_a_real_difference_is_a_conflict(name: str) -> None:
    """Operation, player, currency, amount and references each make another move, both ways round."""
    one, other = _content(MOVE), _content(_OTHER[name])
    assert (same_move(one, other), same_move(other, one)) == (False, False)


def test_amounts_not_understood_are_compared_by_value() -> None:
    """Order and spelling of numbers do not count in an unknown form, values do."""
    head = json.dumps(without("amount")).encode()[:-1]
    one = _content(head + b',"amount":{"units":12,"nanos":5.0e8}}')
    same = _content(head + b',"amount":{"nanos":500000000,"units":12}}')
    other = _content(head + b',"amount":{"nanos":500000001,"units":12}}')
    assert (same_move(one, same), same_move(one, other)) == (True, False)


def test_large_amounts_are_compared_to_the_last_digit() -> None:
    """No context's precision makes two amounts equal."""
    one = _content(MOVE | {"amount": {"value": 10**29 + 1, "scale": 2}})
    other = _content(MOVE | {"amount": {"value": 10**29 + 2, "scale": 2}})
    assert (one.amount is not None, same_move(one, other)) == (True, False)


def test_equal_bodies_are_the_same_move() -> None:
    """Equal hashes settle it, whatever an adapter read then and reads now."""
    content = _content(MOVE)
    read_otherwise = content._replace(amount=None, amount_json="", player_id="else")
    other_hash = read_otherwise._replace(body_sha256=HexStr("0" * 64))
    assert (same_move(content, read_otherwise), same_move(content, other_hash)) == (True, False)
