"""A live board's state: what a full page or a change makes of it, and when only a new page can tell.

Pure rules. A board is never guessed: a change that cannot be applied for certain leaves it as it is and asks for a
page. Leaves the vendor's member names to wire_socket.py, connections to the streams room. Source: gamification.md 3.2
to 3.4.
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
    """One board in one window: what one connection follows. `window_key`: "" or "current" for the active one."""

    tenant_id: TenantId
    leaderboard_id: str
    window_key: str = ""

    @property
    def is_named(self) -> bool:
        """Whether the window has a key of its own."""
        return self.window_key not in _UNNAMED


@dataclass(frozen=True, slots=True, kw_only=True)
class FullPage:
    """A page as Phoenix sent it. `certain` False: its kind does not say whether it is a page or the changed entries."""

    page: Page
    sequence: int | None = None
    certain: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Entries that are new or stand elsewhere, and users that left. `ranked` False: it names no places."""

    window_key: str
    entries: tuple[Entry, ...]
    removed: frozenset[str]
    total: int | None = None
    sequence: int | None = None
    ranked: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """Nothing happened; the connection lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A message of a type that is not known here."""


Frame = FullPage | Change | Heartbeat | Ignored


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """What is known within one connection.

    `size`: how many entries Phoenix was asked to show. `page` None: nothing yet. `sequence`: Phoenix's own, where it
    sends one.
    """

    topic: Topic
    size: int = DEFAULT_PAGE_SIZE
    page: Page | None = None
    sequence: int | None = None
    pages_seen: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a frame made of a board. `needs_page`: only a new page can tell how it stands now; `is_page`: one came."""

    board: Board
    changed: bool = False
    needs_page: bool = False
    is_page: bool = False


def apply(board: Board, frame: Frame) -> Applied:
    """Return the board after one frame; the same frame again changes nothing."""
    match frame:
        case FullPage():
            if not frame.certain and not _is_whole(board, frame.page):
                return _change(board, _as_change(frame))
            return _full(board, frame)
        case Change():
            return _change(board, frame)
        case Heartbeat() | Ignored():
            return Applied(board=board)


def _full(board: Board, frame: FullPage) -> Applied:
    topic = board.topic
    seen = replace(board, pages_seen=board.pages_seen + 1)
    if _is_older(board, frame.sequence):
        return Applied(board=seen)
    if topic.is_named and frame.page.window_key not in ("", topic.window_key):
        return Applied(board=seen, needs_page=board.page is None)
    if board.pages_seen == 0 and topic.window_key and frame.page.window_key != topic.window_key:
        # Phoenix shows a window of its own choice at once, before it has read what was configured; that follows.
        return Applied(board=seen)
    page = first(frame.page, board.size)
    sequence = board.sequence if frame.sequence is None else frame.sequence
    return Applied(board=replace(seen, page=page, sequence=sequence), changed=page != board.page, is_page=True)


def _change(board: Board, change: Change) -> Applied:
    if board.page is None:
        return Applied(board=board, needs_page=True)
    if change.sequence is not None and board.sequence is not None:
        if change.sequence <= board.sequence:
            return Applied(board=board)
        if change.sequence > board.sequence + 1:
            return Applied(board=board, needs_page=True)
    other_window = change.window_key not in ("", board.page.window_key)
    if other_window or not change.ranked:
        return Applied(board=board, needs_page=True)
    by_user = {entry.user_id: entry for entry in board.page.entries if entry.user_id not in change.removed}
    by_user.update({entry.user_id: entry for entry in change.entries})
    total = board.page.total if change.total is None else change.total
    entries = sorted(by_user.values(), key=lambda entry: entry.rank)[: board.size]
    is_short = len(entries) < min(board.size, total if total is not None else len(board.page.entries))
    if is_short or not is_plausible(entries):
        return Applied(board=board, needs_page=True)
    page = Page(window_key=board.page.window_key, entries=tuple(entries), total=total)
    sequence = board.sequence if change.sequence is None else change.sequence
    return Applied(board=replace(board, page=page, sequence=sequence), changed=page != board.page)


def is_plausible(entries: Sequence[Entry]) -> bool:
    """Tell whether entries in rank order can be the top of one board: no gap, and one rank has one score.

    Equal scores may share a rank or not; Phoenix's rule for ties is not published.
    """
    for place, entry in enumerate(entries, start=1):
        if place > 1 and entry.rank == entries[place - 2].rank:
            if entry.score != entries[place - 2].score:
                return False
        elif entry.rank > place or entry.rank < 1:
            return False
    return True


def _is_whole(board: Board, page: Page) -> bool:
    """Whether entries of an unclear kind are a page: it begins at the top, has no gap, is no shorter than before."""
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
    """Return the first entries of a page; the page itself where it has no more."""
    if len(page.entries) <= count:
        return page
    return Page(window_key=page.window_key, entries=page.entries[:count], total=page.total)


def holds_all(page: Page, count: int, asked_for: int) -> bool:
    """Tell whether a page from the top certainly has the board's first `count` entries, or all if those are fewer.

    `asked_for`: the page's size as Phoenix was asked for it. Phoenix's own limit is not published and may be lower, but
    not than its default: a page below that is the whole board.
    """
    entries = len(page.entries)
    if entries >= count:
        return True
    return entries >= page.total if page.total is not None else entries < min(asked_for, DEFAULT_PAGE_SIZE)
