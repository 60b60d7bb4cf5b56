"""Read snapshots of completed windows: the list, their pages, and a user's place in one; all through the cache.

A snapshot never changes, so its answers are cached for a long time. Source: gamification.md 2.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from gateway.actions.boards.board_pages import is_last_page
from gateway.actions.boards.cached_read import CachedReads
from gateway.actions.boards.closed_windows import GRACE_S, ClosedWindows
from gateway.actions.boards.read_values import Fetch, Fetched, ReadAnswer, ReadKey
from gateway.actions.shared.call import Call
from gateway.actions.shared.contexts import TenantContext
from gateway.actions.shared.directory import TenantDirectory
from gateway.actions.shared.page_token import PageToken, decode_page_token, encode_page_token, token_fault
from gateway.core.answer_size import fit_page
from gateway.core.board import DEFAULT_PAGE_SIZE
from gateway.core.wire import Entry, Page, RankAnswer, SnapshotInfo
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

_LIST, _PAGES, _USER = "snapshots", "snapshot", "snapshot_user"
_OLDER, _NEWER = "older", "newer"
EARLIEST_US, LATEST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Years 1 to 9999, the range of a Timestamp."""


class SnapshotEncoder(Protocol):
    """Serialises answers without their freshness."""

    def snapshots(self, snapshots: Sequence[SnapshotInfo], next_page_token: str) -> bytes:
        """Serialise a ListSnapshotsResponse."""
        ...

    def snapshot_page(self, page: Page, next_page_token: str) -> bytes:
        """Serialise a GetSnapshotResponse."""
        ...

    def snapshot_user(self, answer: RankAnswer) -> bytes:
        """Serialise a GetUserSnapshotResponse."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRead:
    """The fields that every read of snapshots has. `max_staleness_s`: None for the board's setting."""

    tenant_id: str
    leaderboard_id: str
    max_staleness_s: float | None


