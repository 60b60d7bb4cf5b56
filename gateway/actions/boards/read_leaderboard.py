"""Read a board: pages, neighbours, ranks and scores, through the cache or from the live state.

The cache stores answers as the `encoder` serialised them, so a hit needs no conversion. Page tokens are opaque to
callers and contain the window, so that pages of different windows never mix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from gateway.actions.boards.board_pages import PAGES, UNNAMED, PageRange, encode_page
from gateway.actions.boards.cached_read import CachedReads
from gateway.actions.boards.closed_windows import ClosedWindows
from gateway.actions.boards.live_pages import LivePages
from gateway.actions.boards.read_values import Fetch, Fetched, ReadAnswer, ReadKey
from gateway.actions.shared.call import Call
from gateway.actions.shared.contexts import TenantContext
from gateway.actions.shared.directory import TenantDirectory
from gateway.actions.shared.page_token import decode_page_token, token_fault
from gateway.core.board import CURRENT_WINDOW, DEFAULT_PAGE_SIZE
from gateway.core.wire import Neighbors, Page, RankAnswer, ScoreAnswer
from gateway.errors import WindowChanged
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline


class BoardEncoder(Protocol):
    """Serialises answers without their freshness."""

    def page(self, page: Page, next_page_token: str) -> bytes:
        """Serialise a GetLeaderboardResponse."""
        ...

    def neighbors(self, neighbors: Neighbors) -> bytes:
        """Serialise a GetUserNeighborsResponse."""
        ...

    def rank(self, answer: RankAnswer) -> bytes:
        """Serialise a GetUserRankResponse."""
        ...

    def score(self, answer: ScoreAnswer) -> bytes:
        """Serialise a GetUserScoreResponse."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRead:
    """One user on one board. `max_staleness_s`: None for the board's setting."""

    tenant_id: str
    leaderboard_id: str
    user_id: str
    max_staleness_s: float | None


class PageRead(NamedTuple):
    """One page of a board. `page_size`: None for the default."""

    tenant_id: str
    leaderboard_id: str
    window_key: str
    page_size: int | None
    page_token: str
    max_staleness_s: float | None


