"""Reads a stream no faster than its messages are processed: a few at a time, acknowledged in their order.

The servicer processes a message. When the process stops, streams end early: messages that were read are processed and
acknowledged, and the status tells the client to send the others again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from gateway.errors import Stopping
from gateway.phoenix.gamification.pending_event import Result

MESSAGES_UNDER_WAY = 4
"""Unacknowledged messages of one stream; past it nothing is read, and flow control makes the client's writes wait."""

Request = TypeVar("Request")
Results = list[Result]
Acknowledgement = tuple[int, "asyncio.Task[Results]"]
"""A message's sequence, and the task that brings its results."""


class StreamGate:
    """Whether streams are read: true until the process stops."""

    def __init__(self) -> None:
        self.is_open = True
        self._on_drain: set[Callable[[], None]] = set()

    def drain(self) -> None:
        """Have every stream read no further."""
        self.is_open = False
        for stop in list(self._on_drain):
            stop()

    def join(self, on_drain: Callable[[], None]) -> None:
        """Call this at `drain`."""
        self._on_drain.add(on_drain)

    def leave(self, on_drain: Callable[[], None]) -> None:
        """Call it no more."""
        self._on_drain.discard(on_drain)


async def ordered_acks(
    requests: AsyncIterator[Request],
    begin: Callable[[Request], Awaitable[Acknowledgement]],
    intake: StreamGate | None = None,
) -> AsyncIterator[tuple[int, Results]]:
    """Begin each message in turn and yield sequence and results of each, in order.

    What `requests` or `begin` raises comes out after all messages before it were yielded. Closed or cancelled, it
    cancels what is under way. Raises: Stopping, likewise last, once `intake` is drained: every message that was begun
    has been yielded by then.
    """
    intake = intake or StreamGate()
    under_way: deque[Acknowledgement] = deque()
    trouble: Exception | None = None
    reading: asyncio.Task[Acknowledgement | None] | None = None
    is_open, is_beginning = True, False
    loop = asyncio.get_running_loop()

    async def read() -> Acknowledgement | None:
        nonlocal is_beginning
        request = await anext(requests, None)
        if request is None:
            return None
        is_beginning = True  # from here on it is ours to finish
        try:
            return await begin(request)
        finally:
            is_beginning = False

    def read_no_further() -> None:
        if reading is not None and not is_beginning:
            reading.cancel()

    intake.join(read_no_further)
    try:
        while is_open or under_way:
            if is_open and reading is None and not intake.is_open:
                trouble, is_open = Stopping(), False
                continue
            if is_open and reading is None and len(under_way) < MESSAGES_UNDER_WAY:
                reading = loop.create_task(read())
            waits: set[asyncio.Task[Acknowledgement | None] | asyncio.Task[Results]] = set()
            if reading is not None:
                waits.add(reading)
            if under_way:
                waits.add(under_way[0][1])
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if reading is not None and reading.cancelled():
                reading = None  # at the stop, see above
            elif reading is not None and reading.done():
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
        intake.leave(read_no_further)
        left: list[asyncio.Task[Acknowledgement | None] | asyncio.Task[Results]] = [done for _, done in under_way]
        if reading is not None:
            left.append(reading)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
            _forget_errors(left)


def _forget_errors(left: list[asyncio.Task[Acknowledgement | None] | asyncio.Task[Results]]) -> None:
    """Retrieve errors that nobody awaits, so that asyncio does not report them."""
    for task in left:
        if not task.cancelled():
            task.exception()
