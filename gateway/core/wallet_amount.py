"""Read the `amount` object of a wallet body, whose members Phoenix does not publish.

Only forms with exactly one meaning are accepted: an amount with a wrong scale would be a hundred times too large. The
caller keeps the JSON text in any case. Source: prediction.md 4.4 and chapter 7, point 1 [unknown]; elsewhere Phoenix
writes money as decimal text (3.2, 6.5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from gateway.core.json_text import Json

CURRENCY_MEMBERS = ("currency_code", "currency")
MAX_SCALE = 18
_WHOLE_LIMIT = 10**30
_DECIMAL_TEXT = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,18})?")
_WHOLE_TEXT = re.compile(r"-?[0-9]{1,30}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AmountNames:
    """The known members of the amount."""

    value: tuple[str, ...] = ("value", "amount")
    """Decimal text or a fraction; with a scale, a whole number."""
    minor_units: tuple[str, ...] = ("minor_units", "minor", "units")
    """A whole number, with a scale."""
    scale: tuple[str, ...] = ("scale", "decimals", "exponent")
    """The number of decimal places; `exponent` is that number, negative."""


_NAMES = AmountNames()


@lru_cache(maxsize=64)
def _known(names: AmountNames) -> frozenset[str]:
    return frozenset(names.value + names.minor_units + names.scale + CURRENCY_MEMBERS)


def read_amount(
    form: dict[str, Json], names: AmountNames = _NAMES, currency_scale: int | None = None
) -> Decimal | None:
    """Return the amount in the currency's main unit, or None if the form is ambiguous or unknown.

    Args: `currency_scale`: the scale of a whole number without one; None: such a number is ambiguous.

    Accepted: {"value": "12.50"} or {"amount": "12.50"} (text, or a number with a fraction);
    {"value": 1250, "scale": 2}; {"minor_units": 1250, "scale": 2}. Not accepted: a whole number without a scale (it
    may or may not be cents), and an unknown member (it may change the meaning).
    """
    if not _known(names).issuperset(form):
        return None
    values = [name for name in names.value + names.minor_units if name in form]
    scales = [name for name in names.scale if name in form]
    if len(values) != 1 or len(scales) > 1:
        return None
    name, held = values[0], form[values[0]]
    is_plain = name in names.value
    if scales:
        scale = _scale(scales[0], form[scales[0]])
    elif currency_scale is not None and _whole(held, text_counts=not is_plain) is not None:
        scale = currency_scale
    else:
        return _decimal(held) if is_plain else None
    whole = _whole(held, text_counts=not is_plain)
    if scale is None or whole is None:
        # "12.50" with a scale of 2 or more is still decimal text.
        text = _decimal(held) if is_plain and isinstance(held, str) and "." in held else None
        return text if scale is not None and text is not None and -_exponent(text) <= scale else None
    sign, digits, _ = Decimal(whole).as_tuple()
    # Built from the digits, because arithmetic rounds to the context's precision.
    return Decimal((sign, digits, -scale))


def money_text(amount: Decimal) -> str:
    """Return an amount as plain decimal text of at most 40 characters, never with an exponent."""
    return format(amount, "f")


def _decimal(held: Json) -> Decimal | None:
    if isinstance(held, str):
        return Decimal(held) if _DECIMAL_TEXT.fullmatch(held) is not None else None
    # A JSON number. A number that would print with more than 40 characters is not an amount of money.
    is_money = isinstance(held, Decimal) and -MAX_SCALE <= _exponent(held) < 0 and held.adjusted() < 20
    return held if is_money and isinstance(held, Decimal) else None


def _whole(held: Json, *, text_counts: bool) -> int | None:
    # With a scale, text may be decimal text without its fraction, unless the member's name says minor units.
    if text_counts and isinstance(held, str) and _WHOLE_TEXT.fullmatch(held) is not None:
        held = int(held)
    is_whole = isinstance(held, int) and not isinstance(held, bool) and abs(held) < _WHOLE_LIMIT
    return held if is_whole and isinstance(held, int) else None


def _scale(name: str, held: Json) -> int | None:
    if not isinstance(held, int) or isinstance(held, bool):
        return None
    # An exponent of 2 can mean "two decimals" (ISO 4217) or "times a hundred"; -2 means two decimals in both readings.
    scale = -held if name == "exponent" else held
    return scale if 0 <= scale <= MAX_SCALE else None


def _exponent(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0
