"""Runs many small pieces of work concurrently, up to a limit. A failure affects only its own piece."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from gateway.errors import GatewayError, InternalFault
from gateway.telemetry.logs import log, where_raised

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 16
"""Enough to hide the round trip to Phoenix, too few to delay other calls."""


async def gather_bounded(
    items: Sequence[T], work: Callable[[T], Awaitable[R]], *, request_id: str, at_once: int = AT_ONCE
) -> list[R | GatewayError]:
    """Return a result or an error per item, in order. If the caller leaves, no further item starts."""
    results: list[R | GatewayError] = [InternalFault()] * len(items)
    waiting = iter(range(len(items)))

    async def worker() -> None:
        for index in waiting:
            try:
                results[index] = await work(items[index])
            except GatewayError as error:
                results[index] = error
            except Exception as error:  # noqa: BLE001 - the failure of one item must not lose the results of the others
                log().error("item failed unexpectedly", request_id=request_id, **where_raised(error))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(at_once, len(items))):
            group.create_task(worker())
    return results
