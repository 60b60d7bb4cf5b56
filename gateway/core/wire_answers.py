"""Reads what Phoenix's gamification gateways answer, whose shapes are not published.

One lenient adapter: common member names, one level of nesting, unknown members kept. Where the
essence is missing it says so instead of guessing: an entry without rank or user, a rank answer
without a rank. Its names are given out by wire.py. Source: gamification.md 2.2, 2.3 and 4.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.errors import PhoenixAnswerUnreadable

_ENTRY_LISTS = ("entries", "leaderboard", "data", "items", "results", "rankings")
_NESTS = ("data", "leaderboard", "result")
_SINGLE_NESTS = ("entry", "data", "result", "user", "leaderboard")
_USER_IDS = ("user_id", "userId", "player_id", "playerId", "id", "user")
_SCORES = ("score", "total_score", "totalScore", "points", "value")
_RANKS = ("rank", "position")
_WINDOWS = ("window_key", "windowKey", "window")
_TOTALS = ("total", "total_count", "totalCount", "total_entries", "totalEntries")
_PLAIN_ENTRY = frozenset({"rank", "user_id", "score"})
_BOARD_IDS = ("leaderboard_id", "leaderboardId", "id")

_DECIMAL = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")
_INT64_LIMIT = 2**63
_EXACT_INTEGERS = 2.0**53
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MAX_ERROR_BYTES = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One place on a board. `extra` holds the members that have no field here."""

    rank: int
    user_id: str
    score: float
    extra: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a board, in the order Phoenix gave. `window_key` is "" where the answer names none."""

    window_key: str
    entries: tuple[Entry, ...]
    total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RankAnswer:
    """A user's rank, at least 1. Not ranked: `rank` is None."""

    ranked: bool
    rank: int | None
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreAnswer:
    """A user's score. Not ranked: `rank` is None and `score` may be."""

    ranked: bool
    rank: int | None
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A board as the admin gateway defines it; what the answer leaves out is empty. Times as sent."""

    leaderboard_id: str
    tenant_id: str
    name: str
    description: str
    status: str
    version: int
    config: dict[str, Any]
    created_at: str
    updated_at: str


def decode_leaderboard(body: bytes) -> Page:
    """Return a page of a board. Raises: PhoenixAnswerUnreadable."""
    root = _load(body)
    if isinstance(root, list):
        return Page(window_key="", entries=_entries(root), total=None)
    holders = [root] + [nested for name in _NESTS if isinstance(nested := root.get(name), dict)]
    for holder in holders:
        for name in _ENTRY_LISTS:
            listed = holder.get(name)
            if isinstance(listed, list):
                return Page(
                    window_key=_first_text(holders, _WINDOWS),
                    entries=_entries(listed),
                    total=_first_whole(holders, _TOTALS),
                )
    raise PhoenixAnswerUnreadable("Phoenix's answer holds no list of entries that can be read.")


def decode_rank(body: bytes) -> RankAnswer:
    """Return a user's rank; null, 0, or an entry that is null means not ranked.

    Raises: PhoenixAnswerUnreadable when neither a rank nor its absence is said.
    """
    found = _single(_load(body), _RANKS)
    if found is None:
        return RankAnswer(ranked=False, rank=None, score=None)
    rank, score = _optional_rank(found), _optional_score(found)
    if rank is None and found.get("ranked") is not False and not _names_any(found, _RANKS):
        raise PhoenixAnswerUnreadable("Phoenix's answer holds no rank that can be read.")
    if found.get("ranked") is False:
        rank = None
    return RankAnswer(ranked=rank is not None, rank=rank, score=score)


def decode_score(body: bytes) -> ScoreAnswer:
    """Return a user's score; null, an entry that is null, or a rank of null or 0 means not ranked.

    Raises: PhoenixAnswerUnreadable when neither a score nor its absence is said.
    """
    found = _single(_load(body), _SCORES)
    if found is None:
        return ScoreAnswer(ranked=False, rank=None, score=None)
    rank, score = _optional_rank(found), _optional_score(found)
    said_unranked = found.get("ranked") is False or (rank is None and _names_any(found, _RANKS))
    if score is None and not said_unranked and not _names_any(found, _SCORES):
        raise PhoenixAnswerUnreadable("Phoenix's answer holds no score that can be read.")
    ranked = score is not None and not said_unranked
    return ScoreAnswer(ranked=ranked, rank=rank if ranked else None, score=score)


def decode_definition(body: bytes) -> Definition:
    """Return one board's definition. Raises: PhoenixAnswerUnreadable."""
    root = _load(body)
    if isinstance(root, dict):
        for holder in [root] + [nested for name in _NESTS if isinstance(nested := root.get(name), dict)]:
            if _first_text([holder], _BOARD_IDS):
                return _definition(holder)
    raise PhoenixAnswerUnreadable("Phoenix's answer holds no leaderboard definition that can be read.")


