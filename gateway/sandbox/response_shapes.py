"""The form of read answers. The vendor does not publish it, so all four forms are assumptions.

The setting `read_shape` selects one. `default`: flat, snake_case. `camel`: flat, camelCase. `wrapped`: inside one
member named after the read. `data`: inside `data`, with the paging beside it.
"""

import re
from typing import Any

Entry = tuple[int, str, float]


def entry_json(entry: Entry, *, extra: bool, padding: int = 0) -> dict[str, Any]:
    """Return one entry. `extra` adds members that the documentation does not name, `padding` one of this size."""
    rank, user_id, score = entry
    value: dict[str, Any] = {"rank": rank, "user_id": user_id, "score": score}
    if extra:
        value |= {"name": f"Player {user_id}", "avatar_url": None, "badges": ["early"]}
    if padding:
        value["note"] = "x" * padding
    return value


def apply_shape(kind: str, value: dict[str, Any], shape: str) -> dict[str, Any]:
    """Return `value` (flat, snake_case) in the given shape. `kind` names the read: leaderboard, rank, snapshots, ..."""
    if shape == "camel":
        return {_camel(name): _camel_all(member) for name, member in value.items()}
    if shape == "wrapped":
        return {"status": "ok", kind: value}
    if shape == "data":
        listed = next((name for name in ("entries", "snapshots") if name in value), None)
        if listed is None:
            return {"success": True, "data": value}
        rest = {name: member for name, member in value.items() if name not in (listed, "total")}
        return {"success": True, "data": value[listed], "pagination": {"total": value["total"]}, **rest}
    return value


def _camel_all(value: Any) -> Any:
    if isinstance(value, list):
        return [_camel_all(each) for each in value]
    if isinstance(value, dict):
        return {_camel(name): member for name, member in value.items()}
    return value


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)
