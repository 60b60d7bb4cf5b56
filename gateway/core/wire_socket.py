"""Encode our messages on the live socket, and decode Phoenix's messages into frames.

Phoenix does not publish the form of its messages. A lenient decoder accepts full pages and changes: it uses the `type`
if that is known, and the members if there is no type. A message of an unknown type becomes Ignored. board.py applies
frames to a board. Source: gamification.md 3.3, 3.4.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from gateway.core.answer_values import first_text, first_whole, identity, load_answer, present
from gateway.core.board import Change, Frame, FullPage, Heartbeat, Ignored, Topic
from gateway.core.wire import Entry, Page
from gateway.core.wire_answers import page_in
from gateway.errors import PhoenixAnswerUnreadable

_TYPES = ("type", "event", "kind", "message_type", "messageType")
_SEQUENCES = ("sequence", "seq", "version", "revision")
_WINDOWS = ("window_key", "windowKey", "window")
_TOTALS = ("total", "total_count", "totalCount", "total_entries", "totalEntries")
_CHANGES = ("changes", "changed", "updates", "deltas", "diff")
_REMOVED = ("removed", "left", "deleted")
_NESTS = ("data", "payload", "leaderboard", "result")
_ENTRY_LISTS = ("entries", *_CHANGES)

_HEARTBEAT_TYPES = frozenset({"heartbeat", "ping", "pong", "keepalive", "keep_alive"})
_PAGE_TYPES = frozenset({"snapshot", "initial_snapshot", "initial", "page", "full", "state", "page_response", "resync"})
_CHANGE_TYPES = frozenset(
    {"change", "changes", "delta", "diff", "patch", "score_update", "score_changed", "rank_update"}
)
_UNCLEAR_TYPES = frozenset({"", "update", "updated", "data", "leaderboard", "board", "entries", "standings"})
_PREFIX = re.compile(r"^(leaderboard|board)[._:]")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def encode_configure(topic: Topic, page_size: int) -> str:
    """Return the message that configures a connection for the topic.

    It never sends a filter: the gateway takes the top of a board from its first page, so one connection serves all
    subscribers.
    """
    message: dict[str, Any] = {"type": "configure", "page": 1, "page_size": page_size}
    if topic.window_key:
        message["window_key"] = topic.window_key
    return orjson.dumps(message).decode()


def encode_request_page(page_size: int) -> str:
    """Return the message that requests the first page now."""
    return orjson.dumps({"type": "request_page", "page": 1, "page_size": page_size}).decode()


def decode_frame(message: bytes) -> Frame:
    """Decode one message. Raises: PhoenixAnswerUnreadable if it is not JSON, or if an essential member is missing."""
    root = load_answer(message)
    if isinstance(root, list):
        raise PhoenixAnswerUnreadable("Phoenix's live message is a list.")
    kind = _kind(root)
    if kind in _HEARTBEAT_TYPES:
        return Heartbeat()
    if kind not in _PAGE_TYPES | _CHANGE_TYPES | _UNCLEAR_TYPES:
        return Ignored()
    holders = [root, *(nested for name in _NESTS if isinstance(nested := root.get(name), dict))]
    sequence = first_whole(holders, _SEQUENCES)
    says_change = any(present(holder, _CHANGES + _REMOVED) for holder in holders)
    if kind in _CHANGE_TYPES or (kind in _UNCLEAR_TYPES and says_change):
        return _change(holders, sequence)
    page = _page(holders)
    if page is None:
        if not kind:
            return Ignored()
        raise PhoenixAnswerUnreadable("Phoenix's live message contains no readable list of entries.")
    return FullPage(page=page, sequence=sequence, certain=kind in _PAGE_TYPES)


def _kind(root: dict[str, Any]) -> str:
    held = root.get(present(root, _TYPES))
    if not isinstance(held, str):
        return ""
    return _PREFIX.sub("", _CAMEL.sub("_", held).lower().replace("-", "_"))


def _page(holders: list[dict[str, Any]]) -> Page | None:
    for holder in holders:
        page = page_in(holder)
        if page is not None:
            return Page(
                window_key=page.window_key or first_text(holders, _WINDOWS),
                entries=page.entries,
                total=page.total if page.total is not None else first_whole(holders, _TOTALS),
            )
    return None


def _change(holders: list[dict[str, Any]], sequence: int | None) -> Change:
    listed = next((held for h in holders for name in _ENTRY_LISTS if isinstance(held := h.get(name), list)), None)
    removed = next((held for h in holders for name in _REMOVED if isinstance(held := h.get(name), list)), None)
    entries: tuple[Entry, ...] = ()
    ranked = listed is not None or removed is not None
    if listed:
        try:
            page = page_in(listed)
        except PhoenixAnswerUnreadable:
            page, ranked = None, False  # no rank, or only a difference: a full page is needed
        entries = page.entries if page is not None else ()
    gone = [identity(each) for each in removed or ()]
    return Change(
        window_key=first_text(holders, _WINDOWS),
        entries=entries,
        removed=frozenset(each for each in gone if each is not None),
        total=first_whole(holders, _TOTALS),
        sequence=sequence,
        ranked=ranked and None not in gone,
    )
