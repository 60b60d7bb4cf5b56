"""Reads through the cache: which answer is served, its reported age, and the calls to Phoenix."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.actions.boards.read_values import ReadKey, Source
from gateway.errors import (
    BoardNotActive,
    PhoenixAnswerUnreadable,
    PhoenixNotFound,
    PhoenixRateLimited,
    PhoenixTimeout,
    PhoenixUnavailable,
)
from tests.actions.events.blocking_phoenix import KEY, BlockingPhoenix, Reads, settle
from tests.manual_clock import ManualClock


def fresh_start(**settings: Any) -> tuple[ManualClock, BlockingPhoenix, Reads]:
    clock = ManualClock()
    phoenix = BlockingPhoenix(clock)
    return clock, phoenix, Reads(phoenix, **settings)


async def test_a_thousand_readers_cost_one_call() -> None:
    """All callers get its answer, marked as live."""
    _, phoenix, replica = fresh_start()
    tasks = [replica.begin() for _ in range(1000)]
    await settle()
    await phoenix.answer()
    assert {Source.LIVE} == {(await task).source for task in tasks}
    assert 1 == phoenix.asked


async def test_within_its_fresh_time_nothing_is_asked() -> None:
    """The age counts from before the request to Phoenix."""
    clock, phoenix, replica = fresh_start()
    task = replica.begin()
    await settle()
    clock.advance(0.25)
    await phoenix.answer()
    assert 0.25 == (await task).age_s
    clock.advance(0.5)
    answer = await replica.read()
    assert (Source.CACHE, 0.75, 1) == (answer.source, answer.age_s, phoenix.asked)


async def test_past_its_fresh_time_it_is_served_while_one_refresh_runs() -> None:
    """However many read, one call; the next reader gets what it brought."""
    clock, phoenix, replica = fresh_start()
    await replica.warm()
    clock.advance(2)
    answers = [await replica.read() for _ in range(50)]
    assert ({Source.STALE}, {2.0}, 2) == (
        {answer.source for answer in answers},
        {answer.age_s for answer in answers},
        phoenix.asked,
    )
    await phoenix.answer()
    assert Source.CACHE is (await replica.read()).source


async def test_a_long_unread_board_is_read_before_it_is_shown() -> None:
    """The first reader after a quiet time does not get the old answer if Phoenix gives a new one soon."""
    clock, phoenix, replica = fresh_start(patience_s=10.0)
    await replica.warm()
    clock.advance(30)
    task = replica.begin()
    await settle()
    assert not task.done()
    await phoenix.answer()
    assert (Source.LIVE, 0.0) == ((await task).source, (await task).age_s)


async def test_a_slow_phoenix_is_not_waited_for_long() -> None:
    """If a cached answer may be served, it is served. The fetch continues for the next reader."""
    clock, phoenix, replica = fresh_start(patience_s=0.0)
    await replica.warm()
    clock.advance(30)
    assert (Source.STALE, 30.0) == ((answer := await replica.read()).source, answer.age_s)
    assert (1, 0) == (phoenix.waiting, phoenix.cancelled)
    await phoenix.answer()
    assert Source.CACHE is (await replica.read()).source


@pytest.mark.parametrize(
    "failure", [PhoenixUnavailable(), PhoenixTimeout(), PhoenixRateLimited(), PhoenixAnswerUnreadable()], ids=repr
)
async def test_while_phoenix_fails_the_old_answer_is_served_for_a_minute(failure: Exception) -> None:
    """Then the caller gets the failure."""
    clock, phoenix, replica = fresh_start(patience_s=10.0)
    await replica.warm()
    clock.advance(30)
    task = replica.begin()
    await settle()
    await phoenix.raise_(failure)
    assert (Source.STALE, 30.0) == ((await task).source, (await task).age_s)
    clock.advance(30.001)
    last = replica.begin()
    await settle()
    await phoenix.raise_(failure)
    with pytest.raises(type(failure)):
        await last


async def test_a_failing_phoenix_is_left_alone_for_a_second() -> None:
    """1,000 readers of an old answer do not cause 1,000 calls to a failing Phoenix."""
    clock, phoenix, replica = fresh_start(patience_s=10.0)
    await replica.warm()
    clock.advance(10)
    task = replica.begin()
    await settle()
    await phoenix.raise_()
    await task
    for _ in range(100):
        assert Source.STALE is (await replica.read()).source
    assert 2 == phoenix.asked
    clock.advance(1.5)
    later = replica.begin()
    await settle()
    assert 3 == phoenix.asked
    await phoenix.answer()
    assert Source.LIVE is (await later).source


async def test_a_refusal_is_an_answer_and_replaces_the_old_one() -> None:
    """A board that was made inactive is not shown for another minute."""
    clock, phoenix, replica = fresh_start(patience_s=10.0)
    await replica.warm()
    clock.advance(10)
    task = replica.begin()
    await settle()
    await phoenix.raise_(BoardNotActive())
    with pytest.raises(BoardNotActive):
        await task
    again = replica.begin()
    await settle()
    assert (1, 3) == (phoenix.waiting, phoenix.asked)
    await phoenix.answer()
    await again


async def test_a_404_is_remembered_for_a_second() -> None:
    """Readers of a board that is not there cost one call a second; its code is kept."""
    clock, phoenix, replica = fresh_start()
    task = replica.begin()
    await settle()
    await phoenix.absent()
    with pytest.raises(PhoenixNotFound):
        await task
    clock.advance(0.9)
    with pytest.raises(PhoenixNotFound) as reported:
        await replica.read()
    assert ("LEADERBOARD_NOT_FOUND", 1) == (reported.value.metadata["phoenix_code"], phoenix.asked)
    clock.advance(0.2)
    later = replica.begin()
    await settle()
    await phoenix.answer()
    assert Source.LIVE is (await later).source


async def test_zero_staleness_is_a_read_that_begins_after_the_call() -> None:
    """A fetch that began before is not joined; those who came before the next one began share that."""
    clock, phoenix, replica = fresh_start(patience_s=10.0)
    first = replica.begin()
    await settle()
    clock.advance(0.1)
    live = [replica.begin(0.0) for _ in range(20)]
    await settle()
    assert 1 == phoenix.asked
    await phoenix.answer()
    await first
    assert (2, [False] * 20) == (phoenix.asked, [task.done() for task in live])
    clock.advance(0.1)
    await phoenix.answer()
    assert {0.1} == {round((await task).age_s, 6) for task in live}


async def test_zero_staleness_does_not_wait_for_a_hanging_fetch() -> None:
    """After a short wait it starts its own fetch."""
    clock, phoenix, replica = fresh_start(patience_s=0.01)
    first = replica.begin()
    await settle()
    clock.advance(0.1)
    live = replica.begin(0.0)
    await phoenix.asked_times(2)
    await phoenix.answer(place=1)
    assert Source.LIVE is (await live).source
    await phoenix.answer()
    await first


@pytest.mark.parametrize(("staleness", "source"), [(0.5, None), (2.0, Source.STALE), (60.0, Source.STALE)])
async def test_staleness_is_the_callers_say(staleness: float, source: Source | None) -> None:
    """An older answer is not served to this caller, but may be served to others."""
    clock, phoenix, replica = fresh_start()
    await replica.warm()
    clock.advance(1.5)
    task = replica.begin(staleness)
    await settle()
    if source is not None:
        assert source is (await task).source
    else:
        assert not task.done()
        await phoenix.answer()
        assert Source.LIVE is (await task).source


async def test_a_caller_with_limits_gets_the_failure_and_not_old_data() -> None:
    """The caller set the highest age."""
    clock, phoenix, replica = fresh_start()
    await replica.warm()
    clock.advance(3)
    task = replica.begin(2.0)
    await settle()
    await phoenix.raise_()
    with pytest.raises(PhoenixUnavailable):
        await task


async def test_what_is_final_is_kept_for_an_hour() -> None:
    """Closed windows and snapshots do not change; yet the caller's limit holds."""
    clock, phoenix, replica = fresh_start()
    task = replica.begin()
    await settle()
    await phoenix.answer(final=True)
    await task
    clock.advance(3500)
    assert (Source.CACHE, 3500.0, 1) == ((answer := await replica.read()).source, answer.age_s, phoenix.asked)
    limited = replica.begin(10.0)
    await settle()
    assert 2 == phoenix.asked
    await phoenix.answer(final=True)
    assert Source.LIVE is (await limited).source