def decode_definitions(body: bytes) -> tuple[Definition, ...]:
    """Return a list of definitions. Raises: PhoenixAnswerUnreadable."""
    root = _load(body)
    listed: object = root
    if isinstance(root, dict):
        holders = [root] + [nested for name in _NESTS if isinstance(nested := root.get(name), dict)]
        names = ("leaderboards", "data", "items", "results")
        listed = next(
            (held for holder in holders for name in names if isinstance(held := holder.get(name), list)), None
        )
    if not isinstance(listed, list):
        raise PhoenixAnswerUnreadable("Phoenix's answer holds no list of leaderboards that can be read.")
    if not all(isinstance(item, dict) and _first_text([item], _BOARD_IDS) for item in listed):
        raise PhoenixAnswerUnreadable("Phoenix's answer lists a leaderboard that cannot be read.")
    return tuple(_definition(item) for item in listed)


def refused_code(body: bytes) -> str | None:
    """Return the error code of Phoenix's error body, or None: 1 to 64 of letters, digits, "_", "." and "-".

    Anything else of an error body is upstream text and goes nowhere.
    """
    if len(body) > _MAX_ERROR_BYTES:
        return None
    try:
        root = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(root, dict):
        return None
    nested = root.get("error")
    for holder in (root, nested if isinstance(nested, dict) else {}):
        for name in ("code", "error"):
            code = holder.get(name)
            if isinstance(code, str) and _CODE.fullmatch(code) is not None:
                return code
    return None


def _load(body: bytes) -> dict[str, Any] | list[Any]:
    try:
        root = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise PhoenixAnswerUnreadable("Phoenix's answer is not JSON.") from None
    if not isinstance(root, dict | list):
        raise PhoenixAnswerUnreadable("Phoenix's answer is neither a JSON object nor a list.")
    return root


def _entries(listed: list[Any]) -> tuple[Entry, ...]:
    return tuple([_entry(item) for item in listed])


def _entry(item: object) -> Entry:
    if not isinstance(item, dict):
        raise PhoenixAnswerUnreadable("Phoenix's answer lists an entry that is no object.")
    # The names of the vendor's own vocabulary with values of the plain types: most boards, so first.
    rank, user_id, score = item.get("rank"), item.get("user_id"), item.get("score")
    has_plain_score = type(score) is float or type(score) is int
    if type(rank) is int and 1 <= rank < _INT64_LIMIT and type(user_id) is str and user_id and has_plain_score:
        extra = {} if len(item) == 3 else {name: item[name] for name in item if name not in _PLAIN_ENTRY}
        return Entry(rank=rank, user_id=user_id, score=float(item["score"]), extra=extra)
    return _entry_of_other_names(item)


