"""A fetch that has ended is freed at once, with all that it holds."""

from __future__ import annotations

import gc

from gateway.resilience.single_flight import Flight
from tests.actions.events.blocking_phoenix import KEY, BlockingPhoenix, Reads, settle
from tests.manual_clock import ManualClock


def flights() -> int:
    return sum(isinstance(one, Flight) for one in gc.get_objects())


async def test_an_ended_fetch_is_freed_without_a_collection() -> None:
    """Every uncached read is a fetch. If each left a cycle, the collector would stop all calls to find them."""
    phoenix = BlockingPhoenix(ManualClock())
    replica = Reads(phoenix)
    gc.collect()
    gc.disable()
    before = flights()
    try:
        for number in range(3):
            task = replica.begin(key=KEY._replace(detail=(str(number),)))
            await settle()
            await phoenix.answer()
            await task
        await settle()
        assert before == flights()
    finally:
        gc.enable()
