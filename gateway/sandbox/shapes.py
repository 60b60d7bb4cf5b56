"""How reads look. The vendor's answers are not published: all four shapes are assumptions, chosen by `read_shape`.

`default` is snake_case and flat; `camel` the same in camelCase; `wrapped` under one member named for what it is;
`data` under `data`, lists apart from their paging.
"""

import re
from typing import Any

Entry = tuple[int, str, float]


def entry_json(entry: Entry, *, extra: bool) -> dict[str, Any]:
    """Return one entry, with members that the contract does not name when `extra`."""
    rank, user_id, score = entry
    told: dict[str, Any] = {"rank": rank, "user_id": user_id, "score": score}
    if extra:
        told |= {"name": f"Player {user_id}", "avatar_url": None, "badges": ["early"]}
    return told


def shaped(kind: str, value: dict[str, Any], shape: str) -> dict[str, Any]:
    """Return `value` (flat, snake_case) in the given shape; `kind` is what it is: leaderboard, rank, snapshots..."""
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
