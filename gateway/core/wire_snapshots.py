"""Decode answers about snapshots and about a user's neighbours, as leniently as wire_answers.py decodes boards.

Two forms of neighbours are accepted: a page around the user, or lists above and below with the user's entry between.
Source: gamification.md 2.2; Phoenix does not publish the bodies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.core.answer_values import first_text, first_whole, load_answer, names_any, present
from gateway.core.wire_answers import Entry, Page, RankAnswer, decode_rank, decode_score, page_in
from gateway.errors import PhoenixAnswerUnreadable

_NESTS = ("data", "result", "leaderboard", "user", "snapshots")
_ABOVE = ("above", "before", "ahead", "higher", "previous")
_BELOW = ("below", "after", "behind", "lower", "next")
_OWN = ("user", "entry", "self", "current")
_RANKS = ("rank", "position")
_SNAPSHOT_LISTS = ("snapshots", "data", "items", "results")
_TIMES = (
    "snapshot_time", "snapshotTime", "time", "timestamp", "taken_at", "takenAt", "created_at", "createdAt"
)  # fmt: skip
_WINDOWS = ("window_key", "windowKey", "window")
_COUNTS = ("total_entries", "totalEntries", "entry_count", "entryCount", "total", "count")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbors:
    """The entries around a user; empty if the user is not ranked. `page.total` is never set."""

    ranked: bool
    page: Page


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotInfo:
    """An existing snapshot. `taken_at_us`: Unix microseconds, identifies it; `extra`: members with no field here."""

    taken_at_us: int
    window_key: str
    total: int | None
    extra: dict[str, Any]


def decode_neighbors(body: bytes) -> Neighbors:
    """Return the entries around a user, by rank.

    Only a ranked user has neighbours, so entries mean that the user is ranked, unless the answer says otherwise.
    Raises: PhoenixAnswerUnreadable.
    """
    root = load_answer(body)
    page = page_in(root)
    holders: list[dict[str, Any]] = []
    if isinstance(root, dict):
        holders = [root, *(nested for name in _NESTS if isinstance(nested := root.get(name), dict))]
    if page is None:
        page = _between(holders)
    if page is None:
        raise PhoenixAnswerUnreadable("Phoenix's answer contains no readable entries around the user.")
    if not page.entries or any(_says_unranked(holder) for holder in holders):
        return Neighbors(ranked=False, page=Page(window_key=page.window_key, entries=(), total=None))
    return Neighbors(ranked=True, page=Page(window_key=page.window_key, entries=page.entries, total=None))


def decode_snapshots(body: bytes) -> tuple[SnapshotInfo, ...]:
    """Return the snapshots that an answer lists, in its order. Raises: PhoenixAnswerUnreadable."""
    root = load_answer(body)
    listed: object = root
    if isinstance(root, dict):
        holders = [root, *(nested for name in _NESTS if isinstance(nested := root.get(name), dict))]
        listed = next(
            (held for holder in holders for name in _SNAPSHOT_LISTS if isinstance(held := holder.get(name), list)), None
        )
    if not isinstance(listed, list):
        raise PhoenixAnswerUnreadable("Phoenix's answer contains no readable list of snapshots.")
    return tuple([_snapshot(item) for item in listed])


def decode_user_snapshot(body: bytes) -> RankAnswer:
    """Return a user's place in a snapshot, from the rank or the score in the answer.

    Raises: PhoenixAnswerUnreadable if the answer contains neither, nor their absence.
    """
    try:
        return decode_rank(body)
    except PhoenixAnswerUnreadable:
        answer = decode_score(body)
        return RankAnswer(ranked=answer.ranked, rank=answer.rank, score=answer.score)


def snapshot_time_text(at_us: int) -> str:
    """Return Unix microseconds as Phoenix writes a snapshot's time, such as 2025-11-18T12:00:00Z."""
    at = (_EPOCH + at_us * _MICROSECOND).replace(tzinfo=None)
    digits = "seconds" if at.microsecond == 0 else "milliseconds" if at.microsecond % 1000 == 0 else "microseconds"
    return f"{at.isoformat(timespec=digits)}Z"


def _between(holders: list[dict[str, Any]]) -> Page | None:
    for holder in holders:
        above, own, below = present(holder, _ABOVE), present(holder, _OWN), present(holder, _BELOW)
        lists = [held for name in (above, below) if isinstance(held := holder.get(name), list)]
        if not lists:
            continue
        if own and holder[own] is None:
            return Page(window_key=first_text(holders, _WINDOWS), entries=(), total=None)
        middle = [holder[own]] if own and isinstance(holder[own], dict) else []
        page = page_in([item for listed in lists for item in listed] + middle)
        if page is not None:
            entries: tuple[Entry, ...] = tuple(sorted(page.entries, key=lambda entry: entry.rank))
            return Page(window_key=first_text(holders, _WINDOWS), entries=entries, total=None)
    return None


def _says_unranked(holder: Mapping[str, Any]) -> bool:
    if holder.get("ranked") is False:
        return True
    return names_any(holder, _RANKS) and holder[present(holder, _RANKS)] in (None, 0)


def _snapshot(item: object) -> SnapshotInfo:
    if isinstance(item, str):
        item = {"snapshot_time": item}
    if not isinstance(item, dict):
        raise PhoenixAnswerUnreadable("Phoenix's answer lists a snapshot that is not an object.")
    time_name = next((name for name in _TIMES if isinstance(item.get(name), str)), "")
    taken_at_us = _microseconds(item[time_name]) if time_name else None
    if taken_at_us is None:
        raise PhoenixAnswerUnreadable("Phoenix's answer lists a snapshot without a readable time.")
    count_name = next((name for name in _COUNTS if first_whole([item], (name,)) is not None), "")
    used = {time_name, count_name, *(name for name in _WINDOWS if isinstance(item.get(name), str))}
    return SnapshotInfo(
        taken_at_us=taken_at_us,
        window_key=first_text([item], _WINDOWS),
        total=first_whole([item], (count_name,)) if count_name else None,
        extra={name: value for name, value in item.items() if name not in used},
    )


def _microseconds(text: str) -> int | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    try:
        return (at - _EPOCH) // _MICROSECOND
    except OverflowError:
        return None