class ReadLeaderboard:
    """The actions behind LeaderboardService's reads of boards."""

    def __init__(
        self,
        tenants: TenantDirectory[TenantContext],
        reads: CachedReads,
        encoder: BoardEncoder,
        closed: ClosedWindows,
        clock: Clock,
        live: LivePages | None = None,
    ) -> None:
        self._tenants = tenants
        self._reads = reads
        self._encoder = encoder
        self._closed = closed
        self._clock = clock
        self._live = live

    async def page(self, read: PageRead, call: Call) -> ReadAnswer:
        """Return one page of a board, as GetLeaderboardResponse.

        Raises: InvalidField for a token that is invalid or belongs to another board or window; WindowChanged if Phoenix
        answers with a window other than the token's; UpstreamFault.
        """
        context = self._tenants.resolve(read.tenant_id, call)
        window_key, offset, size = read.window_key, 0, read.page_size or DEFAULT_PAGE_SIZE
        if read.page_token:
            token = decode_page_token(
                read.page_token, of=PAGES, tenant_id=context.tenant_id, leaderboard_id=read.leaderboard_id
            )
            if read.window_key and read.window_key not in (token.place, CURRENT_WINDOW):
                raise token_fault("belongs to another window_key")
            window_key, offset = token.place, token.offset
        page_range = PageRange(context.tenant_id, read.leaderboard_id, window_key, offset, size)
        if self._live is not None and self._live.any:
            live = await self._live.page(page_range, read.max_staleness_s, call.deadline)
            if live is not None:
                return live
        key = ReadKey(context.tenant_id, read.leaderboard_id, PAGES, (window_key, str(size), str(offset)))
        answer = self._reads.get_fresh(key, read.max_staleness_s)
        if answer is None:
            answer = await self._fetch_page(context, page_range, key, read.max_staleness_s, call)
        if read.page_token and window_key not in UNNAMED and answer.window_key not in ("", window_key):
            raise WindowChanged()
        return answer

    async def _fetch_page(
        self, context: TenantContext, page_range: PageRange, key: ReadKey, max_staleness_s: float | None, call: Call
    ) -> ReadAnswer:
        """Return a page that is not fresh in this process."""

        async def fetch(deadline: Deadline) -> Fetched:
            asked_at = self._clock.monotonic()
            page = await context.boards.page(
                page_range.leaderboard_id,
                deadline,
                limit=page_range.size,
                offset=page_range.offset,
                window_key=page_range.window_key,
            )
            payload = encode_page(page_range, page, self._encoder.page)
            return self._page_fetched(key, page, page_range.window_key, payload, asked_at)

        return await self._answer(key, fetch, max_staleness_s, call)

    def check_tenant(self, tenant_id: str, call: Call) -> None:
        """Check the tenant of a whole batch. Raises: TenantUnknown, InvalidField."""
        self._tenants.resolve(tenant_id, call)

    async def neighbors(self, read: UserRead, call: Call, *, window_key: str, size: int | None) -> ReadAnswer:
        """Return the entries around a user, as GetUserNeighborsResponse. Raises: UpstreamFault."""
        context = self._tenants.resolve(read.tenant_id, call)
        limit = size or DEFAULT_PAGE_SIZE
        detail = (read.user_id, window_key, str(limit))
        key = ReadKey(context.tenant_id, read.leaderboard_id, "neighbors", detail)

        async def fetch(deadline: Deadline) -> Fetched:
            asked_at = self._clock.monotonic()
            found = await context.boards.neighbors(
                read.leaderboard_id, read.user_id, deadline, limit=limit, window_key=window_key
            )
            return self._page_fetched(key, found.page, window_key, self._encoder.neighbors(found), asked_at)

        return await self._answer(key, fetch, read.max_staleness_s, call)

    async def rank(self, read: UserRead, call: Call) -> ReadAnswer:
        """Return a user's rank in the latest window, as GetUserRankResponse. Raises: UpstreamFault."""
        context = self._tenants.resolve(read.tenant_id, call)

        async def fetch(deadline: Deadline) -> Fetched:
            found = await context.boards.rank(read.leaderboard_id, read.user_id, deadline)
            return Fetched(payload=self._encoder.rank(found))

        key = ReadKey(context.tenant_id, read.leaderboard_id, "rank", (read.user_id,))
        return await self._answer(key, fetch, read.max_staleness_s, call)

    async def score(self, read: UserRead, call: Call) -> ReadAnswer:
        """Return a user's score in the latest window, as GetUserScoreResponse. Raises: UpstreamFault."""
        context = self._tenants.resolve(read.tenant_id, call)

        async def fetch(deadline: Deadline) -> Fetched:
            found = await context.boards.score(read.leaderboard_id, read.user_id, deadline)
            return Fetched(payload=self._encoder.score(found))

        key = ReadKey(context.tenant_id, read.leaderboard_id, "score", (read.user_id,))
        return await self._answer(key, fetch, read.max_staleness_s, call)

    async def _answer(self, key: ReadKey, fetch: Fetch, max_staleness_s: float | None, call: Call) -> ReadAnswer:
        return await self._reads.read(
            key, fetch, max_staleness_s=max_staleness_s, arrived_at=call.arrived_at, deadline=call.deadline
        )

    def _page_fetched(self, key: ReadKey, page: Page, asked_for: str, payload: bytes, asked_at: float) -> Fetched:
        window_key = page.window_key or ("" if asked_for in UNNAMED else asked_for)
        if page.entries:
            self._closed.saw_page(
                key.board,
                window_key=window_key,
                is_active=asked_for in UNNAMED,
                asked_at=asked_at,
                answered_at=self._clock.monotonic(),
            )
        # An unnamed window means another window at another time, so its answer is never final.
        is_final = asked_for not in UNNAMED and self._closed.is_final(key.board, window_key, asked_at)
        return Fetched(payload=payload, window_key=page.window_key, is_final=is_final)
