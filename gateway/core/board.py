"""Hold the state of a live board: apply full pages and changes, and request a new page where a change is unclear.

Pure rules. The gateway never guesses a board: a change that cannot be applied with certainty leaves the board unchanged
and requests a page. wire_socket.py knows Phoenix's member names; gateway/streams owns the connections.
Source: gamification.md 3.2 to 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from gateway.core.types import TenantId
from gateway.core.wire import Entry, Page

DEFAULT_PAGE_SIZE = 100
CURRENT_WINDOW = "current"
_UNNAMED = ("", CURRENT_WINDOW)


class Topic(NamedTuple):
    """One board in one window: what one connection follows. `window_key`: "" or "current" means the active window."""

    tenant_id: TenantId
    leaderboard_id: str
    window_key: str = ""

    @property
    def is_named(self) -> bool:
        """Whether the window has a key of its own."""
        return self.window_key not in _UNNAMED


@dataclass(frozen=True, slots=True, kw_only=True)
class FullPage:
    """A page as Phoenix sent it. `certain` False: the message type allows a full page or only changed entries.

    `answers` False: it came by itself, although it is a full page.
    """

    page: Page
    sequence: int | None = None
    certain: bool = True
    answers: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Entries that are new or changed, and users that left the board. `ranked` False: the change carries no ranks."""

    window_key: str
    entries: tuple[Entry, ...]
    removed: frozenset[str]
    total: int | None = None
    sequence: int | None = None
    ranked: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The board did not change; the connection works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A message of an unknown type."""


Frame = FullPage | Change | Heartbeat | Ignored


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """The state of a board within one connection.

    `size`: how many entries the gateway requested. `page` None: no page received yet. `sequence`: the last sequence
    number that Phoenix sent, if it sends any.
    """

    topic: Topic
    size: int = DEFAULT_PAGE_SIZE
    page: Page | None = None
    sequence: int | None = None
    pages_seen: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyResult:
    """The result of one frame. `needs_page`: the board is unclear, request a page. `is_page`: the frame was a page."""

    board: Board
    changed: bool = False
    needs_page: bool = False
    is_page: bool = False


def apply(board: Board, frame: Frame) -> ApplyResult:
    """Return the board after one frame. Applying the same frame again changes nothing."""
    match frame:
        case FullPage():
            if not frame.certain and not _is_whole(board, frame.page):
                return _change(board, _as_change(frame))
            return _full(board, frame)
        case Change():
            return _change(board, frame)
        case Heartbeat() | Ignored():
            return ApplyResult(board=board)


def _full(board: Board, frame: FullPage) -> ApplyResult:
    topic = board.topic
    seen = replace(board, pages_seen=board.pages_seen + 1)
    if _is_older(board, frame.sequence):
        return ApplyResult(board=seen)
    if topic.is_named and frame.page.window_key not in ("", topic.window_key):
        return ApplyResult(board=seen, needs_page=board.page is None)
    if board.pages_seen == 0 and topic.window_key and frame.page.window_key != topic.window_key:
        # Phoenix sends a window of its own choice first, before it reads our configuration. The right one follows.
        return ApplyResult(board=seen)
    page = first(frame.page, board.size)
    sequence = board.sequence if frame.sequence is None else frame.sequence
    return ApplyResult(board=replace(seen, page=page, sequence=sequence), changed=page != board.page, is_page=True)


def _change(board: Board, change: Change) -> ApplyResult:
    if board.page is None:
        return ApplyResult(board=board, needs_page=True)
    if change.sequence is not None and board.sequence is not None:
        if change.sequence <= board.sequence:
            return ApplyResult(board=board)
        if change.sequence > board.sequence + 1:
            return ApplyResult(board=board, needs_page=True)
    other_window = change.window_key not in ("", board.page.window_key)
    if other_window or not change.ranked:
        return ApplyResult(board=board, needs_page=True)
    by_user = {entry.user_id: entry for entry in board.page.entries if entry.user_id not in change.removed}
    by_user.update({entry.user_id: entry for entry in change.entries})
    total = board.page.total if change.total is None else change.total
    entries = sorted(by_user.values(), key=lambda entry: entry.rank)[: board.size]
    is_short = len(entries) < min(board.size, total if total is not None else len(board.page.entries))
    if is_short or not is_plausible(entries):
        return ApplyResult(board=board, needs_page=True)
    page = Page(window_key=board.page.window_key, entries=tuple(entries), total=total)
    sequence = board.sequence if change.sequence is None else change.sequence
    return ApplyResult(board=replace(board, page=page, sequence=sequence), changed=page != board.page)


def is_plausible(entries: Sequence[Entry]) -> bool:
    """Tell whether entries in rank order can be the top of a board: ranks have no gap, and a rank has one score.

    Equal scores may or may not share a rank: Phoenix does not publish its rule for ties.
    """
    for place, entry in enumerate(entries, start=1):
        if place > 1 and entry.rank == entries[place - 2].rank:
            if entry.score != entries[place - 2].score:
                return False
        elif entry.rank > place or entry.rank < 1:
            return False
    return True


def _is_whole(board: Board, page: Page) -> bool:
    """Tell whether entries of an unclear type are a full page: from rank 1, without a gap, not shorter than before."""
    if board.page is None:
        return True
    least = min(len(board.page.entries), board.size)
    if page.total is not None:
        least = min(least, page.total)
    return len(page.entries) >= least and is_plausible(page.entries)


def _as_change(frame: FullPage) -> Change:
    page = frame.page
    return Change(
        window_key=page.window_key,
        entries=page.entries,
        removed=frozenset(),
        total=page.total,
        sequence=frame.sequence,
    )


def _is_older(board: Board, sequence: int | None) -> bool:
    return sequence is not None and board.sequence is not None and sequence < board.sequence


def first(page: Page, count: int) -> Page:
    """Return a page with the first `count` entries; the same page if it has no more."""
    if len(page.entries) <= count:
        return page
    return Page(window_key=page.window_key, entries=page.entries[:count], total=page.total)


def holds_all(page: Page, count: int, asked_for: int) -> bool:
    """Tell whether a page from rank 1 certainly has the board's first `count` entries, or all entries of the board.

    `asked_for`: the page size that the gateway requested. Phoenix does not publish its limit. The limit may be lower
    than the request but not lower than Phoenix's default size, so a page below the default size is the whole board.
    """
    entries = len(page.entries)
    if entries >= count:
        return True
    return entries >= page.total if page.total is not None else entries < min(asked_for, DEFAULT_PAGE_SIZE)
