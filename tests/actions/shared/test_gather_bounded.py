"""Items of a batch run side by side, bounded, each for itself."""

from __future__ import annotations

import asyncio

from gateway.actions.shared.gather_bounded import gather_bounded
from gateway.errors import GatewayError, InternalFault, PhoenixUnavailable


async def test_results_come_in_order_and_no_more_run_than_may() -> None:
    """Whichever ends first."""
    running, most = 0, 0

    async def work(item: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(item % 3 + 1):
            await asyncio.sleep(0)
        running -= 1
        return item * 2

    results = await gather_bounded(range(50), work, request_id="r", at_once=4)
    assert ([item * 2 for item in range(50)], 4) == (results, most)


async def test_one_that_fails_costs_only_itself() -> None:
    """An unexpected exception too, whose text goes nowhere."""

    async def work(item: int) -> str:
        if item == 1:
            raise PhoenixUnavailable
        if item == 2:
            raise ValueError("secret")
        return "fine"

    results = await gather_bounded(range(4), work, request_id="r")
    assert ["fine", PhoenixUnavailable, InternalFault, "fine"] == [
        type(result) if isinstance(result, GatewayError) else result for result in results
    ]


async def test_when_the_caller_leaves_the_rest_is_not_begun() -> None:
    """And what runs is cancelled."""
    begun, enough = list[int](), asyncio.Event()

    async def work(item: int) -> None:
        begun.append(item)
        if len(begun) == 3:
            enough.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(gather_bounded(range(10), work, request_id="r", at_once=3))
    await enough.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert ([0, 1, 2], True) == (begun, task.cancelled())