class ReadSnapshots:
    """The actions behind LeaderboardService's reads of snapshots. Times of snapshots are Unix microseconds."""

    def __init__(
        self,
        tenants: TenantDirectory[TenantContext],
        reads: CachedReads,
        encoder: SnapshotEncoder,
        closed: ClosedWindows,
        clock: Clock,
    ) -> None:
        self._tenants = tenants
        self._reads = reads
        self._encoder = encoder
        self._closed = closed
        self._clock = clock

    async def listed(
        self,
        read: SnapshotRead,
        call: Call,
        *,
        since_us: int | None,
        until_us: int | None,
        page_size: int | None,
        page_token: str,
    ) -> ReadAnswer:
        """Return the snapshots taken in a time range, as ListSnapshotsResponse.

        Pages are ordered by time, in the direction in which Phoenix lists.
        Raises: InvalidField for a token that is invalid or belongs to another board; UpstreamFault.
        """
        context = self._tenants.resolve(read.tenant_id, call)
        size, order, after_us = page_size or DEFAULT_PAGE_SIZE, "", None
        if page_token:
            token = decode_page_token(
                page_token, of=_LIST, tenant_id=context.tenant_id, leaderboard_id=read.leaderboard_id
            )
            order, after_us = token.place, _after(token)
            if order == _OLDER:
                until_us = after_us if until_us is None else min(until_us, after_us)
            else:
                since_us = after_us if since_us is None else max(since_us, after_us)
        # One more for the snapshot that both pages contain. At least two, because two show the order.
        limit = max(size, 2) + (1 if after_us is not None else 0)
        key = _key(context, read, _LIST, since_us, until_us, after_us, order, size)

        async def fetch(deadline: Deadline) -> Fetched:
            listed = await context.snapshots.listed(
                read.leaderboard_id, deadline, limit=limit, since_us=since_us, until_us=until_us
            )
            windows = [snapshot.window_key for snapshot in listed]
            self._closed.saw_snapshots(key.board, windows, self._clock.monotonic())
            news = [snapshot for snapshot in listed if after_us is None or _is_past(snapshot, after_us, order)]
            shown = news[:size]
            goes_on = len(news) > size or len(listed) >= min(limit, DEFAULT_PAGE_SIZE)

            def encoded(part: Sequence[SnapshotInfo], is_cut: bool) -> bytes:
                has_next = is_cut or (goes_on and part)
                return self._encoder.snapshots(
                    part, _next_token(key, part, order or _order_of(listed)) if has_next else ""
                )

            return Fetched(payload=fit_page(shown, encoded))

        return await self._answer(key, fetch, read, call)

    async def page(
        self, read: SnapshotRead, call: Call, *, taken_at_us: int, page_size: int | None, page_token: str
    ) -> ReadAnswer:
        """Return one page of a snapshot, as GetSnapshotResponse.

        Raises: InvalidField for a token that is invalid or belongs to another board or snapshot; UpstreamFault.
        """
        context = self._tenants.resolve(read.tenant_id, call)
        size, offset = page_size or DEFAULT_PAGE_SIZE, 0
        if page_token:
            token = decode_page_token(
                page_token, of=_PAGES, tenant_id=context.tenant_id, leaderboard_id=read.leaderboard_id
            )
            if token.place != str(taken_at_us):
                raise token_fault("belongs to another snapshot_time")
            offset = token.offset
        key = _key(context, read, _PAGES, taken_at_us, size, offset)

        async def fetch(deadline: Deadline) -> Fetched:
            page = await context.snapshots.page(read.leaderboard_id, taken_at_us, deadline, limit=size, offset=offset)

            def encoded(entries: Sequence[Entry], is_cut: bool) -> bytes:
                end, token = offset + len(entries), ""
                if is_cut or not is_last_page(page, end, size):
                    token = encode_page_token(_token(key, _PAGES, place=str(taken_at_us), offset=end))
                return self._encoder.snapshot_page(replace(page, entries=tuple(entries)) if is_cut else page, token)

            payload = fit_page(page.entries, encoded)
            return Fetched(payload=payload, is_final=bool(page.entries) and self._has_settled(taken_at_us))

        return await self._answer(key, fetch, read, call)

    async def user(self, read: SnapshotRead, call: Call, *, taken_at_us: int, user_id: str) -> ReadAnswer:
        """Return a user's place in a snapshot, as GetUserSnapshotResponse. Raises: UpstreamFault."""
        context = self._tenants.resolve(read.tenant_id, call)

        async def fetch(deadline: Deadline) -> Fetched:
            found = await context.snapshots.user(read.leaderboard_id, taken_at_us, user_id, deadline)
            is_final = found.ranked and self._has_settled(taken_at_us)
            return Fetched(payload=self._encoder.snapshot_user(found), is_final=is_final)

        return await self._answer(_key(context, read, _USER, taken_at_us, user_id), fetch, read, call)

    def _has_settled(self, taken_at_us: int) -> bool:
        """Tell whether the snapshot is so old that Phoenix has certainly finished it."""
        return self._clock.now() - taken_at_us / 1_000_000 >= GRACE_S

    async def _answer(self, key: ReadKey, fetch: Fetch, read: SnapshotRead, call: Call) -> ReadAnswer:
        return await self._reads.read(
            key, fetch, max_staleness_s=read.max_staleness_s, arrived_at=call.arrived_at, deadline=call.deadline
        )


def _key(context: TenantContext, read: SnapshotRead, what: str, *detail: object) -> ReadKey:
    return ReadKey(context.tenant_id, read.leaderboard_id, what, tuple(map(str, detail)))


def _token(key: ReadKey, of: str, *, place: str, offset: int = 0, after: str = "") -> PageToken:
    return PageToken(
        of=of, tenant_id=key.tenant_id, leaderboard_id=key.leaderboard_id, place=place, offset=offset, after=after
    )


def _next_token(key: ReadKey, shown: Sequence[SnapshotInfo], order: str) -> str:
    return encode_page_token(_token(key, _LIST, place=order, after=str(shown[-1].taken_at_us)))


def _after(token: PageToken) -> int:
    digits = token.after.removeprefix("-")
    known = token.place in (_OLDER, _NEWER) and digits.isascii() and digits.isdigit() and len(digits) <= 18
    if not known or not EARLIEST_US <= int(token.after) <= LATEST_US:
        raise token_fault("is not a token of this method")
    return int(token.after)


def _order_of(listed: Sequence[SnapshotInfo]) -> str:
    return _OLDER if listed[0].taken_at_us >= listed[-1].taken_at_us else _NEWER


def _is_past(snapshot: SnapshotInfo, after_us: int, order: str) -> bool:
    return snapshot.taken_at_us < after_us if order == _OLDER else snapshot.taken_at_us > after_us
