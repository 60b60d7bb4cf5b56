"""Two workers and one board: one connection to Phoenix, pages of the same epoch, ages that are proven, other ways."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import PhoenixNotFound
from gateway.resilience.clock import SystemClock
from gateway.streams.board_relay import BoardRelay
from gateway.streams.hub import Hub
from gateway.streams.shared_topics import SharedTopics, owner_of
from gateway.streams.subscriber import Resync
from gateway.streams.upstream import ChannelClosed
from tests.streams.scripted_upstream import TOPIC, Upstream, taken, until

OWNER = owner_of(TOPIC, 2)


def follower_of(upstream: Upstream, folder: Path, on_event: Callable[[str], None] = lambda name: None) -> Hub:
    """The hub of the other worker, whose own connections `upstream` opens."""
    hub = upstream.hub()
    shared = SharedTopics(upstream.open, folder, 1 - OWNER, 2, on_event)
    hub._dependencies = replace(hub._dependencies, open_topic=shared, new_epoch=lambda: uuid.uuid4().hex)
    return hub


@asynccontextmanager
async def owner_of_board(upstream: Upstream, folder: Path, start: int = 1) -> AsyncIterator[Hub]:
    """The hub of the worker that owns the board, shown to the others."""
    hub = upstream.hub()
    relay = BoardRelay(hub, SystemClock(), folder / f"{OWNER}.{start}.boards")
    await relay.start()
    try:
        yield hub
    finally:
        hub.drain()
        await relay.stop()
        await hub.close()


async def test_two_workers_use_one_connection(tmp_path: Path) -> None:
    """The follower sees the board and each change, although only the owner has a connection."""
    upstream, others, events = Upstream(), Upstream(), list[str]()
    follower = follower_of(others, tmp_path, events.append)
    async with owner_of_board(upstream, tmp_path) as owner, follower.subscribe(TOPIC, 100) as watcher:
        assert b"1" == (await taken(watcher))[0]
        for score in (2, 3):
            upstream.channels[0].show(score, score, kind="update")
            assert b"%d" % score == (await taken(watcher))[0]
        async with owner.subscribe(TOPIC, 100) as near:
            assert b"3" == (await taken(near))[0]
        assert (1, 0, ["shared"]) == (len(upstream.channels), len(others.channels), events)
    await follower.close()


async def test_an_age_is_proven_through_the_owner(tmp_path: Path) -> None:
    """A page that came by itself proves nothing; the answer to a request does, and only if it was asked for later."""
    upstream = Upstream()
    follower = follower_of(Upstream(), tmp_path)
    async with owner_of_board(upstream, tmp_path), follower.subscribe(TOPIC, 100) as watcher:
        await taken(watcher)
        connection = follower.live(TOPIC)
        assert connection is not None
        first = connection.freshness.as_of
        upstream.channels[0].show(2, 2, kind="update")
        await taken(watcher)
        assert first == connection.freshness.as_of
        asked_at = SystemClock().monotonic()
        connection.request_page()
        await until(lambda: "request_page" in upstream.channels[0].sent)
        upstream.channels[0].show(3, 3, kind="update")  # no answer yet
        assert b"3" == (await taken(watcher))[0]
        assert first == connection.freshness.as_of
        upstream.channels[0].show(3, 3, kind="page")
        await until(lambda: connection.freshness.as_of != first)
        assert connection.freshness.as_of is not None
        assert asked_at <= connection.freshness.as_of <= SystemClock().monotonic()
    await follower.close()


async def test_a_larger_board_is_requested_by_the_owner(tmp_path: Path) -> None:
    """A follower's watcher of more entries than the owner had requested gets them."""
    upstream = Upstream()
    follower = follower_of(Upstream(), tmp_path)
    async with owner_of_board(upstream, tmp_path), follower.subscribe(TOPIC, 100) as small:
        await taken(small)
        async with follower.subscribe(TOPIC, 150) as large:
            await until(lambda: "request_page" in upstream.channels[0].sent)
            upstream.channels[0].show(9, 9, users=150, kind="page", total=150)
            assert [b"1", b"9"] == [(await taken(large))[0] for _ in range(2)]
            connection = follower.live(TOPIC)
            assert connection is not None
            assert connection.state is not None
            assert 150 == len(connection.state.page.entries)
    await follower.close()


