"""A wait with a limit ends with the cancellation of its task, whatever the work inside makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.resilience.patience import patience


async def lose() -> None:
    """Drop the cancellation, as `asyncio.wait_for` of Python 3.11 does if the result is there."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return


async def mistake() -> None:
    """Take the cancellation for a failure of the other side."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise ConnectionError from None


@pytest.mark.parametrize("work", [lose, mistake])
async def test_a_cancelled_task_does_not_continue_after_the_wait(work: Callable[[], Awaitable[None]]) -> None:
    """It would send to Phoenix what nobody waits for."""

    async def wait() -> None:
        async with patience(60.0):
            await work()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_wait_after_an_earlier_cancellation_goes_on() -> None:
    """A task that has dealt with its cancellation may wait again."""

    async def wait_again() -> str:
        await lose()
        async with patience(60.0):
            await asyncio.sleep(0)
        return "done"

    task = asyncio.create_task(wait_again())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "done"


async def test_a_wait_that_takes_longer_times_out() -> None:
    """As TimeoutError, which is no cancellation."""
    with pytest.raises(TimeoutError):
        async with patience(0.01):
            await asyncio.Event().wait()
