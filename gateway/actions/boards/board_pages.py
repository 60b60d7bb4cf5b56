"""The range of a page of a board, and the token of the next page, for every source of entries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from gateway.actions.shared.page_token import PageToken, encode_page_token
from gateway.core.answer_size import fit_page
from gateway.core.board import CURRENT_WINDOW, DEFAULT_PAGE_SIZE
from gateway.core.types import TenantId
from gateway.core.wire import Entry, Page

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


def encode_page(page_range: PageRange, page: Page, encode: Callable[[Page, str], bytes]) -> bytes:
    """Return the page as `encode` serialises it with the token of the next one, cut where it would be too large.

    Raises: AnswerTooLarge if not even one entry fits.
    """

    def encoded(entries: Sequence[Entry], is_cut: bool) -> bytes:
        part = replace(page, entries=tuple(entries)) if is_cut else page
        return encode(part, next_page_token(page_range, part, is_cut=is_cut))

    return fit_page(page.entries, encoded)


def next_page_token(page_range: PageRange, page: Page, *, is_cut: bool = False) -> str:
    """Return the token of the next page, or "" if there is none.

    Args: `page`: the entries found in the range; `is_cut`: there were more.
    """
    end = page_range.offset + len(page.entries)
    if not is_cut and is_last_page(page, end, page_range.size):
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
