"""Many watchers, one connection: opening, closing, sharing, skipped updates and restarts."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import (
    BoardNotActive,
    GatewayError,
    Overloaded,
    PhoenixNotFound,
    PhoenixRejectedCredentials,
    PhoenixUnavailable,
    Stopping,
)
from gateway.resilience.retry import RetrySettings
from gateway.streams.subscriber import Resync
from gateway.streams.upstream import ChannelClosed
from tests.fault_injection import task_named
from tests.streams.scripted_upstream import TOPIC, Upstream, taken, until


async def test_many_watchers_cost_one_connection_and_one_message() -> None:
    """Fifty watchers: one upstream connection, each board serialised once."""
    upstream = Upstream()
    hub = upstream.hub()

    async def watch() -> list[bytes]:
        async with hub.subscribe(TOPIC, 100) as watcher:
            return [(await taken(watcher))[0], (await taken(watcher))[0]]

    watching = [asyncio.create_task(watch()) for _ in range(50)]
    await until(lambda: upstream.encoded == 1)
    await asyncio.sleep(0)
    upstream.channels[0].show(2, 2)
    results = await asyncio.gather(*watching)
    assert ([[b"1", b"2"]] * 50, 1, 2) == (results, len(upstream.channels), upstream.encoded)
    await hub.close()


async def test_a_new_watcher_of_a_live_board_starts_from_memory() -> None:
    """No connection and no message to Phoenix."""
    upstream = Upstream()
    hub = upstream.hub()
    async with hub.subscribe(TOPIC, 100) as first, hub.subscribe(TOPIC, 100) as second:
        await taken(first)
        await taken(second)
        async with hub.subscribe(TOPIC, 100) as late:
            assert (b"1", "epoch-1-100", 1, 0, Resync.SUBSCRIBED) == await taken(late)
        assert (["configure"], 1) == (upstream.channels[0].sent, len(upstream.channels))
    await hub.close()


async def test_the_last_watcher_closes_after_the_grace_time() -> None:
    """Coming back within it finds the connection; after it there is none."""
    upstream = Upstream()
    hub = upstream.hub(grace_s=0.1)
    for _ in range(3):
        async with hub.subscribe(TOPIC, 100) as watcher:
            await taken(watcher)
    assert (1, False) == (len(upstream.channels), upstream.channels[0].is_closed)
    await until(lambda: upstream.channels[0].is_closed)
    assert (0, 0) == (hub.boards, hub.watchers)
    await hub.close()


async def test_a_slow_watcher_gets_the_newest_board_and_delays_no_other() -> None:
    """It learns how many were left out; the one beside it gets each."""
    upstream = Upstream()
    hub = upstream.hub(queue_limit=3)
    async with hub.subscribe(TOPIC, 100) as slow, hub.subscribe(TOPIC, 100) as quick:
        await taken(slow)
        await taken(quick)
        seen = []
        for number in range(2, 22):
            upstream.channels[0].show(number, number)
            seen.append((await taken(quick))[0])
        assert [b"%d" % number for number in range(2, 22)] == seen
        got = [await taken(slow)]
        while got[-1][2] < 21:
            got.append(await taken(slow))
        assert 20 == len(got) + sum(each[3] for each in got)
        assert len(got) <= 3
        assert b"21" == got[-1][0]
    await hub.close()


async def test_a_reconnect_is_a_new_epoch_with_its_reason() -> None:
    """The board is configured again, and the sequence restarts."""
    upstream = Upstream()
    hub = upstream.hub()
    async with hub.subscribe(TOPIC, 100) as watcher:
        await taken(watcher)
        upstream.channels[0].incoming.put_nowait(ChannelClosed(silent=True))
        assert (b"1", "epoch-2-100", 1, 0, Resync.SILENT) == await taken(watcher)
        upstream.channels[1].incoming.put_nowait(ChannelClosed())
        assert (b"1", "epoch-3-100", 1, 0, Resync.CUT) == await taken(watcher)
    assert [["configure"]] * 3 == [channel.sent for channel in upstream.channels]
    assert upstream.channels[0].is_closed
    await hub.close()


async def test_an_outdated_connection_is_replaced_at_once() -> None:
    """It is no failure, so nothing waits; the new connection shows what changed meanwhile."""
    upstream = Upstream()
    hub = upstream.hub(retry=RetrySettings(first_wait_s=60, longest_wait_s=60))
    async with hub.subscribe(TOPIC, 100) as watcher:
        await taken(watcher)
        for number in range(2, 6):
            upstream.channels[-1].incoming.put_nowait(ChannelClosed(outdated=True))
            upstream.first_score = number
            assert (b"%d" % number, f"epoch-{number}-100", 1, 0, Resync.CUT) == await taken(watcher)
    assert (["opened", "replaced"] * 4) + ["opened"] == upstream.events
    await hub.close()


async def test_a_resync_is_not_lost_with_what_is_left_out() -> None:
    """A slow watcher that missed the first board of an epoch still learns that there is one."""
    upstream = Upstream()
    hub = upstream.hub(queue_limit=1)
    async with hub.subscribe(TOPIC, 100) as watcher:
        await taken(watcher)
        upstream.channels[0].incoming.put_nowait(ChannelClosed())
        await until(lambda: len(upstream.channels) == 2)
        upstream.channels[1].show(5, 2)
        await until(lambda: upstream.encoded == 3)
        assert (b"5", "epoch-2-100", 2, 1, Resync.CUT) == await taken(watcher)
    await hub.close()


async def test_garbage_asks_for_a_page_and_unknown_types_are_counted() -> None:
    """One request at a time; the board stays."""
    upstream = Upstream()
    hub = upstream.hub()
    async with hub.subscribe(TOPIC, 100) as watcher:
        await taken(watcher)
        for message in (b"{", b'{"type":"confetti"}', b"\xff"):
            upstream.channels[0].incoming.put_nowait(message)
        upstream.channels[0].show(9, 2)
        assert b"9" == (await taken(watcher))[0]
        # The second piece of garbage came while a page was on its way, so one more is asked for.
        await until(lambda: upstream.channels[0].sent == ["configure", "request_page", "request_page"])
        assert 1 == upstream.events.count("ignored_frame")
    await hub.close()


async def test_a_board_that_cannot_be_had_ends_its_watchers() -> None:
    """At once and with Phoenix's reason. A later watcher tries again."""
    upstream = Upstream()
    upstream.refusals = [BoardNotActive()]
    hub = upstream.hub()
    async with hub.subscribe(TOPIC, 100) as watcher:
        with pytest.raises(BoardNotActive):
            await taken(watcher)
    async with hub.subscribe(TOPIC, 100) as watcher:
        assert b"1" == (await taken(watcher))[0]
    await hub.close()


