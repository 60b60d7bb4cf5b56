"""A time limit for waiting on another process, which a pause of this process does not use up.

A limit on the wall clock blames the other side for whatever stops this event loop: a long garbage collection, a busy
machine, a machine that slept. This one counts steps, and a pause of any length uses up one of them.

A caller that leaves does not continue after the wait: `asyncio.wait_for` of Python 3.11, which client libraries use,
drops a cancellation that comes together with the result.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

STEP_S = 0.025
"""Length of a step. Longer than a turn of a busy event loop, and short enough for limits of 50 ms."""
_FEWEST_STEPS = 2


class patience:  # noqa: N801 - a context manager, named as those of the standard library
    """`async with patience(limit_s):` raises TimeoutError when the work inside takes longer.

    It raises CancelledError when the task was cancelled and the work inside ended otherwise.
    """

    __slots__ = ("_cancelling", "_left", "_step_s", "_timeout", "_timer")

    def __init__(self, limit_s: float) -> None:
        self._left = max(_FEWEST_STEPS, round(limit_s / STEP_S))
        self._step_s = max(limit_s, 0.0) / self._left
        self._timeout = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None
        self._cancelling = 0

    async def __aenter__(self) -> None:
        self._cancelling = _cancelling()
        await self._timeout.__aenter__()
        self._timer = asyncio.get_running_loop().call_later(self._step_s, self._step)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._timeout.__aexit__(kind, error, where)
        if (kind is None or issubclass(kind, Exception)) and _cancelling() > self._cancelling:
            raise asyncio.CancelledError

    def _step(self) -> None:
        self._left -= 1
        loop = asyncio.get_running_loop()
        if self._left > 0:
            self._timer = loop.call_later(self._step_s, self._step)
        else:
            self._timeout.reschedule(loop.time())


def _cancelling() -> int:
    """Return how often this task was cancelled."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()
