"""Reads the settings of an operator's wallet webhooks: the members of their bodies, and which operations to hold.

Phoenix has not published the members of the bodies. Each inferred member can be set here. Source: prediction.md 4.4 and
chapter 7.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import fields
from typing import Any

from gateway.config.values import Reader
from gateway.core.launch_token import is_currency
from gateway.core.wallet_adapter import WalletAdapter
from gateway.core.wallet_amount import MAX_SCALE, AmountNames
from gateway.core.wallet_operation import HOLDABLE

_FINAL = (400, 401, 403)
"""Phoenix never retries these. A move answered with one of them while in doubt would be lost."""
_ONE_PLACE = ("player", "currency", "amount", "references", "reason", "operator_id", "environment", "idempotency_key")
_AMOUNT = {f"amount_{one.name}": one.name for one in fields(AmountNames)}
_AMOUNT_TEXT = "amount_text"
_MEMBERS = frozenset({*_ONE_PLACE, *_AMOUNT, _AMOUNT_TEXT, "original_operation"})
_PATH = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,7}")


def read_wallet_adapter(reader: Reader) -> WalletAdapter:
    """Return how to read wallet bodies. The reader collects the faults."""
    return WalletAdapter(
        unreadable_status=_unreadable_status(reader),
        currency_scales=_scales(reader),
        **_members(reader),
    )


def read_held_operations(reader: Reader) -> frozenset[str]:
    """Return the operations whose suspect replays are held."""
    name = "PREDICTION_HOLD_SUSPECT_REPLAYS"
    text = reader.optional_text(name, max_chars=256)
    named = frozenset((text or "").replace(",", " ").split())
    if text is not None and not (named and named <= HOLDABLE):
        reader.fault(
            name,
            "names an operation that cannot be held",
            f"write some of {', '.join(sorted(HOLDABLE))}; never captures",
        )
        return frozenset()
    return named


def _members(reader: Reader) -> dict[str, Any]:
    """Return the adapter's fields that are set: `player=customer.id, amount_minor_units=cents`."""
    name = "PREDICTION_WALLET_MEMBERS"
    text = reader.optional_text(name, max_chars=4096)
    found: dict[str, list[str]] = defaultdict(list)
    for part in (text or "").split(","):
        member, equals, path = (side.strip() for side in part.partition("="))
        is_pair = bool(equals) and member in _MEMBERS and _PATH.fullmatch(path) is not None
        if text is not None and not (is_pair and ("." not in path or member not in _AMOUNT)):
            remedy = f"write member=name or member=outer.inner, with commas; members: {', '.join(sorted(_MEMBERS))}"
            reader.fault(name, "is not a list of members and their paths", remedy)
            return {}
        found[member].append(path)
    if text is None:
        return {}
    if any(len(found[member]) > 1 for member in (*_ONE_PLACE, _AMOUNT_TEXT)) or (
        found["amount"] and found[_AMOUNT_TEXT]
    ):
        reader.fault(name, "names two paths for one member", "keep one; only original_operation may have several")
        return {}
    set_to: dict[str, Any] = {member: found[member][0] for member in _ONE_PLACE if found[member]}
    if found[_AMOUNT_TEXT]:
        set_to |= {"amount": found[_AMOUNT_TEXT][0], "amount_is_text": True}
    if found["original_operation"]:
        set_to["original_operation"] = tuple(found["original_operation"])
    names = {field: tuple(found[member]) for member, field in _AMOUNT.items() if found[member]}
    return set_to | ({"amount_names": AmountNames(**names)} if names else {})


def _scales(reader: Reader) -> dict[str, int]:
    """Return the decimal places by currency: `EUR=2, JPY=0`."""
    name = "PREDICTION_WALLET_SCALES"
    text = reader.optional_text(name, max_chars=4096)
    scales: dict[str, int] = {}
    for part in [] if text is None else text.split(","):
        currency, _, places = (side.strip() for side in part.partition("="))
        is_scale = re.fullmatch(r"[0-9]{1,2}", places) is not None and int(places) <= MAX_SCALE
        if not is_currency(currency) or not is_scale or currency in scales:
            reader.fault(
                name, "is not a list of currencies and their decimal places", "write for example: EUR=2, JPY=0"
            )
            return {}
        scales[currency] = int(places)
    return scales


def _unreadable_status(reader: Reader) -> int:
    name, default = "PREDICTION_UNREADABLE_STATUS", WalletAdapter().unreadable_status
    status = reader.whole(name, default, least=400, most=599)
    if status in _FINAL:
        reader.fault(name, "is a status that Phoenix never retries", "remove it; 503, the default, is always safe")
        return default
    return status
