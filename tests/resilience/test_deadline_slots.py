"""Deadlines in slots: each item once, soon after its time; and the end of a block in a task."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from gateway.resilience.deadline_slots import SLOT_S, Deadlines, Until


def slots() -> Deadlines[Until]:
    return Deadlines(asyncio.get_running_loop(), time.monotonic, Until.expire)


async def hang() -> None:
    await asyncio.get_running_loop().create_future()


async def test_a_block_ends_soon_after_its_deadline() -> None:
    """Whatever it waits for, with the error that asyncio.timeout raises; the task is not cancelled."""
    began = time.monotonic()
    with pytest.raises(TimeoutError), Until(slots(), began + 0.05):
        await hang()
    assert 0.05 <= time.monotonic() - began < 0.05 + SLOT_S + 0.5
    task = asyncio.current_task()
    assert task is not None
    assert 0 == task.cancelling()


async def test_a_block_that_ends_in_time_is_left_alone() -> None:
    """Nor is what follows it; nothing of it is kept."""
    watched = slots()
    for _ in range(3):
        with Until(watched, time.monotonic() + 0.02):
            await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    assert {} == watched._slots


async def test_a_cancellation_from_outside_is_no_timeout() -> None:
    """Not even at the very moment of the deadline: who cancels a call wants to see it end."""

    async def call() -> None:
        with Until(slots(), time.monotonic() + 0.02):
            await hang()

    async def at_once() -> None:
        until = Until(slots(), time.monotonic() + 10)
        with until:
            until.expire()
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await hang()

    early = asyncio.create_task(call())
    await asyncio.sleep(0)
    early.cancel()
    for ended in (early, asyncio.create_task(at_once())):
        with pytest.raises(asyncio.CancelledError):
            await ended


async def test_an_inner_block_leaves_the_outer_one_its_deadline() -> None:
    """Each ends its own block only."""
    watched = slots()

    async def inner() -> None:
        with Until(watched, time.monotonic() + 0.02):
            await hang()

    async def outer() -> None:
        with Until(watched, time.monotonic() + 0.06):
            with contextlib.suppress(TimeoutError):
                await inner()
            ended.append("inner")
            await hang()

    ended: list[str] = []
    with pytest.raises(TimeoutError):
        await outer()
    assert ["inner"] == ended


async def test_each_of_many_deadlines_comes_once_and_in_time() -> None:
    """Also one that is earlier than the timer that runs, and one that has passed."""
    found: list[tuple[str, float]] = []

    class Item:
        deadline_slot = -1

        def __init__(self, at: float) -> None:
            self.at = at

    began = time.monotonic()
    watched: Deadlines[Item] = Deadlines(
        asyncio.get_running_loop(), time.monotonic, lambda item: found.append((f"{item.at:.3f}", time.monotonic()))
    )
    offsets = [0.1, -1.0, 0.03, 0.0, 0.031, *(0.001 * number for number in range(100))]
    for offset in offsets:
        watched.add(Item(began + offset), began + offset)
    await asyncio.sleep(0.4)
    assert sorted(f"{began + offset:.3f}" for offset in offsets) == sorted(name for name, _ in found)
    assert all(at >= float(name) - 0.001 for name, at in found)
