"""Read single values from answers whose shapes Phoenix does not publish: numbers, ids and texts.

wire_answers.py and wire_snapshots.py know the member names and which members are essential.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.errors import PhoenixAnswerUnreadable

USER_IDS = ("user_id", "userId", "player_id", "playerId", "id", "user")
INT64_LIMIT = 2**63
EXACT_INTEGERS = 2.0**53

_DECIMAL = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")


def load_answer(body: bytes) -> dict[str, Any] | list[Any]:
    """Return the JSON object or list. Raises: PhoenixAnswerUnreadable."""
    try:
        root = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise PhoenixAnswerUnreadable("Phoenix's answer is not JSON.") from None
    if not isinstance(root, dict | list):
        raise PhoenixAnswerUnreadable("Phoenix's answer is neither a JSON object nor a list.")
    return root


def names_any(holder: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    """Tell whether one of the names is a member, even with the value null."""
    return any(name in holder for name in names)


def present(holder: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Return the first of the names that is a member, or "" if there is none."""
    return next((name for name in names if name in holder), "")


def first_text(holders: list[Any], names: tuple[str, ...]) -> str:
    """Return the first text that is not empty, or "" if there is none."""
    return next((held for h in holders for name in names if isinstance(held := h.get(name), str) and held), "")


def first_whole(holders: list[Any], names: tuple[str, ...]) -> int | None:
    """Return the first whole number, or None."""
    return next((found for h in holders for name in names if (found := whole(h.get(name))) is not None), None)


def identity(held: object) -> str | None:
    """Return an id that is a text, a number or an object that contains one of these; otherwise None."""
    if isinstance(held, dict):
        held = held.get(present(held, USER_IDS))
    if isinstance(held, str) and held:
        return held
    return str(held) if isinstance(held, int) and not isinstance(held, bool) else None


def number(held: object) -> float | None:
    """Return a finite number; a decimal number in a text is accepted. Otherwise None."""
    if isinstance(held, str) and _DECIMAL.fullmatch(held) is not None:
        held = float(held)
    if isinstance(held, bool) or not isinstance(held, int | float):
        return None
    return float(held) if math.isfinite(held) else None


def whole(held: object) -> int | None:
    """Return a whole number of 64 bits; "3" and 3.0 are accepted. Otherwise None."""
    if isinstance(held, bool):
        return None
    if isinstance(held, float):
        held = int(held) if held.is_integer() and abs(held) < EXACT_INTEGERS else None
    if isinstance(held, str):
        held = int(held) if held.isascii() and held.isdigit() and len(held) <= 18 else None
    return held if isinstance(held, int) and -INT64_LIMIT <= held < INT64_LIMIT else None
