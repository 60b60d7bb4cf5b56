"""Reads of a fleet: one fetch for all replicas, and no replica that depends on another or on the cache."""

from __future__ import annotations

import pytest

from gateway.actions.boards.read_values import Source
from gateway.errors import BoardNotActive, PhoenixNotFound, PhoenixUnavailable
from tests.actions.events.blocking_phoenix import BlockingPhoenix, Reads, SharedMemory, settle
from tests.manual_clock import ManualClock


class Fleet:
    """Replicas before one Phoenix."""

    def __init__(self, replicas: int = 3) -> None:
        self.clock = ManualClock()
        self.phoenix = BlockingPhoenix(self.clock)
        self.shared = SharedMemory(self.clock)
        self.replicas = [Reads(self.phoenix, self.shared) for _ in range(replicas)]

    async def look_again(self, seconds: float) -> None:
        """Advance the clock and let waiting callers poll again."""
        self.clock.advance(seconds)
        for replica in self.replicas:
            replica.tick.set()
        await settle()


async def test_a_fleets_stampede_costs_one_call() -> None:
    """A hundred readers at each of three replicas; those who did not fetch say that it is from the cache."""
    fleet = Fleet()
    tasks = [replica.begin() for replica in fleet.replicas for _ in range(100)]
    await settle()
    assert 1 == fleet.phoenix.asked
    await fleet.look_again(0.1)
    await fleet.phoenix.answer()
    await fleet.look_again(0.1)
    answers = [await task for task in tasks]
    assert 1 == fleet.phoenix.asked
    assert [100, 200] == [sum(answer.source is source for answer in answers) for source in (Source.LIVE, Source.CACHE)]
    assert {0.1, 0.2} == {round(answer.age_s, 6) for answer in answers}


async def test_a_crashed_replica_delays_no_other_for_long() -> None:
    """After a second the others fetch for themselves."""
    fleet = Fleet(2)
    dead = fleet.replicas[0].begin()
    await settle()
    task = fleet.replicas[1].begin()
    await settle()
    await fleet.look_again(0.9)
    assert 1 == fleet.phoenix.asked
    await fleet.look_again(0.2)
    assert 2 == fleet.phoenix.asked
    await fleet.phoenix.answer(place=1)
    assert Source.LIVE is (await task).source
    dead.cancel()


@pytest.mark.parametrize("failure", [PhoenixUnavailable(), BoardNotActive()], ids=repr)
async def test_a_failed_fetch_gives_the_lease_back(failure: Exception) -> None:
    """The next replica tries at once."""
    fleet = Fleet(2)
    first, second = (replica.begin() for replica in fleet.replicas)
    await settle()
    await fleet.phoenix.raise_(failure)
    with pytest.raises(type(failure)):
        await first
    await fleet.look_again(0.02)
    assert 2 == fleet.phoenix.asked
    await fleet.phoenix.answer()
    assert Source.LIVE is (await second).source


async def test_a_404_is_shared() -> None:
    """With its code."""
    fleet = Fleet(2)
    first, second = (replica.begin() for replica in fleet.replicas)
    await settle()
    await fleet.phoenix.absent()
    await fleet.look_again(0.02)
    for task in (first, second):
        with pytest.raises(PhoenixNotFound) as reported:
            await task
        assert "LEADERBOARD_NOT_FOUND" == reported.value.metadata["phoenix_code"]
    assert 1 == fleet.phoenix.asked


async def test_without_the_cache_each_replica_is_on_its_own() -> None:
    """Slower for Phoenix, never wrong; and it is counted."""
    fleet = Fleet(2)
    fleet.shared.is_down = True
    tasks = [replica.begin() for replica in fleet.replicas]
    await settle()
    assert 2 == fleet.phoenix.asked
    for _ in tasks:
        await fleet.phoenix.answer()
    assert [Source.LIVE] * 2 == [(await task).source for task in tasks]
    assert ["miss", "unavailable"] == fleet.replicas[0].lookups


async def test_a_live_read_passes_the_shared_cache_by_and_fills_it() -> None:
    """Zero staleness asks Phoenix though another replica just did."""
    fleet = Fleet(2)
    await fleet.replicas[0].warm()
    live = fleet.replicas[1].begin(0.0)
    await settle()
    assert 2 == fleet.phoenix.asked
    fleet.clock.advance(0.5)
    await fleet.phoenix.answer()
    assert Source.LIVE is (await live).source
    assert 1 == len(fleet.shared.entries)


@pytest.mark.parametrize("garbage", [b"", b"V", b"V\xff\xff", b"Z\x00\x00abc"])
async def test_what_another_version_wrote_is_as_good_as_nothing(garbage: bytes) -> None:
    """Its seal holds, its form is unknown, or it is cut short."""
    fleet = Fleet(1)
    await fleet.replicas[0].warm()
    ((place, (_, as_of, until)),) = fleet.shared.entries.items()
    fleet.shared.entries[place] = (garbage, as_of, until)
    other = Reads(fleet.phoenix, fleet.shared)
    task = other.begin()
    await settle()
    assert 2 == fleet.phoenix.asked
    await fleet.phoenix.answer()
    assert Source.LIVE is (await task).source
