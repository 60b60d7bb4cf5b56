"""Reads the `amount` object of a wallet body, whose members Phoenix has not published.

Understands the forms that can mean one thing only and leaves every other one alone: an amount read
wrongly by its scale would be a hundred times too much. The caller keeps the JSON text in any case.
Source: prediction.md 4.4 and chapter 7, point 1 [unknown]; decimal text for money is how Phoenix
writes it elsewhere (3.2, 6.5).
"""

from __future__ import annotations

import re
from decimal import Decimal

from gateway.core.json_text import Json

_PLAIN = ("value", "amount")
_MINOR = ("minor_units", "minor", "units")
_SCALES = ("scale", "decimals", "exponent")
CURRENCY_MEMBERS = ("currency_code", "currency")
_KNOWN = frozenset(_PLAIN + _MINOR + _SCALES + CURRENCY_MEMBERS)
_MAX_SCALE = 18
_WHOLE_LIMIT = 10**30
_DECIMAL_TEXT = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,18})?")
_WHOLE_TEXT = re.compile(r"-?[0-9]{1,30}")


def read_amount(form: dict[str, Json]) -> Decimal | None:
    """Return the amount in the currency's main unit, or None where the form is not understood.

    Understood: {"value": "12.50"} or {"amount": "12.50"} (text, or a number with a fraction);
    {"value": 1250, "scale": 2}; {"minor_units": 1250, "scale": 2}. A whole number without a scale may
    be cents or not, and a member that is not known might change the meaning: None.
    """
    if not _KNOWN.issuperset(form):
        return None
    values = [name for name in _PLAIN + _MINOR if name in form]
    scales = [name for name in _SCALES if name in form]
    if len(values) != 1 or len(scales) > 1:
        return None
    name, held = values[0], form[values[0]]
    if not scales:
        return _decimal(held) if name in _PLAIN else None
    scale = _scale(scales[0], form[scales[0]])
    whole = _whole(held, text_counts=name in _MINOR)
    if scale is None or whole is None:
        # "12.50" beside a scale of 2 or more is the decimal text all the same.
        text = _decimal(held) if name in _PLAIN and isinstance(held, str) and "." in held else None
        return text if scale is not None and text is not None and -_exponent(text) <= scale else None
    sign, digits, _ = Decimal(whole).as_tuple()
    # Built from its digits: arithmetic would round to the context's precision.
    return Decimal((sign, digits, -scale))


def money_text(amount: Decimal) -> str:
    """Return an amount as plain decimal text of at most 40 characters, never with an exponent."""
    return format(amount, "f")


def _decimal(held: Json) -> Decimal | None:
    if isinstance(held, str):
        return Decimal(held) if _DECIMAL_TEXT.fullmatch(held) is not None else None
    # A number of JSON: exponents that would print beyond 40 characters are no amounts of money.
    is_money = isinstance(held, Decimal) and -_MAX_SCALE <= _exponent(held) < 0 and held.adjusted() < 20
    return held if is_money and isinstance(held, Decimal) else None


def _whole(held: Json, *, text_counts: bool) -> int | None:
    # Text beside a scale may be decimal text without its fraction, unless its name says minor units.
    if text_counts and isinstance(held, str) and _WHOLE_TEXT.fullmatch(held) is not None:
        held = int(held)
    is_whole = isinstance(held, int) and not isinstance(held, bool) and abs(held) < _WHOLE_LIMIT
    return held if is_whole and isinstance(held, int) else None


def _scale(name: str, held: Json) -> int | None:
    if not isinstance(held, int) or isinstance(held, bool):
        return None
    # An exponent of 2 is ISO 4217's "two decimals" or "times a hundred"; of -2 it is two decimals for both.
    scale = -held if name == "exponent" else held
    return scale if 0 <= scale <= _MAX_SCALE else None


def _exponent(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0