async def test_troubles_that_pass_are_waited_for() -> None:
    """A few failures, then a board."""
    upstream = Upstream()
    upstream.refusals = [PhoenixUnavailable(), PhoenixUnavailable()]
    hub = upstream.hub()
    async with hub.subscribe(TOPIC, 100) as watcher:
        assert b"1" == (await taken(watcher))[0]
    await hub.close()


async def test_watchers_do_not_wait_for_ever_for_a_first_board() -> None:
    """Phoenix stays away: they learn it."""
    upstream = Upstream()
    upstream.refusals = [PhoenixUnavailable()] * 1000
    hub = upstream.hub(first_board_within_s=0.05)
    async with hub.subscribe(TOPIC, 100) as watcher:
        with pytest.raises(PhoenixUnavailable):
            await taken(watcher)
    await hub.close()


async def test_watchers_of_a_connection_task_that_is_gone_do_not_wait_for_ever() -> None:
    """However it ended: they are told, and a later watcher gets a new connection."""
    upstream = Upstream()
    hub = upstream.hub()
    async with hub.subscribe(TOPIC, 100) as watcher:
        await taken(watcher)
        task_named("live-board").cancel()
        with pytest.raises(RuntimeError):
            await taken(watcher)
    async with hub.subscribe(TOPIC, 100) as later:
        assert b"1" == (await taken(later))[0]
    await hub.close()


async def test_a_drain_ends_watchers_with_the_reason() -> None:
    """They get the queued updates, no new ones, and STOPPING with RetryInfo. New watchers get it at once."""
    upstream = Upstream()
    hub = upstream.hub()
    async with hub.subscribe(TOPIC, 100) as watcher:
        await taken(watcher)
        hub.drain()
        with pytest.raises(Stopping) as ended:
            await watcher.take()
        assert ended.value.retry_after_s
        with pytest.raises(Stopping):
            async with hub.subscribe(TOPIC, 100):
                pass
    await hub.close()
    assert upstream.channels[0].is_closed


async def test_watchers_are_bounded() -> None:
    """A watcher above the limit is refused with RetryInfo."""
    upstream = Upstream()
    hub = upstream.hub()
    held = [hub.subscribe(TOPIC, 100) for _ in range(100)]
    for each in held:
        await each.__aenter__()
    with pytest.raises(Overloaded):
        async with hub.subscribe(TOPIC, 100):
            pass
    for each in held:
        await each.__aexit__(None, None, None)
    await hub.close()


async def test_who_wants_more_makes_the_same_connection_show_more() -> None:
    """The page is requested again. Until it arrives, the others see the old page and the new watcher nothing."""
    upstream = Upstream()
    hub = upstream.hub()
    async with hub.subscribe(TOPIC, 100) as few:
        await taken(few)
        upstream.channels[0].show(500, 2, users=100, total=300)
        await taken(few)
        async with hub.subscribe(TOPIC, 300) as many:
            await until(lambda: upstream.channels[0].sent == ["configure", "configure", "request_page"])
            upstream.channels[0].show(501, 3, users=100, total=300)
            assert b"501" == (await taken(few))[0]
            upstream.channels[0].show(502, 4, users=300, total=300, kind="page")
            assert [(b"502", "epoch-1-300", 1), (b"502", "epoch-1-100", 4)] == [
                (await taken(many))[:3],
                (await taken(few))[:3],
            ]
    await hub.close()


