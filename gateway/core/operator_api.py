"""Encode and decode the JSON of the Operator API: settings, fee schedule, categories, statistics.

The decoder is lenient and keeps unknown members. Decimals never become floats. A missing fee schedule differs from a
null one: only null disables trading. Source: prediction.md 3.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from gateway.core.json_text import DoubtfulJson, Json, NotJsonObject, read_object
from gateway.errors import PhoenixAnswerUnreadable

_SETTINGS = frozenset({"code", "name", "currencies", "fee_schedule"})
_CATEGORY = frozenset({"id", "code", "slug", "name", "display_order", "status"})
_INT64_LIMIT = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeSchedule:
    """The fees of a fill; coefficients as decimal text."""

    shape: str
    taker_coefficient: str
    maker_rebate_coefficient: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportedCurrency:
    """A currency of the operator; sizes as decimal text, "" where Phoenix gives none."""

    code: str
    min_order_size: str
    max_order_size: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSettings:
    """The operator's settings at Phoenix. `fee_schedule` None: Phoenix gives none, or `trading_disabled` is set."""

    code: str
    name: str
    currencies: tuple[SupportedCurrency, ...]
    fee_schedule: FeeSchedule | None
    trading_disabled: bool
    extra: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """A market category."""

    id: str
    code: str
    slug: str
    name: str
    display_order: int
    status: str
    extra: dict[str, Any]


def encode_fee_schedule(schedule: FeeSchedule | None) -> bytes:
    """Return the body that sets the schedule, or clears it."""
    members = None
    if schedule is not None:
        members = {
            "shape": schedule.shape,
            "taker_coefficient": schedule.taker_coefficient,
            "maker_rebate_coefficient": schedule.maker_rebate_coefficient,
        }
    return orjson.dumps({"fee_schedule": members})


def decode_settings(body: bytes) -> OperatorSettings:
    """Return the settings. Raises: PhoenixAnswerUnreadable if they name no operator or are not a JSON object."""
    members = _object(body)
    code = members.get("code")
    if not isinstance(code, str) or not code:
        raise PhoenixAnswerUnreadable("Phoenix's answer contains no operator settings.")
    schedule = members.get("fee_schedule")
    return OperatorSettings(
        code=code,
        name=_text(members.get("name")),
        currencies=_currencies(members.get("currencies")),
        fee_schedule=_schedule(schedule) if isinstance(schedule, dict) else None,
        trading_disabled="fee_schedule" in members and schedule is None,
        extra=_rest(members, _SETTINGS),
    )


def decode_categories(body: bytes) -> tuple[Category, ...]:
    """Return the categories in Phoenix's order. Raises: PhoenixAnswerUnreadable if the answer has no list of them."""
    listed = _object(body).get("categories")
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise PhoenixAnswerUnreadable("Phoenix's answer contains no list of categories.")
    return tuple(_category(one) for one in listed if isinstance(one, dict))


def decode_stats(body: bytes) -> dict[str, Any]:
    """Return all members of the statistics. Raises: PhoenixAnswerUnreadable if the answer is not a JSON object."""
    return _rest(_object(body), frozenset())


def same_schedule(one: FeeSchedule | None, other: FeeSchedule | None) -> bool:
    """Tell whether both mean the same fees; 0.070 equals 0.07. A coefficient that is not a number equals no other."""
    if one is None or other is None:
        return one is other
    try:
        return one.shape == other.shape and _numbers(one) == _numbers(other)
    except ArithmeticError:
        return False


def _numbers(schedule: FeeSchedule) -> tuple[Decimal, Decimal]:
    return Decimal(schedule.taker_coefficient), Decimal(schedule.maker_rebate_coefficient)


def exact_plain(value: Json) -> Any:
    """Return parsed JSON as plain data for a Struct. A number that a double cannot represent exactly becomes text."""
    if isinstance(value, Decimal):
        near = float(value)
        return near if Decimal(repr(near)) == value else format(value, "f")
    if isinstance(value, dict):
        return {name: exact_plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [exact_plain(one) for one in value]
    return value


def _object(body: bytes) -> dict[str, Json]:
    try:
        return read_object(body)
    except (NotJsonObject, DoubtfulJson):
        raise PhoenixAnswerUnreadable from None


def _rest(members: Mapping[str, Json], known: Iterable[str]) -> dict[str, Any]:
    return {name: exact_plain(value) for name, value in members.items() if name not in known}


def _currencies(value: Json) -> tuple[SupportedCurrency, ...]:
    found = []
    for one in value if isinstance(value, list) else []:
        members = one if isinstance(one, dict) else {"code": one}
        code = members.get("code") or members.get("currency_code") or members.get("currency")
        if isinstance(code, str) and code:
            least, most = _text(members.get("min_order_size")), _text(members.get("max_order_size"))
            found.append(SupportedCurrency(code=code, min_order_size=least, max_order_size=most))
    return tuple(found)


def _schedule(members: Mapping[str, Json]) -> FeeSchedule:
    return FeeSchedule(
        shape=_text(members.get("shape")),
        taker_coefficient=_text(members.get("taker_coefficient")),
        maker_rebate_coefficient=_text(members.get("maker_rebate_coefficient")),
    )


def _category(members: Mapping[str, Json]) -> Category:
    order = members.get("display_order")
    is_order = isinstance(order, int) and not isinstance(order, bool) and abs(order) < _INT64_LIMIT
    return Category(
        id=_text(members.get("id")),
        code=_text(members.get("code")),
        slug=_text(members.get("slug")),
        name=_text(members.get("name")),
        display_order=order if is_order and isinstance(order, int) else 0,
        status=_text(members.get("status")),
        extra=_rest(members, _CATEGORY),
    )


def _text(value: Json) -> str:
    """Return a text, or a number with the digits that Phoenix sent; "" for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return ""
    return format(Decimal(value), "f")
