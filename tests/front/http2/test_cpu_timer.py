"""The CPU time of a coroutine: all of its steps count, waiting does not, and a cancellation reaches it."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.front.http2.cpu_timer import Timed


def work(seconds: float) -> None:
    """Use so much CPU time."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


async def test_all_steps_count_and_waiting_does_not() -> None:
    """Two steps of 10 ms with 100 ms between them."""
    reports: list[float] = []
    steps: list[float] = []

    def step() -> None:
        began = time.thread_time()
        work(0.01)
        steps.append(time.thread_time() - began)  # more than asked for where stolen time counts as CPU time

    async def body() -> None:
        step()
        await asyncio.sleep(0.1)
        step()

    await asyncio.get_running_loop().create_task(Timed(body(), reports.append))
    assert [True] == [0.02 <= sum(steps) <= spent < sum(steps) + 0.03 for spent in reports]


async def test_a_cancelled_task_is_reported_too() -> None:
    """The coroutine meets the cancellation where it waits."""
    reports: list[float] = []
    ended: list[str] = []

    async def body() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    task = asyncio.get_running_loop().create_task(Timed(body(), reports.append))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (["cancelled"], 1) == (ended, len(reports))
