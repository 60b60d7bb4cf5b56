"""In any order of changes, requests, answers and disconnects, no page of a live socket is older than reported."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

import orjson
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.actions.boards.board_pages import PageRange
from gateway.actions.boards.live_pages import LivePages
from gateway.actions.boards.read_values import ReadAnswer, ReadCacheSettings
from gateway.core.board import Topic
from gateway.core.wire import Page
from gateway.errors import Stopping
from gateway.resilience.deadline import Deadline
from gateway.streams.freshness import FORGOTTEN_AFTER_S
from gateway.streams.subscriber import Subscriber
from gateway.streams.upstream import ChannelClosed
from tests.manual_clock import ManualClock
from tests.streams.scripted_upstream import TOPIC, Channel, Upstream

EPSILON = 1e-6
LATEST_S = FORGOTTEN_AFTER_S / 2 - 1
"""No question waits longer for its answer, and no frame is longer on its way. Beyond both it is forgotten."""


async def settle() -> None:
    """Let everything run that can: a frame through the link, an answer to those who wait."""
    for _ in range(8):
        await asyncio.sleep(0)


class Asked(Channel):
    """A connection that knows the request time of each page that it has not sent."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock
        self.questions: deque[float] = deque()

    async def send(self, message: str) -> None:
        """Take a question."""
        await super().send(message)
        if "request_page" in message:
            self.questions.append(self._clock.monotonic())


class Phoenix(Upstream):
    """One user's score that only rises, and the frames that are on their way to us."""

    def __init__(self, clock: ManualClock, *, as_changes: bool) -> None:
        super().__init__(clock)
        self._hands = clock
        self.moments = [clock.monotonic()]
        self.on_the_way: deque[bytes] = deque()
        self.left_at: float | None = None
        self.open_now: Asked | None = None
        self._as_changes = as_changes

    async def open(self, topic: Topic) -> Asked:
        """Open a connection; a snapshot is on its way at once."""
        self.open_now = Asked(self._hands)
        self.on_the_way.clear()
        self.left_at = None
        self.send_frame("snapshot")
        return self.open_now

    def send_frame(self, kind: str) -> None:
        """Send the current board."""
        if self.left_at is None:
            self.left_at = self.clock.monotonic()
        score = len(self.moments)
        listed = "changes" if kind == "update" and self._as_changes else "entries"
        entries = [{"rank": 1, "user_id": "u", "score": score}]
        self.on_the_way.append(orjson.dumps({"type": kind, "sequence": score, "total": 1, listed: entries}))

    def score_at(self, moment: float) -> int:
        """Return the score that every correct view of the board at this time shows."""
        return sum(at < moment - EPSILON for at in self.moments)


class Encoder:
    """A page as its one score."""

    def page(self, page: Page, next_page_token: str) -> bytes:
        """Of GetLeaderboard."""
        return b"%d" % page.entries[0].score


