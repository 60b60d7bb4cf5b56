"""Reading a stream no faster than it is worked off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.errors import Stopping
from gateway.phoenix.gamification.pending_event import Submitted
from gateway.services.ordered_acks import MESSAGES_UNDER_WAY, Acknowledgement, Results, StreamGate, ordered_acks


class Work:
    """Incoming numbers. The test decides when each is done."""

    def __init__(self, count: int, breaks_after: int | None = None) -> None:
        self.read: list[int] = []
        self.doing: dict[int, asyncio.Event] = {}
        self.cancelled: list[int] = []
        self._count = count
        self._breaks_after = breaks_after

    async def requests(self) -> AsyncIterator[int]:
        for number in range(1, self._count + 1):
            self.read.append(number)
            yield number

    async def begin(self, number: int) -> Acknowledgement:
        if self._breaks_after is not None and number > self._breaks_after:
            raise ValueError("out of order")
        self.doing[number] = asyncio.Event()
        return number, asyncio.create_task(self._do(number))

    async def _do(self, number: int) -> Results:
        try:
            await self.doing[number].wait()
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        return [Submitted(event_id=str(number), duplicate=False, accepted_at=0.0)]

    async def settle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)


async def test_it_reads_ahead_by_a_few_messages_only() -> None:
    """And by one more for each that is ordered_acks."""
    work = Work(100)
    answers = ordered_acks(work.requests(), work.begin)
    first = asyncio.ensure_future(anext(answers))
    await work.settle()
    assert work.read == list(range(1, MESSAGES_UNDER_WAY + 1))
    work.doing[1].set()
    assert (await first)[0] == 1
    second = asyncio.ensure_future(anext(answers))
    await work.settle()
    assert len(work.read) == MESSAGES_UNDER_WAY + 1
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)


async def test_acknowledgements_keep_the_order_of_the_messages() -> None:
    """Whatever is done first."""
    work = Work(4)
    answers = ordered_acks(work.requests(), work.begin)
    reading = asyncio.ensure_future(anext(answers))
    await work.settle()
    for number in (4, 3, 2, 1):
        assert not reading.done()
        work.doing[number].set()
        await work.settle()
    reported = [await reading, *[one async for one in answers]]
    assert [sequence for sequence, _ in reported] == [1, 2, 3, 4]


async def test_a_broken_message_ends_the_stream_after_those_before_it() -> None:
    """Nobody's result is lost."""
    work = Work(9, breaks_after=2)
    answers = ordered_acks(work.requests(), work.begin)
    reading = asyncio.ensure_future(anext(answers))
    await work.settle()
    for number in (1, 2):
        work.doing[number].set()
    assert [(await reading)[0], (await anext(answers))[0]] == [1, 2]
    with pytest.raises(ValueError, match="out of order"):
        await anext(answers)
    assert work.read == [1, 2, 3]


async def test_closing_it_cancels_what_is_under_way() -> None:
    """The client left."""
    work = Work(9)
    answers = ordered_acks(work.requests(), work.begin)
    reading = asyncio.ensure_future(anext(answers))
    await work.settle()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert work.cancelled == list(range(1, MESSAGES_UNDER_WAY + 1))


async def test_at_a_stop_what_was_begun_is_acknowledged_and_nothing_more_is_read() -> None:
    """Then the client gets the error. Its later messages are not processed."""
    work, intake = Work(100), StreamGate()
    answers = ordered_acks(work.requests(), work.begin, intake)
    first = asyncio.ensure_future(anext(answers))
    await work.settle()
    intake.drain()
    for number in range(1, MESSAGES_UNDER_WAY + 1):
        work.doing[number].set()
    reported = [(await first)[0], *[(await anext(answers))[0] for _ in range(MESSAGES_UNDER_WAY - 1)]]
    assert list(range(1, MESSAGES_UNDER_WAY + 1)) == reported == work.read
    with pytest.raises(Stopping):
        await anext(answers)


async def test_a_stop_ends_a_stream_that_waits_for_its_client() -> None:
    """Nothing will come that could wake it."""
    intake, silent = StreamGate(), asyncio.Event()

    async def requests() -> AsyncIterator[int]:
        await silent.wait()
        yield 1

    reading = asyncio.ensure_future(anext(ordered_acks(requests(), Work(1).begin, intake)))
    await Work(0).settle()
    intake.drain()
    with pytest.raises(Stopping):
        await reading


async def test_a_message_that_is_being_begun_at_a_stop_is_finished() -> None:
    """It was read, and may have left already."""
    work, intake, room = Work(5), StreamGate(), asyncio.Event()

    async def begin(number: int) -> Acknowledgement:
        await room.wait()
        return await work.begin(number)

    answers = ordered_acks(work.requests(), begin, intake)
    first = asyncio.ensure_future(anext(answers))
    await work.settle()
    intake.drain()
    room.set()
    await work.settle()
    work.doing[1].set()
    assert 1 == (await first)[0]
    with pytest.raises(Stopping):
        await anext(answers)
    assert [1] == work.read
