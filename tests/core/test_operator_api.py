"""The Operator API's answers: read leniently, decimals exact, an absent fee schedule is not a null one."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from gateway.core.operator_api import (
    FeeSchedule,
    decode_categories,
    decode_settings,
    decode_stats,
    encode_fee_schedule,
    exact_plain,
    same_schedule,
)
from gateway.errors import PhoenixAnswerUnreadable

_SCHEDULE = FeeSchedule(shape="flat", taker_coefficient="0.07", maker_rebate_coefficient="0.01")


def settings(**members: Any) -> bytes:
    return json.dumps({"code": "acme", "name": "Acme", **members}).encode()


@pytest.mark.parametrize(
    ("members", "reported"),
    [({}, (None, False)), ({"fee_schedule": None}, (None, True)), ({"fee_schedule": 5}, (None, False))],
)
def test_only_null_says_that_trading_is_disabled(members: dict[str, Any], reported: tuple[object, bool]) -> None:
    """A missing or unreadable member has no meaning."""
    read = decode_settings(settings(**members))
    assert reported == (read.fee_schedule, read.trading_disabled)


def test_a_coefficient_sent_as_a_number_keeps_its_digits() -> None:
    """No float on the way."""
    body = (
        b'{"code":"acme","fee_schedule":{"shape":"flat","taker_coefficient":0.070000000000000000001,'
        b'"maker_rebate_coefficient":"0.010"}}'
    )
    schedule = decode_settings(body).fee_schedule
    assert schedule == FeeSchedule(
        shape="flat", taker_coefficient="0.070000000000000000001", maker_rebate_coefficient="0.010"
    )


def test_currencies_are_read_as_objects_and_as_plain_codes() -> None:
    """What is neither is left out; the list stays usable."""
    read = decode_settings(settings(currencies=[{"code": "EUR", "min_order_size": "0.10"}, "USD", 5, {"x": 1}]))
    assert [("EUR", "0.10"), ("USD", "")] == [(one.code, one.min_order_size) for one in read.currencies]


def test_unknown_members_are_kept() -> None:
    """What Phoenix adds is not lost."""
    assert {"new": {"a": [1, 0.5]}} == decode_settings(settings(new={"a": [1, 0.5]})).extra


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"code":""}', b'{"code":1}', b"<html>", b'{"code":"a","code":"b"}']
)
def test_settings_without_their_essence_are_unreadable(body: bytes) -> None:
    """No guess is made of an error page."""
    with pytest.raises(PhoenixAnswerUnreadable):
        decode_settings(body)


def test_categories_keep_phoenix_order() -> None:
    """Absent members are empty."""
    body = json.dumps(
        {"categories": [{"slug": "b", "display_order": 2}, {"slug": "a", "display_order": "x", "new": 1}]}
    )
    read = decode_categories(body.encode())
    assert [("b", 2, {}), ("a", 0, {"new": 1})] == [(one.slug, one.display_order, one.extra) for one in read]


@pytest.mark.parametrize("body", [b"{}", b'{"categories":null}', b'{"categories":[1]}', b"x"])
def test_no_list_of_categories_is_unreadable(body: bytes) -> None:
    """An empty list is returned only if Phoenix returns one."""
    with pytest.raises(PhoenixAnswerUnreadable):
        decode_categories(body)


def test_statistics_are_whatever_they_are() -> None:
    """Members of any name; no JSON object is unreadable."""
    assert {"volume": "0.00", "n": 3, "r": 0.25} == decode_stats(b'{"volume":"0.00","n":3,"r":0.25}')
    with pytest.raises(PhoenixAnswerUnreadable):
        decode_stats(b"[1]")


@pytest.mark.parametrize(
    ("number", "plain"), [("0.1", 0.1), ("12.50", 12.5), ("0.1000000000000000055", "0.1000000000000000055")]
)
def test_a_number_that_a_double_cannot_hold_becomes_text(number: str, plain: object) -> None:
    """Nothing is rounded silently."""
    assert plain == exact_plain(Decimal(number))


def test_the_body_of_a_change() -> None:
    """Null clears."""
    members = {"shape": "flat", "taker_coefficient": "0.07", "maker_rebate_coefficient": "0.01"}
    assert {"fee_schedule": members} == json.loads(encode_fee_schedule(_SCHEDULE))
    assert b'{"fee_schedule":null}' == encode_fee_schedule(None)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (FeeSchedule(shape="flat", taker_coefficient="0.070", maker_rebate_coefficient="0.01"), True),
        (FeeSchedule(shape="kalshi_curve", taker_coefficient="0.07", maker_rebate_coefficient="0.01"), False),
        (FeeSchedule(shape="flat", taker_coefficient="0.7", maker_rebate_coefficient="0.01"), False),
        (FeeSchedule(shape="flat", taker_coefficient="", maker_rebate_coefficient="0.01"), False),
        (None, False),
    ],
)
def test_schedules_are_compared_by_what_they_mean(other: FeeSchedule | None, same: bool) -> None:
    """Trailing zeros mean nothing."""
    assert same is same_schedule(_SCHEDULE, other)
