"""Decode the answers of Phoenix's gamification gateways, whose shapes Phoenix does not publish.

A lenient decoder: it accepts common member names and one level of nesting, and keeps unknown members. It never guesses
an essential value: an entry without rank or user, or a rank answer without a rank, is an error. wire.py re-exports its
names. Source: gamification.md 2.2, 2.3 and 4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.core.answer_values import (
    INT64_LIMIT,
    USER_IDS,
    first_text,
    first_whole,
    identity,
    load_answer,
    names_any,
    number,
    present,
    whole,
)
from gateway.errors import PhoenixAnswerUnreadable

_ENTRY_LISTS = ("entries", "leaderboard", "data", "items", "results", "rankings")
_NESTS = ("data", "leaderboard", "result", "snapshot", "user")
_SINGLE_NESTS = ("entry", "data", "result", "user", "rank", "score", "snapshot_user", "snapshot", "leaderboard")
_PAGINGS = ("pagination", "paging", "meta")
_SCORES = ("score", "total_score", "totalScore", "points", "value")
_RANKS = ("rank", "position")
_WINDOWS = ("window_key", "windowKey", "window")
_TOTALS = ("total", "total_count", "totalCount", "total_entries", "totalEntries")
_PLAIN_ENTRY = frozenset({"rank", "user_id", "score"})
_BOARD_IDS = ("leaderboard_id", "leaderboardId", "id")

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MAX_ERROR_BYTES = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a board. `extra` holds the members that have no field here."""

    rank: int
    user_id: str
    score: float
    extra: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a board, in Phoenix's order. `window_key` is "" if the answer names none."""

    window_key: str
    entries: tuple[Entry, ...]
    total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RankAnswer:
    """A user's rank, at least 1. If the user is not ranked, `rank` is None."""

    ranked: bool
    rank: int | None
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreAnswer:
    """A user's score. If the user is not ranked, `rank` is None and `score` may be None."""

    ranked: bool
    rank: int | None
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A board as the admin gateway defines it. Missing members are empty. Times are texts as sent."""

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
    """Return a page of a board or of a snapshot. Raises: PhoenixAnswerUnreadable."""
    page = page_in(load_answer(body))
    if page is None:
        raise PhoenixAnswerUnreadable("Phoenix's answer contains no readable list of entries.")
    return page


def page_in(root: dict[str, Any] | list[Any]) -> Page | None:
    """Return the page in an answer, or None if it contains no list. Raises: as `decode_leaderboard`."""
    if isinstance(root, list):
        return Page(window_key="", entries=_entries(root), total=None)
    holders = [root, *_nested(root, _NESTS)]
    for holder in holders:
        for name in _ENTRY_LISTS:
            listed = holder.get(name)
            if isinstance(listed, list):
                return Page(
                    window_key=first_text(holders, _WINDOWS),
                    entries=_entries(listed),
                    total=first_whole([*holders, *_nested(root, _PAGINGS)], _TOTALS),
                )
    return None


def decode_rank(body: bytes) -> RankAnswer:
    """Return a user's rank. A rank of null or 0, or an entry of null, means not ranked.

    Raises: PhoenixAnswerUnreadable if the answer contains neither a rank nor its absence.
    """
    found = _single(load_answer(body), _RANKS)
    if found is None:
        return RankAnswer(ranked=False, rank=None, score=None)
    rank, score = _optional_rank(found), _optional_score(found)
    if rank is None and found.get("ranked") is not False and not names_any(found, _RANKS):
        raise PhoenixAnswerUnreadable("Phoenix's answer contains no readable rank.")
    if found.get("ranked") is False:
        rank = None
    return RankAnswer(ranked=rank is not None, rank=rank, score=score)


def decode_score(body: bytes) -> ScoreAnswer:
    """Return a user's score. A score of null, an entry of null, or a rank of null or 0 means not ranked.

    Raises: PhoenixAnswerUnreadable if the answer contains neither a score nor its absence.
    """
    found = _single(load_answer(body), _SCORES)
    if found is None:
        return ScoreAnswer(ranked=False, rank=None, score=None)
    rank, score = _optional_rank(found), _optional_score(found)
    said_unranked = found.get("ranked") is False or (rank is None and names_any(found, _RANKS))
    if score is None and not said_unranked and not names_any(found, _SCORES):
        raise PhoenixAnswerUnreadable("Phoenix's answer contains no readable score.")
    ranked = score is not None and not said_unranked
    return ScoreAnswer(ranked=ranked, rank=rank if ranked else None, score=score)


def decode_definition(body: bytes) -> Definition:
    """Return one board's definition. Raises: PhoenixAnswerUnreadable."""
    root = load_answer(body)
    if isinstance(root, dict):
        for holder in [root, *_nested(root, _NESTS)]:
            if first_text([holder], _BOARD_IDS):
                return _definition(holder)
    raise PhoenixAnswerUnreadable("Phoenix's answer contains no readable leaderboard definition.")


