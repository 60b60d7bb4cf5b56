"""Serve pages of a watched board from its live state.

Only if the live state can answer exactly: the same window, entries that it certainly has, no uncertain change, and an
age that is proven and allowed. Otherwise the caches and Phoenix answer. streams/freshness.py tracks the age.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.actions.boards.board_pages import PageRange, encode_page
from gateway.actions.boards.read_values import ReadAnswer, ReadCacheSettings, Source
from gateway.core.board import CURRENT_WINDOW, Topic, holds_all
from gateway.core.wire import Page
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.streams.board_connection import BoardConnection
from gateway.streams.hub import Hub
from gateway.streams.upstream import LiveState

_ENCODED_BYTES = 256 * 1024
"""Size of the serialised pages stored with one state. A state lasts until the board changes."""


class PageEncoder(Protocol):
    """Serialises pages without their freshness."""

    def page(self, page: Page, next_page_token: str) -> bytes:
        """Serialise a GetLeaderboardResponse."""
        ...


class LivePages:
    """Reads of live boards."""

    def __init__(
        self,
        hub: Hub,
        encoder: PageEncoder,
        settings: ReadCacheSettings,
        clock: Clock,
        on_lookup: Callable[[str, str], None] = lambda purpose, result: None,
    ) -> None:
        self._hub = hub
        self._encoder = encoder
        self._settings = settings
        self._clock = clock
        self._on_lookup = on_lookup

    @property
    def any(self) -> bool:
        """Whether there is any live board."""
        return self._hub.boards > 0

    async def page(self, page_range: PageRange, max_staleness_s: float | None, deadline: Deadline) -> ReadAnswer | None:
        """Return a GetLeaderboardResponse, or None if the live state cannot answer exactly.

        If the age may be too high, it waits a short time for a new proof of freshness.
        """
        connection, is_own = self._connection(page_range)
        if connection is None:
            return None
        allowed_s = self._settings.fresh_of(page_range.leaderboard_id) if max_staleness_s is None else max_staleness_s
        for is_last_check in (False, True):
            state, as_of = connection.state, connection.freshness.as_of
            if allowed_s <= 0 or state is None or as_of is None:
                return None
            if not holds_all(state.page, page_range.offset + page_range.size, state.asked_for):
                return None
            if not (is_own or _is_requested_window(state.page, page_range.window_key)):
                return None
            age_s = self._clock.monotonic() - as_of
            if age_s > allowed_s / 2:
                connection.request_page()
            if age_s <= allowed_s:
                self._on_lookup("leaderboard", "socket")
                payload = self._payload(state, page_range)
                return ReadAnswer(
                    payload=payload, window_key=state.page.window_key, source=Source.SOCKET, age_s=max(0.0, age_s)
                )
            if is_last_check or not connection.freshness.answers_soon:
                return None
            await connection.freshness.wait_for_answer(min(self._settings.patience_s, deadline.remaining()))
        return None

    def _connection(self, page_range: PageRange) -> tuple[BoardConnection | None, bool]:
        """Return a connection that may show the window, and whether its topic names this window."""
        connection = self._hub.live(Topic(page_range.tenant_id, page_range.leaderboard_id, page_range.window_key))
        if connection is not None or page_range.window_key == CURRENT_WINDOW:
            return connection, True
        for window_key in ("", CURRENT_WINDOW):
            connection = self._hub.live(Topic(page_range.tenant_id, page_range.leaderboard_id, window_key))
            if connection is not None:
                return connection, False
        return None, False

    def _payload(self, state: LiveState, page_range: PageRange) -> bytes:
        entry = state.encoded_pages.get((page_range.offset, page_range.size))
        if entry is not None:
            return entry
        end = page_range.offset + page_range.size
        page = Page(
            window_key=state.page.window_key,
            entries=state.page.entries[page_range.offset : end],
            total=state.page.total,
        )
        payload = encode_page(page_range, page, self._encoder.page)
        if len(payload) + sum(map(len, state.encoded_pages.values())) <= _ENCODED_BYTES:
            state.encoded_pages[(page_range.offset, page_range.size)] = payload
        return payload


def _is_requested_window(page: Page, window_key: str) -> bool:
    """Tell whether a page of an unnamed window is the requested window: it has the key, or no key was requested."""
    return page.window_key == window_key if window_key else bool(page.entries)
