"""Pages of a board that somebody watches, cut from what its live socket shows.

Only where the live state can answer exactly: the same window, entries that it certainly has, no change in doubt, and an
age that is proved and allowed. Otherwise there is no answer here, and the caches and Phoenix are asked. How an age is
proved: streams/freshness.py. Source: issue 6, point 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.actions.boards.board_pages import Cut, next_page_token
from gateway.actions.boards.read_values import ReadAnswer, ReadCacheSettings, Source
from gateway.core.board import CURRENT_WINDOW, Topic, holds_all
from gateway.core.wire import Page
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.streams.board_connection import BoardConnection
from gateway.streams.hub import Hub
from gateway.streams.upstream import LiveState

_KEPT_BYTES = 256 * 1024
"""Of serialised pages that are kept of one state; it lives until the board changes."""


class PageEncoder(Protocol):
    """Serialises pages, their freshness left out."""

    def page(self, page: Page, next_page_token: str) -> bytes:
        """Of GetLeaderboard."""
        ...


class LivePages:
    """Reads of boards that are live."""

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
        """Whether there is a live board at all."""
        return self._hub.boards > 0

    async def page(self, cut: Cut, max_staleness_s: float | None, deadline: Deadline) -> ReadAnswer | None:
        """Return a GetLeaderboardResponse, None where the live state cannot answer exactly.

        Waits, not long, while an age that may be too high is being proved anew.
        """
        connection, is_own = self._connection(cut)
        if connection is None:
            return None
        allowed_s = self._settings.fresh_of(cut.leaderboard_id) if max_staleness_s is None else max_staleness_s
        for is_last_look in (False, True):
            state, as_of = connection.state, connection.freshness.as_of
            if allowed_s <= 0 or state is None or as_of is None:
                return None
            if not holds_all(state.page, cut.offset + cut.size, state.asked_for):
                return None
            if not (is_own or _is_meant(state.page, cut.window_key)):
                return None
            age_s = self._clock.monotonic() - as_of
            if age_s > allowed_s / 2:
                connection.request_page()
            if age_s <= allowed_s:
                self._on_lookup("leaderboard", "socket")
                payload = self._payload(state, cut)
                return ReadAnswer(
                    payload=payload, window_key=state.page.window_key, source=Source.SOCKET, age_s=max(0.0, age_s)
                )
            if is_last_look or not connection.freshness.answers_soon:
                return None
            await connection.freshness.wait_for_answer(min(self._settings.patience_s, deadline.remaining()))
        return None

    def _connection(self, cut: Cut) -> tuple[BoardConnection | None, bool]:
        """Return a connection that may show the window, and whether it is the window's own."""
        connection = self._hub.live(Topic(cut.tenant_id, cut.leaderboard_id, cut.window_key))
        if connection is not None or cut.window_key == CURRENT_WINDOW:
            return connection, True
        for window_key in ("", CURRENT_WINDOW):
            connection = self._hub.live(Topic(cut.tenant_id, cut.leaderboard_id, window_key))
            if connection is not None:
                return connection, False
        return None, False

    def _payload(self, state: LiveState, cut: Cut) -> bytes:
        kept = state.encoded_pages.get((cut.offset, cut.size))
        if kept is not None:
            return kept
        end = cut.offset + cut.size
        page = Page(
            window_key=state.page.window_key, entries=state.page.entries[cut.offset : end], total=state.page.total
        )
        payload = self._encoder.page(page, next_page_token(cut, page))
        if len(payload) + sum(map(len, state.encoded_pages.values())) <= _KEPT_BYTES:
            state.encoded_pages[(cut.offset, cut.size)] = payload
        return payload


def _is_meant(page: Page, window_key: str) -> bool:
    """Whether a page of an unnamed window is what another name stands for: a key, or none while it is not empty."""
    return page.window_key == window_key if window_key else bool(page.entries)