def _entry_of_other_names(item: dict[str, Any]) -> Entry:
    rank_name = _present(item, _RANKS)
    user_name = _present(item, _USER_IDS)
    score_name = _present(item, _SCORES)
    rank = _whole(item.get(rank_name))
    user_id = _identity(item.get(user_name))
    score = _number(item.get(score_name))
    if rank is None or rank < 1 or user_id is None or score is None:
        raise PhoenixAnswerUnreadable("Phoenix's answer lists an entry without rank, user or score.")
    used = {rank_name, score_name}
    if not isinstance(item[user_name], dict):
        used.add(user_name)
    extra = {name: value for name, value in item.items() if name not in used}
    return Entry(rank=rank, user_id=user_id, score=score, extra=extra)


def _single(root: dict[str, Any] | list[Any], names: tuple[str, ...]) -> dict[str, Any] | None:
    """Return the object that holds one of `names`; None where the place of the entry holds null."""
    if isinstance(root, list):
        raise PhoenixAnswerUnreadable("Phoenix's answer is a list where one entry was asked for.")
    if _names_any(root, names) or root.get("ranked") is False:
        return root
    for nest in _SINGLE_NESTS:
        if nest in root:
            nested = root[nest]
            if nested is None:
                return None
            if isinstance(nested, dict):
                return nested
    return root


def _names_any(holder: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    return any(name in holder for name in names)


def _present(holder: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((name for name in names if name in holder), "")


def _optional_rank(holder: Mapping[str, Any]) -> int | None:
    held = holder.get(_present(holder, _RANKS))
    rank = _whole(held)
    if held is not None and rank is None:
        raise PhoenixAnswerUnreadable("Phoenix's answer holds a rank that is no whole number.")
    if rank is not None and rank < 0:
        raise PhoenixAnswerUnreadable("Phoenix's answer holds a rank below zero.")
    return rank or None


def _optional_score(holder: Mapping[str, Any]) -> float | None:
    held = holder.get(_present(holder, _SCORES))
    score = _number(held)
    if held is not None and score is None:
        raise PhoenixAnswerUnreadable("Phoenix's answer holds a score that is no number.")
    return score


def _definition(holder: Mapping[str, Any]) -> Definition:
    def text(name: str) -> str:
        held = holder.get(name)
        return held if isinstance(held, str) else ""

    config = holder.get("config")
    return Definition(
        leaderboard_id=_first_text([holder], _BOARD_IDS),
        tenant_id=text("tenant_id"),
        name=text("name"),
        description=text("description"),
        status=text("status"),
        version=_whole(holder.get("version")) or 0,
        config=config if isinstance(config, dict) else {},
        created_at=text("created_at"),
        updated_at=text("updated_at"),
    )


def _first_text(holders: list[Any], names: tuple[str, ...]) -> str:
    return next((held for h in holders for name in names if isinstance(held := h.get(name), str) and held), "")


def _first_whole(holders: list[Any], names: tuple[str, ...]) -> int | None:
    return next((whole for h in holders for name in names if (whole := _whole(h.get(name))) is not None), None)


def _identity(held: object) -> str | None:
    if isinstance(held, dict):
        held = held.get(_present(held, _USER_IDS))
    if isinstance(held, str) and held:
        return held
    return str(held) if isinstance(held, int) and not isinstance(held, bool) else None


def _number(held: object) -> float | None:
    if isinstance(held, str) and _DECIMAL.fullmatch(held) is not None:
        held = float(held)
    if isinstance(held, bool) or not isinstance(held, int | float):
        return None
    return float(held) if math.isfinite(held) else None


def _whole(held: object) -> int | None:
    if isinstance(held, bool):
        return None
    if isinstance(held, float):
        held = int(held) if held.is_integer() and abs(held) < _EXACT_INTEGERS else None
    if isinstance(held, str):
        held = int(held) if held.isascii() and held.isdigit() and len(held) <= 18 else None
    return held if isinstance(held, int) and -_INT64_LIMIT <= held < _INT64_LIMIT else None
