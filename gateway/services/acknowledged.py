"""Reads a stream no faster than it is worked off: a few messages under way, acknowledged in their order.

What a message is about, and what becomes of it, is given by the servicer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from gateway.actions.submit_events import Failed, Submitted

MESSAGES_UNDER_WAY = 4
"""Unacknowledged messages of one stream; past it nothing is read, and flow control makes the client's writes wait."""

Request = TypeVar("Request")
Results = list[Submitted | Failed]
Acknowledgement = tuple[int, "asyncio.Task[Results]"]
"""A message's sequence, and the task that brings its results."""


async def acknowledged(
    requests: AsyncIterator[Request], begin: Callable[[Request], Awaitable[Acknowledgement]]
) -> AsyncIterator[tuple[int, Results]]:
    """Begin each message in turn and yield sequence and results of each, in order.

    What `requests` or `begin` raises comes out after all messages before it were yielded. Closed or cancelled, it
    cancels what is under way.
    """
    under_way: deque[Acknowledgement] = deque()
    trouble: Exception | None = None
    reading: asyncio.Task[Acknowledgement | None] | None = None
    is_open = True
    loop = asyncio.get_running_loop()

    async def read() -> Acknowledgement | None:
        request = await anext(requests, None)
        return None if request is None else await begin(request)

    try:
        while is_open or under_way:
            if is_open and reading is None and len(under_way) < MESSAGES_UNDER_WAY:
                reading = loop.create_task(read())
            waits: set[asyncio.Task[Acknowledgement | None] | asyncio.Task[Results]] = set()
            if reading is not None:
                waits.add(reading)
            if under_way:
                waits.add(under_way[0][1])
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if reading is not None and reading.done():
                try:
                    begun = reading.result()
                except Exception as error:  # noqa: BLE001 - whatever it is, it comes out below
                    trouble, begun = error, None
                reading = None
                if begun is None:
                    is_open = False
                else:
                    under_way.append(begun)
            while under_way and under_way[0][1].done():
                sequence, done = under_way.popleft()
                yield sequence, done.result()
        if trouble is not None:
            raise trouble
    finally:
        left: list[asyncio.Task[Acknowledgement | None] | asyncio.Task[Results]] = [done for _, done in under_way]
        if reading is not None:
            left.append(reading)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
            _forget_errors(left)


def _forget_errors(left: list[asyncio.Task[Acknowledgement | None] | asyncio.Task[Results]]) -> None:
    """Ask for errors that nobody will see, so that asyncio does not report them."""
    for task in left:
        if not task.cancelled():
            task.exception()
