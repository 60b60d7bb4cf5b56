"""Starts parts in the order of a list, and stops in reverse order those that were started."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from gateway.resilience.supervision import SupervisedTask
from gateway.telemetry.logs import log, where_raised


async def _nothing() -> None:
    """Many parts need only one of the two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the process. `start` cleans up after itself if it fails; `stop` then is not called."""

    name: str
    start: Callable[[], Awaitable[None]] = _nothing
    stop: Callable[[], Awaitable[None]] = _nothing


@asynccontextmanager
async def running(parts: Sequence[Part]) -> AsyncIterator[None]:
    """Start the parts. Stop those that were started, in reverse order, on leaving and when a start fails.

    A part that raises on stopping keeps none of the others from stopping; its error comes out at the end.
    """
    async with AsyncExitStack() as stack:
        for part in parts:
            try:
                await part.start()
            except Exception as error:
                error.add_note(f"The part that did not start: {part.name}.")
                raise
            stack.push_async_callback(_stop, part)
        yield


def background(name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> Part:
    """Return a part that runs `work` until it is stopped; if `work` ends by itself, the process stops."""
    tasks: list[SupervisedTask] = []

    async def start() -> None:
        tasks.append(SupervisedTask(name, work()))

    async def stop() -> None:
        await tasks.pop().stop()

    return Part(name=name, start=start, stop=stop)


async def _stop(part: Part) -> None:
    try:
        await part.stop()
    except Exception as error:
        log().error("a part did not stop cleanly", task=part.name, **where_raised(error))
        raise
