"""Reads of a leaderboard: a page, one user's rank, one user's score.

Page tokens are opaque to callers and carry the window, so that pages of two windows never mix.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.actions.call import Call
from gateway.actions.directory import TenantDirectory
from gateway.actions.page_token import PageToken, decode_page_token, encode_page_token
from gateway.actions.rooms import TenantRoom
from gateway.core.wire import Page, RankAnswer, ScoreAnswer
from gateway.errors import FieldFault, InvalidField, WindowChanged

DEFAULT_PAGE_SIZE = 100
CURRENT_WINDOW = "current"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardPage:
    """A page, and the token of the one that follows; empty when this was the last."""

    page: Page
    next_page_token: str


class ReadLeaderboard:
    """The actions behind LeaderboardService's reads."""

    def __init__(self, tenants: TenantDirectory[TenantRoom]) -> None:
        self._tenants = tenants

    async def page(
        self,
        *,
        tenant_id: str,
        leaderboard_id: str,
        window_key: str,
        page_size: int | None,
        page_token: str,
        call: Call,
    ) -> BoardPage:
        """Return one page of a board.

        Raises: InvalidField for a token that is not ours or is another board's or size's;
        WindowChanged when Phoenix answers with another window than the token's; UpstreamFault.
        """
        room = self._room(tenant_id, call)
        token = PageToken(leaderboard_id=leaderboard_id, window_key=window_key, offset=0)
        size = page_size or DEFAULT_PAGE_SIZE
        if page_token:
            token = decode_page_token(page_token)
            if token.leaderboard_id != leaderboard_id:
                raise _token_fault("belongs to another leaderboard")
            if window_key and window_key not in (token.window_key, CURRENT_WINDOW):
                raise _token_fault("belongs to another window_key")
        page = await room.boards.page(
            leaderboard_id, call.deadline, limit=size, offset=token.offset, window_key=token.window_key
        )
        if page_token and token.window_key and page.window_key and page.window_key != token.window_key:
            raise WindowChanged()
        return BoardPage(page=page, next_page_token=self._next_token(page, token, size))

    async def rank(self, *, tenant_id: str, leaderboard_id: str, user_id: str, call: Call) -> RankAnswer:
        """Return a user's rank in the latest window. Raises: UpstreamFault."""
        return await self._room(tenant_id, call).boards.rank(leaderboard_id, user_id, call.deadline)

    async def score(self, *, tenant_id: str, leaderboard_id: str, user_id: str, call: Call) -> ScoreAnswer:
        """Return a user's score in the latest window. Raises: UpstreamFault."""
        return await self._room(tenant_id, call).boards.score(leaderboard_id, user_id, call.deadline)

    def _room(self, tenant_id: str, call: Call) -> TenantRoom:
        room = self._tenants.resolve(tenant_id)
        call.facts["tenant"] = room.tenant_id
        return room

    @staticmethod
    def _next_token(page: Page, token: PageToken, size: int) -> str:
        end = token.offset + len(page.entries)
        is_last = len(page.entries) < size or (page.total is not None and end >= page.total)
        if is_last:
            return ""
        window = page.window_key or token.window_key
        return encode_page_token(PageToken(leaderboard_id=token.leaderboard_id, window_key=window, offset=end))


def _token_fault(description: str) -> InvalidField:
    return InvalidField([FieldFault(field="page_token", description=f"{description}; start again without a token")])