class World:
    """A board that is watched and read."""

    def __init__(self, *, as_changes: bool) -> None:
        self.clock = ManualClock()
        self.phoenix = Phoenix(self.clock, as_changes=as_changes)
        self.hub = self.phoenix.hub()
        settings = ReadCacheSettings(fresh_s=1.0, patience_s=30.0)
        self.pages = LivePages(self.hub, Encoder(), settings, self.clock)
        self.reading: list[asyncio.Task[None]] = []
        self.served = 0

    async def read(self, max_staleness_s: float | None) -> None:
        """Begin a read that is judged when it ends."""

        async def judged() -> None:
            cut = PageRange(TOPIC.tenant_id, TOPIC.leaderboard_id, "", 0, 10)
            answer: ReadAnswer | None = await self.pages.page(cut, max_staleness_s, Deadline.after(1e6, self.clock))
            if answer is None:
                return
            self.served += 1
            assert answer.age_s <= (1.0 if max_staleness_s is None else max_staleness_s) + EPSILON
            certain = self.phoenix.score_at(self.clock.monotonic() - answer.age_s)
            assert int(answer.payload) >= certain, "it is older than it says"

        self.reading.append(asyncio.create_task(judged()))
        await settle()

    async def _all_arrive(self, channel: Asked) -> None:
        while self.phoenix.on_the_way:
            channel.incoming.put_nowait(self.phoenix.on_the_way.popleft())
            await settle()
        self.phoenix.left_at = None

    async def step(self, kind: str, value: float | None) -> None:
        phoenix, channel = self.phoenix, self.phoenix.open_now
        assert channel is not None
        match kind:
            case "read":
                await self.read(value)
            case "advance":
                assert value is not None
                self.clock.advance(value)
                too_late = self.clock.monotonic() - LATEST_S
                while channel.questions and channel.questions[0] < too_late:
                    channel.questions.popleft()
                if phoenix.left_at is not None and phoenix.left_at < too_late:
                    await self._all_arrive(channel)
            case "change":
                phoenix.moments.append(self.clock.monotonic())
                phoenix.send_frame("update")
            case "change untold":
                phoenix.moments.append(self.clock.monotonic())
            case "answer" if channel.questions:
                channel.questions.popleft()
                phoenix.send_frame("page")
            case "arrive" if len(phoenix.on_the_way) == 1:
                await self._all_arrive(channel)
            case "arrive" if phoenix.on_the_way:
                channel.incoming.put_nowait(phoenix.on_the_way.popleft())
            case "spoil" if phoenix.on_the_way:
                phoenix.on_the_way[0] = b"\x00{"
            case "turn round" if len(phoenix.on_the_way) > 1:
                phoenix.on_the_way.rotate(1)
            case "ignore" if channel.questions:
                channel.questions.popleft()
            case "cut":
                channel.incoming.put_nowait(ChannelClosed())
                async with asyncio.timeout(5):
                    while phoenix.open_now is channel:  # noqa: ASYNC110 - a wait between connections
                        await asyncio.sleep(0.001)
        await settle()


READ = st.tuples(st.just("read"), st.sampled_from([None, None, 0.3, 5.0, 60.0]))
ADVANCE = st.tuples(st.just("advance"), st.sampled_from([0.01, 0.3, 0.7, 2.1, 11.0]))
OFTEN = st.tuples(st.sampled_from(["change", "change untold", "answer", "arrive", "arrive"]), st.none())
RARE = st.tuples(st.sampled_from(["spoil", "turn round", "ignore", "cut"]), st.none())


def _steps(*kinds: str) -> list[tuple[str, float | None]]:
    """Return steps whose reads and waits are the usual ones."""
    return [(kind, 0.7 if kind == "advance" else None) for kind in kinds]


# An update that left before the question did; a spoilt one, whose page is still to come; answers in the wrong order.
@example(_steps("change", "change untold", "advance", "read", "arrive", "read"), False)
@example(_steps("change", "spoil", "arrive", "read", "advance", "read", "answer", "arrive", "read"), True)
@example(_steps("advance", "read", "answer", "change", "turn round", "arrive", "read", "arrive", "read"), False)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.one_of(READ, READ, READ, ADVANCE, ADVANCE, OFTEN, OFTEN, OFTEN, OFTEN, RARE), min_size=30, max_size=150
    ),
    st.booleans(),
)
def test_no_page_from_a_live_socket_is_older_than_it_says(
    steps: list[tuple[str, float | None]], as_changes: bool
) -> None:
    """Full pages or changes; lost, damaged and reordered frames; changes that Phoenix never sends."""

    async def run() -> None:
        world = World(as_changes=as_changes)
        async with world.hub.subscribe(TOPIC, 100) as watcher:
            await settle()
            consuming = asyncio.create_task(_consume(watcher))
            for kind, value in [("arrive", None), *steps]:
                await world.step(kind, value)
            for task in world.reading:
                if not task.done():
                    task.cancel()
            results = await asyncio.gather(*world.reading, return_exceptions=True)
            consuming.cancel()
        await world.hub.close()
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    asyncio.run(run())


async def _consume(watcher: Subscriber) -> None:
    with suppress(Stopping):
        while True:
            await watcher.take()
