"""Which part of a board is wanted, and how a caller gets from one part to the next, wherever the entries come from."""

from __future__ import annotations

from typing import NamedTuple

from gateway.actions.shared.page_token import PageToken, encode_page_token
from gateway.core.board import CURRENT_WINDOW, DEFAULT_PAGE_SIZE
from gateway.core.types import TenantId
from gateway.core.wire import Page

PAGES = "leaderboard"
UNNAMED = ("", CURRENT_WINDOW)
"""Window keys under which another window may be found tomorrow."""


class Cut(NamedTuple):
    """One part of a board. `window_key`: as it was asked for."""

    tenant_id: TenantId
    leaderboard_id: str
    window_key: str
    offset: int
    size: int


def next_page_token(cut: Cut, page: Page) -> str:
    """Return the token of what follows; empty where nothing does. Args: `page`: what was found at the cut."""
    end = cut.offset + len(page.entries)
    if is_last_page(page, end, cut.size):
        return ""
    return encode_page_token(
        PageToken(
            of=PAGES,
            tenant_id=cut.tenant_id,
            leaderboard_id=cut.leaderboard_id,
            place=page.window_key or cut.window_key,
            offset=end,
        )
    )


def is_last_page(page: Page, end: int, size: int) -> bool:
    """Tell whether nothing follows a page that ends at this offset.

    Phoenix's own limit is not published and may be lower than the size that was asked for, but not than its default.
    """
    if not page.entries:
        return True
    return end >= page.total if page.total is not None else len(page.entries) < min(size, DEFAULT_PAGE_SIZE)