async def test_the_fetch_ends_with_the_last_who_waits() -> None:
    """One who leaves takes nothing from the others; when all have left, nothing more is asked of Phoenix."""
    _, phoenix, replica = fresh_start()
    tasks = [replica.begin() for _ in range(3)]
    await settle()
    tasks[0].cancel()
    await settle()
    assert (1, 0) == (phoenix.waiting, phoenix.cancelled)
    for task in tasks[1:]:
        task.cancel()
    await settle()
    assert (0, 1) == (phoenix.waiting, phoenix.cancelled)
    again = replica.begin()
    await settle()
    await phoenix.answer()
    assert Source.LIVE is (await again).source


async def test_a_caller_waits_no_longer_than_its_deadline() -> None:
    """PHOENIX_TIMEOUT; other callers continue to wait."""
    _, phoenix, replica = fresh_start()
    patient = replica.begin()
    await settle()
    hasty = replica.begin(within_s=0.01)
    with pytest.raises(PhoenixTimeout):
        async with asyncio.timeout(5):
            await hasty
    await phoenix.answer()
    assert Source.LIVE is (await patient).source


async def test_a_hasty_callers_deadline_is_not_the_others() -> None:
    """A caller that joined the fetch and has more time starts another one when the first runs out of time."""
    clock, phoenix, replica = fresh_start()
    hasty = replica.begin(within_s=1.0)
    patient = replica.begin(within_s=100.0)
    await settle()
    clock.advance(1.0)
    await phoenix.raise_(PhoenixTimeout())
    with pytest.raises(PhoenixTimeout):
        await hasty
    assert (1, 2) == (phoenix.waiting, phoenix.asked)
    await phoenix.answer()
    assert Source.LIVE is (await patient).source


