"""How old a live board certainly is not: since when Phoenix has shown all that it had to show.

That nothing comes proves nothing: a socket may be stuck. So a page is asked for, and when the answer is there the board
is no older than the question. A change that only came by itself leaves that as it is, as it may have been on its way
when the question left. Answers are told from changes by their type; where Phoenix's own types leave that open, there is
no proof, and nothing is served from the socket. Times are the process's monotonic seconds.
"""

from __future__ import annotations

import asyncio
from collections import deque

from gateway.resilience.clock import Clock

PATIENCE_S = 2.0
"""No further question, and no waiting for an answer, while the last or the first one is without one."""
FORGOTTEN_AFTER_S = 45.0
"""A question that was not answered for so long never will be: frames keep their order, and a connection on which
nothing came for so long is closed. Until then the next answer counts for it, and proves too little, never too much."""
_HOPELESS_AFTER = 3
"""So many questions in a row without an answer that can be told as one: this connection gives no proof."""


class Proof:
    """What is known of one board's age."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked: deque[float] = deque()
        self._opened_at = 0.0
        self._as_of: float | None = None
        self._is_exact = False
        self._unanswered = 0
        self._waiter: asyncio.Future[None] | None = None

    @property
    def as_of(self) -> float | None:
        """The moment that the board is no older than; None: not connected, or a change could not be applied."""
        return self._as_of if self._is_exact else None

    @property
    def is_asked(self) -> bool:
        """Whether a question was asked just now, so that another one would tell no more."""
        return bool(self._asked) and self._clock.monotonic() - self._asked[-1] < PATIENCE_S

    @property
    def is_worth_waiting(self) -> bool:
        """Whether answers come on this connection, and soon."""
        if self._unanswered >= _HOPELESS_AFTER:
            return False
        return not self._asked or self._clock.monotonic() - self._asked[0] < PATIENCE_S

    async def renewed(self, timeout_s: float) -> None:
        """Wait for the next answer, or for the end of the connection, but not longer than this."""
        if self._waiter is None:
            self._waiter = asyncio.get_running_loop().create_future()
        await asyncio.wait((self._waiter,), timeout=max(0.0, timeout_s))

    def opened(self, before: float) -> None:
        """A connection was opened, not before this moment; a page comes by itself."""
        self._opened_at = before
        self._unanswered = 0
        self._asked.clear()
        self._asked.append(before)

    def asked(self) -> None:
        """A page is asked for now."""
        now = self._clock.monotonic()
        while self._asked and now - self._asked[0] > FORGOTTEN_AFTER_S:
            self._asked.popleft()
            self._unanswered += 1
        self._asked.append(now)

    def answered(self, *, is_board: bool, is_certain: bool, is_whole: bool) -> None:
        """A page came.

        Args: `is_certain`: it answers the oldest question and is no change; `is_board`: it was taken for the board;
        `is_whole`: nothing has come up since that it may lack.
        """
        asked_at = self._opened_at
        if is_certain and self._asked:
            asked_at = self._asked.popleft()
            self._unanswered = 0
        if is_board:
            self._as_of = asked_at if self._as_of is None else max(self._as_of, asked_at)
            self._is_exact = is_whole
        if is_certain:
            self._wake()

    def doubted(self) -> None:
        """Something came that could not be applied: until a page has come, the board may be another."""
        self._is_exact = False

    def closed(self) -> None:
        """The connection is gone, and what it showed proves nothing any more."""
        self._as_of, self._is_exact = None, False
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
