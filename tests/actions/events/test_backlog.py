"""The limit of concurrent events."""

from __future__ import annotations

import asyncio

import pytest

from gateway.actions.events.backlog import Backlog, BacklogSettings
from gateway.errors import DeadlineTooShort, Overloaded
from tests.actions.events.gated_phoenix import soon

SMALL = BacklogSettings(max_events=10, max_bytes=1000)


@pytest.mark.parametrize(("events", "size_bytes"), [(6, 1), (1, 600)])
def test_past_either_bound_a_call_is_refused_with_a_time_to_wait(events: int, size_bytes: int) -> None:
    """And goes through once there is room."""
    backlog = Backlog(SMALL)
    backlog.take(5, 500)
    with pytest.raises(Overloaded) as refused:
        backlog.take(events, size_bytes)
    assert refused.value.retry_after_s == 1.0
    backlog.give_back(5, 500)
    backlog.take(events, size_bytes)


def test_what_is_larger_than_the_bound_goes_alone() -> None:
    """Else it would never go."""
    backlog = Backlog(SMALL)
    backlog.take(100, 10_000)
    with pytest.raises(Overloaded):
        backlog.take(1, 1)


async def test_a_stream_waits_for_room() -> None:
    """It is not refused."""
    backlog = Backlog(SMALL)
    backlog.take(10, 10)
    waiting = asyncio.create_task(backlog.take_in_turn(5, 5, soon()))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    backlog.give_back(10, 10)
    await waiting
    assert backlog.events == 5


async def test_waiting_ends_with_the_deadline() -> None:
    """Nothing is taken then."""
    backlog = Backlog(SMALL)
    backlog.take(10, 10)
    with pytest.raises(DeadlineTooShort):
        await backlog.take_in_turn(5, 5, soon(0.01))
    backlog.give_back(10, 10)
    assert backlog.events == 0
