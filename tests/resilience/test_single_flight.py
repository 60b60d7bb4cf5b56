"""Sharing one piece of work among all who ask meanwhile."""

import asyncio

import pytest

from gateway.resilience.single_flight import SingleFlight


class Work:
    """Counts how often it was begun and ended, and ends when told."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.go = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return number


async def asking(flights: SingleFlight[str, int], work: Work, count: int) -> list[asyncio.Task[int]]:
    """So many callers, all of them waiting."""
    tasks = [asyncio.create_task(flights.run("k", work)) for _ in range(count)]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_all_who_ask_meanwhile_share_one_run() -> None:
    """Fifty callers cost one piece of work."""
    flights, work = SingleFlight[str, int](), Work()
    tasks = await asking(flights, work, 50)
    work.go.set()
    assert await asyncio.gather(*tasks) == [1] * 50
    assert (work.begun, len(flights)) == (1, 0)


async def test_who_asks_afterwards_begins_anew() -> None:
    """Nothing is kept."""
    flights, work = SingleFlight[str, int](), Work()
    work.go.set()
    assert [await flights.run("k", work), await flights.run("k", work)] == [1, 2]


async def test_other_keys_do_not_wait() -> None:
    """Work for one key does not hold another back."""
    flights, work, other = SingleFlight[str, int](), Work(), Work()
    tasks = await asking(flights, work, 1)
    other.go.set()
    assert await flights.run("other", other) == 1
    work.go.set()
    await asyncio.gather(*tasks)


async def test_one_who_leaves_leaves_the_others_waiting() -> None:
    """Also when it is the one who began the work."""
    flights, work = SingleFlight[str, int](), Work()
    tasks = await asking(flights, work, 3)
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    work.go.set()
    assert await asyncio.gather(*tasks[1:]) == [1, 1]


async def test_the_last_one_to_leave_stops_the_work_and_the_next_begins_anew() -> None:
    """Nobody joins work that is being cancelled."""
    flights, work = SingleFlight[str, int](), Work()
    tasks = await asking(flights, work, 2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    work.go.set()
    assert await flights.run("k", work) == 2
    assert work.cancelled == 1


async def test_a_failure_is_shared_and_forgotten() -> None:
    """Each caller gets it; the next call tries again."""
    flights = SingleFlight[str, int]()
    tries = 0

    async def failing() -> int:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0)
        raise LookupError("gone")

    results = await asyncio.gather(*(flights.run("k", failing) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [LookupError] * 3
    with pytest.raises(LookupError):
        await flights.run("k", failing)
    assert tries == 2
