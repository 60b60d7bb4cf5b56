"""Deadlines in slots: each item once, soon after its time."""

from __future__ import annotations

import asyncio
import time

from gateway.front.http2.deadlines import SLOT_S, Deadlines


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
    assert all(-0.001 <= at - max(began, float(name)) < SLOT_S + 0.2 for name, at in found)
