"""Pages of boards: page tokens, closed windows, and the end of a list."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.actions.boards.cached_read import CachedReads
from gateway.actions.boards.closed_windows import ClosedWindows
from gateway.actions.boards.read_leaderboard import PageRead, ReadLeaderboard
from gateway.actions.boards.read_values import Source
from gateway.actions.shared.call import Call, Peer
from gateway.actions.shared.directory import TenantDirectory
from gateway.core.types import TenantId
from gateway.errors import InvalidField, WindowChanged
from gateway.phoenix.gamification.leaderboards import LeaderboardsClient
from gateway.resilience.deadline import Deadline
from gateway.services.board_messages import BoardMessages
from gateway.v1.leaderboards_pb2 import GetLeaderboardResponse
from tests.full_grant import FULL_GRANT
from tests.manual_clock import ManualClock
from tests.phoenix.fake_phoenix import CLOCK, FakePhoenix, fake_phoenix

BOARD = "GET /v1/leaderboards/t/xp"


def body(window: str, entries: int = 1, **more: Any) -> tuple[int, bytes]:
    listed = [{"rank": number + 1, "user_id": f"u{number}", "score": 1} for number in range(entries)]
    return 200, json.dumps({"window_key": window, "entries": listed, **more}).encode()


class Boards:
    """The action before a small Phoenix, with a clock that the test turns."""

    def __init__(self, phoenix: FakePhoenix) -> None:
        self.clock = ManualClock()
        client = LeaderboardsClient(
            retrying=phoenix.retrying,
            base_url=phoenix.url,
            tenant_id=TenantId("t"),
            authorize=lambda method, raw_path, sent: {},
        )
        self.action = ReadLeaderboard(
            TenantDirectory({TenantId("t"): _Room(client)}),  # type: ignore[dict-item]
            CachedReads(clock=self.clock),
            BoardMessages(),
            ClosedWindows(),
            self.clock,
        )

    async def page(self, window: str = "", token: str = "", size: int | None = None) -> tuple[Source, Any]:
        """Return where the page came from, and the page."""
        call = Call(
            method="m",
            peer=Peer(address=""),
            request_id="r",
            deadline=Deadline.after(5, CLOCK),
            arrived_at=self.clock.monotonic(),
            grant=FULL_GRANT,
        )
        read = PageRead(
            tenant_id="", leaderboard_id="xp", window_key=window, page_size=size, page_token=token, max_staleness_s=None
        )
        answer = await self.action.page(read, call)
        return answer.source, GetLeaderboardResponse.FromString(answer.payload)


class _Room:
    """Of a tenant's room, what reads of boards use."""

    def __init__(self, boards: LeaderboardsClient) -> None:
        self.tenant_id = TenantId("t")
        self.boards = boards


async def test_a_closed_window_is_read_once_an_hour() -> None:
    """Closed is what another window has followed, a minute ago at least; the active one is read each second."""
    async with fake_phoenix(**{BOARD: [body("w1"), body("w2"), body("w1"), body("w2")]}) as phoenix:
        boards = Boards(phoenix)
        await boards.page()
        boards.clock.advance(100)
        await boards.page()
        boards.clock.advance(100)
        assert Source.LIVE is (await boards.page("w1"))[0]
        assert Source.LIVE is (await boards.page("w2"))[0]
        boards.clock.advance(3000)
        assert Source.CACHE is (await boards.page("w1"))[0]
        assert Source.LIVE is (await boards.page("w2"))[0]
        assert 5 == len(phoenix.seen)


async def test_a_page_carries_its_window_to_the_next() -> None:
    """The next page uses the window key of the first, and is refused if its window differs."""
    async with fake_phoenix(**{BOARD: [body("w1", 2), body("w1", 2), body("w2", 2)]}) as phoenix:
        boards = Boards(phoenix)
        token = (await boards.page(size=2))[1].next_page_token
        token = (await boards.page(size=2, token=token))[1].next_page_token
        with pytest.raises(WindowChanged):
            await boards.page(size=2, token=token)
        queries = [seen.path.partition("?")[2] for seen in phoenix.seen]
        assert ["limit=2&offset=0", "limit=2&offset=2&window_key=w1", "limit=2&offset=4&window_key=w1"] == queries
        with pytest.raises(InvalidField):
            await boards.page("w9", token=token)
        with pytest.raises(WindowChanged):
            await boards.page(size=2, token=token)  # from the cache, and refused all the same
        assert 3 == len(phoenix.seen)


@pytest.mark.parametrize(
    ("entries", "more", "size", "goes_on"),
    [
        (2, {}, 2, True),
        (2, {"total": 2}, 2, False),
        (2, {"total": 3}, 2, True),
        (1, {}, 2, False),
        (100, {}, 1000, True),  # Phoenix's own limit may be lower than what was asked for
        (99, {}, 1000, False),
        (0, {"total": 5}, 2, False),
    ],
)
async def test_a_list_ends_only_where_it_certainly_does(
    entries: int, more: dict[str, int], size: int, goes_on: bool
) -> None:
    """No entry is lost if Phoenix returns fewer than requested."""
    async with fake_phoenix(**{BOARD: [body("w1", entries, **more)]}) as phoenix:
        assert goes_on is bool((await Boards(phoenix).page(size=size))[1].next_page_token)
