"""Pages from a live socket: how old they may be, when the gateway requests a page, and when it cannot prove an age."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.actions.boards.board_pages import PageRange
from gateway.actions.boards.live_pages import LivePages
from gateway.actions.boards.read_values import ReadCacheSettings, Source
from gateway.core.wire import Page
from gateway.resilience.deadline import Deadline
from gateway.streams.upstream import ChannelClosed
from tests.manual_clock import ManualClock
from tests.streams.scripted_upstream import TOPIC, Channel, Upstream, taken, until

FRESH_S = 1.0


class Encoder:
    """A page as its scores and the token's presence."""

    def __init__(self) -> None:
        self.encoded = 0

    def page(self, page: Page, next_page_token: str) -> bytes:
        """Of GetLeaderboard."""
        self.encoded += 1
        return b",".join(b"%d" % entry.score for entry in page.entries) + (b"+" if next_page_token else b"")


class Live:
    """A board that is watched, and reads of it; time passes by hand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.upstream = Upstream(self.clock)
        self.hub = self.upstream.hub()
        self.encoder = Encoder()
        settings = ReadCacheSettings(fresh_s=FRESH_S, patience_s=0.2, fresh_by_board={"never": 0.0})
        self.pages = LivePages(self.hub, self.encoder, settings, self.clock)

    @property
    def channel(self) -> Channel:
        """The newest connection."""
        return self.upstream.channels[-1]

    @property
    def asked(self) -> int:
        """The number of page requests."""
        return self.upstream.events.count("page_requested")

    async def read(
        self, max_staleness_s: float | None = None, *, offset: int = 0, size: int = 100, window_key: str = ""
    ) -> tuple[bytes, float] | None:
        """Return the answer and its reported age."""
        cut = PageRange(TOPIC.tenant_id, TOPIC.leaderboard_id, window_key, offset, size)
        answer = await self.pages.page(cut, max_staleness_s, Deadline.after(60, self.clock))
        if answer is None:
            return None
        assert Source.SOCKET is answer.source
        return answer.payload, round(answer.age_s, 3)


@pytest.fixture
async def live() -> AsyncIterator[Live]:
    """A board of one user with one point."""
    made = Live()
    async with made.hub.subscribe(TOPIC, 100) as watcher:
        await taken(watcher)
        yield made
    await made.hub.close()


async def test_a_proof_is_asked_for_in_good_time(live: Live) -> None:
    """Past half of the fresh time, once, while the board is served; the answer makes it young again."""
    live.clock.advance(0.4)
    assert ((b"1", 0.4), 0) == (await live.read(), live.asked)
    live.clock.advance(0.3)
    assert [(b"1", 0.7)] * 3 == [await live.read() for _ in range(3)]
    assert 1 == live.asked
    live.clock.advance(0.2)
    live.channel.show(5, 1, kind="page")
    await until(lambda: live.hub.live(TOPIC).freshness.as_of != live.clock.monotonic() - 0.9)  # type: ignore[union-attr]
    assert (b"5", 0.2) == await live.read()


async def test_past_its_fresh_time_a_proof_is_waited_for(live: Live) -> None:
    """The wait is short. Then there is no answer, and no other caller waits until Phoenix answers again."""
    live.clock.advance(30)
    reading = asyncio.create_task(live.read())
    await until(lambda: live.asked == 1)
    live.channel.show(7, 1, kind="page")
    assert (b"7", 0.0) == await reading
    live.clock.advance(30)
    assert (None, 2) == (await live.read(), live.asked)
    live.clock.advance(2.5)
    for _ in range(20):
        assert None is await asyncio.wait_for(live.read(), 0.15)
    assert 3 == live.asked


async def test_changes_are_waited_through(live: Live) -> None:
    """An update that comes between the question and its answer is no freshness."""
    live.clock.advance(30)
    reading = asyncio.create_task(live.read())
    await until(lambda: live.asked == 1)
    live.channel.show(7, 2, kind="update")
    live.channel.show(8, 3, kind="page")
    assert (b"8", 0.0) == await reading


async def test_a_phoenix_whose_answers_look_like_changes_is_soon_left_alone(live: Live) -> None:
    """It is asked now and then, in case it was only slow, and no read waits for it."""
    waited = 0
    for second in range(1, 61):
        live.clock.advance(1.5)
        before = live.asked
        try:
            assert None is await asyncio.wait_for(live.read(), 0.15)
        except TimeoutError:
            waited += 1
        if live.asked > before:
            sequence = live.asked
            live.channel.show(second, sequence, kind="update")
            await until(lambda: live.channel.incoming.empty())
    assert waited <= 4
    assert live.asked <= 46


async def test_the_callers_limit_counts(live: Live) -> None:
    """None for a read that must be new, and where the board's answers are never kept."""
    live.clock.advance(3)
    assert (b"1", 3.0) == await live.read(100.0)
    assert None is await live.read(0.0)
    cut = PageRange(TOPIC.tenant_id, "never", "", 0, 10)
    async with live.hub.subscribe(TOPIC._replace(leaderboard_id="never"), 100) as watcher:
        await taken(watcher)
        assert None is await live.pages.page(cut, None, Deadline.after(60, live.clock))


async def test_while_a_change_is_in_doubt_nothing_is_served(live: Live) -> None:
    """A page ends the doubt."""
    assert (b"1", 0.0) == await live.read()
    live.channel.incoming.put_nowait(b"\x00")
    await until(lambda: "unreadable_frame" in live.upstream.events)
    assert None is await live.read()
    live.channel.show(3, 1, kind="page")
    await until(lambda: live.channel.incoming.empty())
    assert (b"3", 0.0) == await live.read()


async def test_a_lost_connection_serves_nothing_until_there_is_a_board_again(live: Live) -> None:
    """However young its last board is."""
    live.channel.incoming.put_nowait(ChannelClosed())
    await until(lambda: "cut" in live.upstream.events)
    first = live.upstream.channels[0]
    while live.channel is first:
        assert None is await live.read()
        await asyncio.sleep(0)
    await until(lambda: live.hub.live(TOPIC).freshness.as_of is not None)  # type: ignore[union-attr]
    assert (b"1", 0.0) == await live.read()


async def test_parts_are_cut_and_serialised_once(live: Live) -> None:
    """With a page token if more entries follow; not beyond the known end."""
    live.channel.show(100, 2, users=100, total=250)
    await until(lambda: live.upstream.encoded == 2)
    for _ in range(3):
        assert (b"100,99+", 0.0) == await live.read(size=2)
        assert (b"98,97+", 0.0) == await live.read(offset=2, size=2)
    assert 2 == live.encoder.encoded
    assert None is not await live.read(size=100)
    assert None is await live.read(size=101)
    assert None is await live.read(offset=99, size=2)
    live.channel.show(3, 3, users=3, total=3)
    await until(lambda: live.upstream.encoded == 3)
    assert [(b"3,2,1", 0.0), (b"1", 0.0), (b"", 0.0)] == [
        await live.read(size=1000),
        await live.read(offset=2, size=1),
        await live.read(offset=50, size=10),
    ]
