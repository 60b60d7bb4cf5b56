"""Amounts: understood where they can mean one thing only."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.json_text import read_object
from gateway.core.wallet_amount import AmountNames, money_text, read_amount


@pytest.mark.parametrize(
    ("form", "amount"),
    [
        (b'{"value":"12.50"}', "12.50"),
        (b'{"amount":"12.50"}', "12.50"),
        (b'{"value":"12"}', "12"),
        (b'{"value":"0.00"}', "0.00"),
        (b'{"value":"-3.10"}', "-3.10"),
        (b'{"value":12.50}', "12.50"),
        (b'{"value":"12.50","currency":"EUR"}', "12.50"),
        (b'{"value":1250,"scale":2}', "12.50"),
        (b'{"value":"12.50","scale":2}', "12.50"),
        (b'{"amount":1250,"decimals":2}', "12.50"),
        (b'{"value":1250,"exponent":-2}', "12.50"),
        (b'{"minor_units":1250,"scale":2}', "12.50"),
        (b'{"minor_units":"1250","scale":2}', "12.50"),
        (b'{"units":5,"scale":0}', "5"),
        (b'{"units":5,"scale":18}', "0.000000000000000005"),
        (b'{"value":123456789012345678901234567890,"scale":2}', "1234567890123456789012345678.90"),
    ],
)
def test_forms_of_one_meaning_are_read_exactly(form: bytes, amount: str) -> None:
    """Decimal text, a fraction, whole numbers with a scale: exact to the last digit, never rounded."""
    read = read_amount(read_object(form))
    assert read is not None
    assert money_text(read) == amount


@pytest.mark.parametrize(
    "form",
    [
        b"{}",
        b'{"value":1250}',
        b'{"amount":1250}',
        b'{"minor_units":1250}',
        b'{"minor_units":"12.50","scale":2}',
        b'{"value":"1250","scale":2}',
        b'{"value":"12.505","scale":2}',
        b'{"value":12.5,"scale":2}',
        b'{"value":1E2}',
        b'{"value":1E-30}',
        b'{"value":1250,"exponent":2}',
        b'{"value":1250,"scale":-2}',
        b'{"value":1250,"scale":19}',
        b'{"value":1250,"scale":"2"}',
        b'{"value":1250,"scale":2.0}',
        b'{"value":1250,"scale":true}',
        b'{"value":true,"scale":2}',
        b'{"value":null}',
        b'{"value":""}',
        b'{"value":"1e3"}',
        b'{"value":"12,50"}',
        b'{"value":" 12.50"}',
        b'{"value":"+12.50"}',
        b'{"value":".5"}',
        b'{"value":"NaN"}',
        b'{"value":"\xd9\xa1\xd9\xa2"}',
        b'{"value":{"value":"12.50"}}',
        b'{"value":["12.50"]}',
        b'{"value":"12.50","amount":"12.50"}',
        b'{"value":"12.50","minor_units":1250,"scale":2}',
        b'{"value":1250,"scale":2,"decimals":2}',
        b'{"units":12,"nanos":500000000}',
        b'{"value":"12.50","multiplier":100}',
        b'{"value":"' + b"9" * 21 + b'"}',
    ],
)
def test_forms_that_may_mean_another_amount_are_left_alone(form: bytes) -> None:
    """No scale, two values, an unknown member, a positive exponent: no amount is better than a wrong one."""
    assert read_amount(read_object(form)) is None


@given(st.integers(0, 10**20), st.integers(0, 18))
def test_a_scale_divides_exactly(whole: int, scale: int) -> None:
    """The amount times ten to the scale is the whole number again, in at most 40 characters of plain text."""
    read = read_amount({"value": whole, "scale": scale})
    assert read is not None
    text = money_text(read)
    assert (int(text.replace(".", "")), len(text) <= 40, "E" in text) == (whole, True, False)


@given(st.decimals(min_value=0, max_value=10**15, places=2))
def test_decimal_text_is_its_amount(amount: Decimal) -> None:
    """Text with two decimals is read as written."""
    assert read_amount({"value": f"{amount:f}"}) == amount


@pytest.mark.parametrize(
    ("form", "amount"),
    [
        (b'{"value":1250}', "12.50"),
        (b'{"minor_units":1250}', "12.50"),
        (b'{"minor_units":"1250"}', "12.50"),
        (b'{"value":"12.50"}', "12.50"),
        (b'{"value":"12"}', "12"),
        (b'{"value":12.5}', "12.5"),
        (b'{"value":1250,"scale":3}', "1.250"),
        (b'{"value":"12.505"}', "12.505"),
        (b'{"minor_units":"12.50"}', None),
        (b'{"value":true}', None),
    ],
)
def test_a_currency_with_a_scale(form: bytes, amount: str | None) -> None:
    """Whole numbers are minor units then; text stays decimal, and a scale of the amount's own goes first."""
    read = read_amount(read_object(form), currency_scale=2)
    assert amount == (None if read is None else money_text(read))


def test_other_names_take_the_place_of_those_inferred() -> None:
    """What was set is read; what it replaced is a member that is not known."""
    names = AmountNames(minor_units=("cents",))
    assert Decimal("12.50") == read_amount({"cents": 1250, "scale": 2}, names)
    assert None is read_amount({"minor_units": 1250, "scale": 2}, names)
