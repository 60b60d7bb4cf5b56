"""The range of a page of a board, and the token of the next page, for every source of entries."""

from __future__ import annotations

from typing import NamedTuple

from gateway.actions.shared.page_token import PageToken, encode_page_token
from gateway.core.board import CURRENT_WINDOW, DEFAULT_PAGE_SIZE
from gateway.core.types import TenantId
from gateway.core.wire import Page

PAGES = "leaderboard"
UNNAMED = ("", CURRENT_WINDOW)
"""Window keys that mean another window at another time."""


class PageRange(NamedTuple):
    """The requested range of a board. `window_key`: as requested."""

    tenant_id: TenantId
    leaderboard_id: str
    window_key: str
    offset: int
    size: int


def next_page_token(page_range: PageRange, page: Page) -> str:
    """Return the token of the next page, or "" if there is none. Args: `page`: the entries found in the range."""
    end = page_range.offset + len(page.entries)
    if is_last_page(page, end, page_range.size):
        return ""
    return encode_page_token(
        PageToken(
            of=PAGES,
            tenant_id=page_range.tenant_id,
            leaderboard_id=page_range.leaderboard_id,
            place=page.window_key or page_range.window_key,
            offset=end,
        )
    )


def is_last_page(page: Page, end: int, size: int) -> bool:
    """Tell whether a page that ends at this offset is the last one.

    Phoenix does not publish its limit. It may be lower than the requested size, but not lower than Phoenix's default.
    """
    if not page.entries:
        return True
    return end >= page.total if page.total is not None else len(page.entries) < min(size, DEFAULT_PAGE_SIZE)
