"""Track the greatest possible age of a live board.

Silence proves nothing, because a socket may be stuck. So the gateway requests a page; when the answer arrives, the
board is not older than the request. A change that arrives by itself does not update this time: it may have been sent
before the request. Answers and changes differ by their type. If Phoenix's types do not show the difference, the age is
unknown and nothing is served from the socket. Times are monotonic seconds of this process.
"""

from __future__ import annotations

import asyncio
from collections import deque

from gateway.resilience.clock import Clock

ANSWER_WITHIN_S = 2.0
"""While the last request is younger than this, no other is sent. If the oldest pending one is older, do not wait."""
FORGOTTEN_AFTER_S = 45.0
"""A request without an answer for this long will never get one: frames keep their order, and a connection that is
silent for this long is closed. Until then the next answer counts for this request, so the age is overestimated, never
underestimated."""
_UNANSWERED_LIMIT = 3
"""After this many requests in a row without a recognisable answer, this connection cannot prove freshness."""


class Freshness:
    """The greatest possible age of one board."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._requested: deque[float] = deque()
        self._opened_at = 0.0
        self._as_of: float | None = None
        self._is_exact = False
        self._unanswered = 0
        self._waiter: asyncio.Future[None] | None = None

    @property
    def as_of(self) -> float | None:
        """The board is not older than this moment. None: not connected, or a change could not be applied."""
        return self._as_of if self._is_exact else None

    @property
    def is_requested(self) -> bool:
        """Whether a request was sent so recently that another one would add nothing."""
        return bool(self._requested) and self._clock.monotonic() - self._requested[-1] < ANSWER_WITHIN_S

    @property
    def answers_soon(self) -> bool:
        """Whether an answer is likely to arrive soon on this connection."""
        if self._unanswered >= _UNANSWERED_LIMIT:
            return False
        return not self._requested or self._clock.monotonic() - self._requested[0] < ANSWER_WITHIN_S

    async def wait_for_answer(self, timeout_s: float) -> None:
        """Wait for the next answer or the end of the connection, at most `timeout_s`."""
        if self._waiter is None:
            self._waiter = asyncio.get_running_loop().create_future()
        await asyncio.wait((self._waiter,), timeout=max(0.0, timeout_s))

    def opened(self, before: float) -> None:
        """Record that a connection was opened, not before this moment. Phoenix sends a first page by itself."""
        self._opened_at = before
        self._unanswered = 0
        self._requested.clear()
        self._requested.append(before)

    def requested(self) -> None:
        """Record that a page is requested now."""
        now = self._clock.monotonic()
        while self._requested and now - self._requested[0] > FORGOTTEN_AFTER_S:
            self._requested.popleft()
            self._unanswered += 1
        self._requested.append(now)

    def answered(self, *, is_board: bool, is_certain: bool, is_whole: bool) -> None:
        """Record that a page arrived.

        Args: `is_certain`: it answers the oldest request and is not a change; `is_board`: it became the board;
        `is_whole`: no change is pending that it may lack.
        """
        requested_at = self._opened_at
        if is_certain and self._requested:
            requested_at = self._requested.popleft()
            self._unanswered = 0
        if is_board:
            self._as_of = requested_at if self._as_of is None else max(self._as_of, requested_at)
            self._is_exact = is_whole
        if is_certain:
            self._wake()

    def mark_uncertain(self) -> None:
        """Record a frame that could not be applied. Until the next page, the board may be wrong."""
        self._is_exact = False

    def closed(self) -> None:
        """Record the end of the connection. What it showed proves nothing any more."""
        self._as_of, self._is_exact = None, False
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
