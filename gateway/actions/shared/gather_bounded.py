"""Many small pieces of work side by side, within a bound; one that fails costs only itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from gateway.errors import GatewayError, InternalFault
from gateway.telemetry.logs import log, where_raised

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 16
"""Enough to hide the way to Phoenix, too few to crowd out others."""


async def gather_bounded(
    items: Sequence[T], work: Callable[[T], Awaitable[R]], *, request_id: str, at_once: int = AT_ONCE
) -> list[R | GatewayError]:
    """Return a result or an error per item, in order. When the caller leaves, what was not begun is not begun."""
    results: list[R | GatewayError] = [InternalFault()] * len(items)
    waiting = iter(range(len(items)))

    async def worker() -> None:
        for index in waiting:
            try:
                results[index] = await work(items[index])
            except GatewayError as error:
                results[index] = error
            except Exception as error:  # noqa: BLE001 - one item's trouble must not cost the others their results
                log().error("item failed unexpectedly", request_id=request_id, **where_raised(error))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(at_once, len(items))):
            group.create_task(worker())
    return results