async def test_less_than_was_asked_for_is_shown_after_a_while() -> None:
    """Where Phoenix's own limit is lower, and it does not say how many there are."""
    upstream = Upstream()
    hub = upstream.hub(whole_after_s=0.05)
    async with hub.subscribe(TOPIC, 300) as watcher:
        await taken(watcher)
        upstream.channels[0].show(500, 2, users=100)
        assert b"500" == (await taken(watcher))[0]
    await hub.close()


async def test_a_change_below_what_is_watched_is_no_update() -> None:
    """The sequence continues without a gap."""
    upstream = Upstream()
    hub = upstream.hub()
    async with hub.subscribe(TOPIC, 1) as top, hub.subscribe(TOPIC, 100) as all_:
        await taken(all_)
        upstream.channels[0].show(1, 2, users=2)
        upstream.channels[0].show(7, 3, users=2)
        assert [2, 3] == [(await taken(all_))[2], (await taken(all_))[2]]
        assert [(b"1", 1), (b"7", 2)] == [(each[0], each[2]) for each in (await taken(top), await taken(top))]
    await hub.close()


async def test_updates_without_watchers_continue() -> None:
    """The same epoch, a higher sequence, the newest board."""
    upstream = Upstream()
    hub = upstream.hub()
    async with hub.subscribe(TOPIC, 100) as stays:
        await taken(stays)
        async with hub.subscribe(TOPIC, 1) as leaves:
            assert (b"1", "epoch-1-1", 1) == (await taken(leaves))[:3]
        async with hub.subscribe(TOPIC, 1) as comes_at_once:
            assert (b"1", "epoch-1-1", 1) == (await taken(comes_at_once))[:3]
        upstream.channels[0].show(7, 2)
        await taken(stays)
        async with hub.subscribe(TOPIC, 1) as comes:
            assert (b"7", "epoch-1-1", 2) == (await taken(comes))[:3]
    await hub.close()


@pytest.mark.parametrize(
    ("refusal", "tolerated"), [(PhoenixRejectedCredentials(), 4), (PhoenixNotFound(), 2), (BoardNotActive(), 2)]
)
async def test_a_board_that_was_live_is_not_given_up_at_the_first_refusal(
    refusal: GatewayError, tolerated: int
) -> None:
    """A restarting server refuses boards that it serves later. Several refusals in a row count."""
    upstream = Upstream()
    hub = upstream.hub(rejections=5, refusals=3)
    async with hub.subscribe(TOPIC, 100) as watcher:
        await taken(watcher)
        upstream.refusals = [refusal] * tolerated
        upstream.channels[0].incoming.put_nowait(ChannelClosed())
        assert (b"1", Resync.CUT) == ((again := await taken(watcher))[0], again[4])
        upstream.refusals = [refusal] * (tolerated + 1)
        upstream.channels[1].incoming.put_nowait(ChannelClosed())
        with pytest.raises(type(refusal)):
            await taken(watcher)
    is_rejection = isinstance(refusal, PhoenixRejectedCredentials)
    assert 2 * tolerated + 1 == upstream.events.count("credentials_rejected" if is_rejection else "refused")
    await hub.close()


async def test_credentials_that_are_rejected_at_first_are_tried_once_more_at_once() -> None:
    """With a new timestamp; rejected again, the watchers learn it."""
    upstream = Upstream()
    upstream.refusals = [PhoenixRejectedCredentials()]
    hub = upstream.hub(retry=RetrySettings(first_wait_s=1000.0, longest_wait_s=1000.0))
    async with hub.subscribe(TOPIC, 100) as watcher:
        assert b"1" == (await taken(watcher))[0]
    await hub.close()
    upstream.refusals = [PhoenixRejectedCredentials()] * 2
    hub = upstream.hub()
    async with hub.subscribe(TOPIC, 100) as watcher:
        with pytest.raises(PhoenixRejectedCredentials):
            await taken(watcher)
    await hub.close()


async def test_a_new_watcher_gets_no_board_that_was_lost_long_ago() -> None:
    """Existing watchers continue to wait. New ones learn that Phoenix cannot be reached."""
    upstream = Upstream()
    hub = upstream.hub(lost_after_s=0.05)
    async with hub.subscribe(TOPIC, 100) as watcher:
        await taken(watcher)
        upstream.refusals = [PhoenixUnavailable()] * 1_000_000
        upstream.channels[0].incoming.put_nowait(ChannelClosed())
        await asyncio.sleep(0.1)
        with pytest.raises(PhoenixUnavailable):
            async with hub.subscribe(TOPIC, 100):
                pass
        upstream.refusals = []
        assert Resync.CUT is (await taken(watcher))[4]
        async with hub.subscribe(TOPIC, 100) as late:
            assert Resync.SUBSCRIBED is (await taken(late))[4]
    await hub.close()
