"""Sharing one piece of work among all who ask meanwhile."""

import asyncio

import pytest

from gateway.resilience.single_flight import Flight


class Work:
    """Counts its starts and cancellations, and ends when the test wants."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.go = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return 42


def flight(work: Work) -> tuple[Flight[int], list[Flight[int]]]:
    """A flight of the work, and the list that it is added to each time `on_end` is called."""
    ended: list[Flight[int]] = []
    return Flight(work, ended.append), ended


async def joined(shared: Flight[int], count: int) -> list[asyncio.Task[int]]:
    """So many callers, all of them waiting."""
    tasks = [asyncio.create_task(shared.join()) for _ in range(count)]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_all_who_join_share_one_run() -> None:
    """50 callers cost one piece of work, and `on_end` is called at its end."""
    work = Work()
    shared, ended = flight(work)
    tasks = await joined(shared, 50)
    assert ended == []
    work.go.set()
    assert await asyncio.gather(*tasks) == [42] * 50
    assert (work.begun, set(ended)) == (1, {shared})


async def test_one_who_leaves_leaves_the_others_waiting() -> None:
    """Also when it is the first."""
    work = Work()
    shared, ended = flight(work)
    tasks = await joined(shared, 3)
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    assert ended == []
    work.go.set()
    assert await asyncio.gather(*tasks[1:]) == [42, 42]


async def test_the_last_one_to_leave_stops_the_work() -> None:
    """`on_end` is called before the work is cancelled, so no caller joins cancelled work."""
    work = Work()
    cancelled_at_end: list[int] = []
    shared = Flight(work, lambda _: cancelled_at_end.append(work.cancelled))
    tasks = await joined(shared, 2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await shared.wait(5)
    assert (cancelled_at_end[0], work.cancelled) == (0, 1)


async def test_waiting_without_joining_keeps_nothing_alive() -> None:
    """`wait` returns after its time, and the work ends with the last who joined."""
    work = Work()
    shared, _ = flight(work)
    (task,) = await joined(shared, 1)
    await shared.wait(0.001)
    waiting = asyncio.create_task(shared.wait(10))
    task.cancel()
    await asyncio.wait_for(waiting, 5)
    assert work.cancelled == 1


async def test_a_failure_is_shared() -> None:
    """Each caller gets it."""

    async def failing() -> int:
        await asyncio.sleep(0)
        raise LookupError("gone")

    shared = Flight(failing, lambda _: None)
    results = await asyncio.gather(*(shared.join() for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [LookupError] * 3
    with pytest.raises(LookupError):
        await shared.join()