async def test_a_late_answer_does_not_replace_a_newer_one() -> None:
    """The fetch that began first may end last."""
    clock, phoenix, replica = fresh_start(patience_s=0.0)
    first = replica.begin()
    await settle()
    clock.advance(0.5)
    live = replica.begin(0.0)
    await settle()
    assert 2 == phoenix.asked
    await phoenix.answer(place=1)
    await live
    await phoenix.answer(early=True)
    assert b"1000.0" == (await first).payload
    assert b"1000.5" == (await replica.read()).payload


async def test_boards_may_have_a_fresh_time_of_their_own() -> None:
    """Five seconds for one, the rest as always; zero asks every time."""
    clock, phoenix, replica = fresh_start(fresh_by_board={"slow": 5.0, "never": 0.0})
    for board in ("slow", "xp", "never"):
        task = replica.begin(key=ReadKey("tenant", board, "leaderboard", ()))
        await settle()
        await phoenix.answer()
        await task
    clock.advance(3)
    sources = [(await replica.read(key=ReadKey("tenant", board, "leaderboard", ()))).source for board in ("slow", "xp")]
    assert [Source.CACHE, Source.STALE] == sources
    never = replica.begin(1000.0, key=ReadKey("tenant", "never", "leaderboard", ()))
    await settle()
    assert Source.STALE is (await never).source


async def test_findings_are_reported() -> None:
    """For the metrics."""
    clock, phoenix, replica = fresh_start()
    await replica.warm()
    await replica.read()
    clock.advance(2)
    await replica.read()
    assert ["miss", "hit", "stale"] == replica.lookups
    await replica.reads.close()
    assert 1 == phoenix.cancelled


def test_two_keys_have_two_names() -> None:
    """No two reads of a tenant share a place in Redis."""
    names = {
        ReadKey("t", board, what, detail).name
        for board in ("a", 'a","b')
        for what in ("rank", "score")
        for detail in (("b",), ("b", "c"), ('b","c',))
    }
    assert (12, True) == (len(names), KEY.name in {KEY.name})