async def test_a_reconnect_of_the_owner_is_a_new_epoch_for_the_followers(tmp_path: Path) -> None:
    """A board of two connections is never taken for one."""
    upstream = Upstream()
    follower = follower_of(Upstream(), tmp_path)
    async with owner_of_board(upstream, tmp_path) as owner, owner.subscribe(TOPIC, 100), answering(upstream):
        async with follower.subscribe(TOPIC, 1) as watcher:
            _, epoch, *_ = await taken(watcher)
            upstream.first_score = 5
            upstream.channels[0].incoming.put_nowait(ChannelClosed())
            payload, other_epoch, sequence, _, resync = await taken(watcher)
            assert (b"5", 1, Resync.CUT, 2) == (payload, sequence, resync, len(upstream.channels))
            assert other_epoch != epoch
        await follower.close()


async def test_a_follower_opens_its_own_connection_when_the_owner_has_none(tmp_path: Path) -> None:
    """The board goes on, and the caller gets Phoenix's own answer at once."""
    upstream, others = Upstream(), Upstream()
    others.first_score = 7
    follower = follower_of(others, tmp_path)
    async with owner_of_board(upstream, tmp_path), follower.subscribe(TOPIC, 100) as watcher:
        await taken(watcher)
        upstream.refusals += [PhoenixNotFound()] * 10  # the board of the owner ends
        upstream.channels[0].incoming.put_nowait(ChannelClosed())
        payload, *_, resync = await taken(watcher)
        assert (b"7", Resync.CUT, 1) == (payload, resync, len(others.channels))
    await follower.close()


async def test_a_socket_that_a_killed_worker_left_behind_is_no_obstacle(tmp_path: Path) -> None:
    """Nobody listens there; the older process of the same place may still serve, or this worker opens its own."""
    (tmp_path / f"{OWNER}.2.boards").touch()
    upstream, others = Upstream(), Upstream()
    follower = follower_of(others, tmp_path)
    async with owner_of_board(upstream, tmp_path), follower.subscribe(TOPIC, 100) as watcher:
        await taken(watcher)
        assert (1, 0) == (len(upstream.channels), len(others.channels))
    await follower.close()
    alone = follower_of(others, tmp_path)
    async with alone.subscribe(TOPIC, 100) as watcher:
        await taken(watcher)
        assert 1 == len(others.channels)
    await alone.close()


@pytest.mark.parametrize("start", [1, 12])
async def test_the_newest_process_of_a_place_is_asked_first(tmp_path: Path, start: int) -> None:
    """During a roll the old one still serves."""
    old, new, others = Upstream(), Upstream(), Upstream()
    follower = follower_of(others, tmp_path)
    async with owner_of_board(old, tmp_path, start), owner_of_board(new, tmp_path, start + 1):
        async with follower.subscribe(TOPIC, 100) as watcher:
            await taken(watcher)
        assert (0, 1, 0) == (len(old.channels), len(new.channels), len(others.channels))
        await follower.close()


@asynccontextmanager
async def answering(upstream: Upstream) -> AsyncIterator[None]:
    """Phoenix answers each request for a page, as long as this lasts."""

    async def answer() -> None:
        answered: Counter[int] = Counter()
        while True:
            await asyncio.sleep(0.005)
            for number, channel in enumerate(upstream.channels):
                for _ in range(channel.sent.count("request_page") - answered[number]):
                    answered[number] += 1
                    channel.show(upstream.first_score, 1, kind="page")

    task = asyncio.create_task(answer())
    try:
        yield
    finally:
        task.cancel()