def decode_definitions(body: bytes) -> tuple[Definition, ...]:
    """Return a list of definitions. Raises: PhoenixAnswerUnreadable."""
    root = load_answer(body)
    listed: object = root
    if isinstance(root, dict):
        holders = [root, *_nested(root, _NESTS)]
        names = ("leaderboards", "data", "items", "results")
        listed = next(
            (held for holder in holders for name in names if isinstance(held := holder.get(name), list)), None
        )
    if not isinstance(listed, list):
        raise PhoenixAnswerUnreadable("Phoenix's answer contains no readable list of leaderboards.")
    if not all(isinstance(item, dict) and first_text([item], _BOARD_IDS) for item in listed):
        raise PhoenixAnswerUnreadable("Phoenix's answer lists a leaderboard that cannot be read.")
    return tuple(_definition(item) for item in listed)


def refused_code(body: bytes) -> str | None:
    """Return the error code of Phoenix's error body, or None. A code is 1 to 64 letters, digits, "_", "." or "-".

    The gateway uses nothing else from an error body.
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


def _entries(listed: list[Any]) -> tuple[Entry, ...]:
    return tuple([_entry(item) for item in listed])


def _entry(item: object) -> Entry:
    if not isinstance(item, dict):
        raise PhoenixAnswerUnreadable("Phoenix's answer lists an entry that is not an object.")
    # Fast path for most boards: the vendor's own member names, with values of the plain types.
    rank, user_id, score = item.get("rank"), item.get("user_id"), item.get("score")
    has_plain_score = type(score) is float or type(score) is int
    if type(rank) is int and 1 <= rank < INT64_LIMIT and type(user_id) is str and user_id and has_plain_score:
        extra = {} if len(item) == 3 else {name: item[name] for name in item if name not in _PLAIN_ENTRY}
        return Entry(rank=rank, user_id=user_id, score=float(item["score"]), extra=extra)
    return _entry_of_other_names(item)


def _entry_of_other_names(item: dict[str, Any]) -> Entry:
    rank_name = present(item, _RANKS)
    user_name = present(item, USER_IDS)
    score_name = present(item, _SCORES)
    rank = whole(item.get(rank_name))
    user_id = identity(item.get(user_name))
    score = number(item.get(score_name))
    if rank is None or rank < 1 or user_id is None or score is None:
        raise PhoenixAnswerUnreadable("Phoenix's answer lists an entry without rank, user or score.")
    used = {rank_name, score_name}
    if not isinstance(item[user_name], dict):
        used.add(user_name)
    extra = {name: value for name, value in item.items() if name not in used}
    return Entry(rank=rank, user_id=user_id, score=score, extra=extra)


def _nested(root: Mapping[str, Any], names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [nested for name in names if isinstance(nested := root.get(name), dict)]


def _single(root: dict[str, Any] | list[Any], names: tuple[str, ...]) -> dict[str, Any] | None:
    """Return the object that holds one of `names`; None if the entry is null."""
    if isinstance(root, list):
        raise PhoenixAnswerUnreadable("Phoenix's answer is a list, but the gateway requested one entry.")
    if any(name in root and not isinstance(root[name], dict) for name in names) or root.get("ranked") is False:
        return root
    for nest in _SINGLE_NESTS:
        if nest in root:
            nested = root[nest]
            if nested is None:
                return None
            if isinstance(nested, dict):
                return nested
    return root


def _optional_rank(holder: Mapping[str, Any]) -> int | None:
    held = holder.get(present(holder, _RANKS))
    rank = whole(held)
    if held is not None and rank is None:
        raise PhoenixAnswerUnreadable("Phoenix's answer contains a rank that is not a whole number.")
    if rank is not None and rank < 0:
        raise PhoenixAnswerUnreadable("Phoenix's answer contains a rank below zero.")
    return rank or None


def _optional_score(holder: Mapping[str, Any]) -> float | None:
    held = holder.get(present(holder, _SCORES))
    score = number(held)
    if held is not None and score is None:
        raise PhoenixAnswerUnreadable("Phoenix's answer contains a score that is not a number.")
    return score


def _definition(holder: Mapping[str, Any]) -> Definition:
    def text(name: str) -> str:
        held = holder.get(name)
        return held if isinstance(held, str) else ""

    config = holder.get("config")
    return Definition(
        leaderboard_id=first_text([holder], _BOARD_IDS),
        tenant_id=text("tenant_id"),
        name=text("name"),
        description=text("description"),
        status=text("status"),
        version=whole(holder.get("version")) or 0,
        config=config if isinstance(config, dict) else {},
        created_at=text("created_at"),
        updated_at=text("updated_at"),
    )
