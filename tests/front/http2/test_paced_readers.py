"""Connections that are read seldom take turns, and one that has gone takes none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from gateway.front.http2.paced_readers import PacedReaders


async def test_one_at_a_time_in_turns_and_none_that_has_gone() -> None:
    """Whoever opens and closes many connections keeps nobody waiting by it."""
    paced, read = PacedReaders(), list[str]()

    def note(name: str) -> bool:
        read.append(name)
        return name != "gone"

    for name in ("a", "gone", "gone", "b", "gone", "c"):
        paced.add(partial(note, name))
    assert [] == read
    await until(lambda: len(read) > 0)
    assert ["a"] == read
    await until(lambda: len(read) > 1)
    assert ["a", "gone", "gone", "b"] == read
    paced.stop()


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not reached():  # noqa: ASYNC110 - a timer of the loop is what it waits for
            await asyncio.sleep(0)
