"""The level of the queue: its limit, and the estimate between two measurements."""

from __future__ import annotations

import pytest

from gateway.errors import Overloaded
from gateway.outbox.queue_level import QueueBound, QueueLevel
from gateway.outbox.record import Depth


def depth(events: int, size_bytes: int = 0) -> Depth:
    return Depth(events=events, size_bytes=size_bytes, dead_letters=0, oldest_at_us=None, now_us=0)


@pytest.mark.parametrize(("events", "size_bytes"), [(4, 10), (1, 101)])
def test_what_does_not_fit_is_refused_with_a_time_to_wait(events: int, size_bytes: int) -> None:
    """By events and by bytes; nothing of it counts then."""
    level = QueueLevel(QueueBound(max_events=3, max_bytes=100))
    with pytest.raises(Overloaded) as refusal:
        level.reserve(events, size_bytes)
    assert refusal.value.retry_after_s == 5.0
    level.reserve(3, 100)


def test_what_is_on_its_way_counts() -> None:
    """Until it is there, or known to be there already."""
    level = QueueLevel(QueueBound(max_events=3))
    level.reserve(2, 20)
    with pytest.raises(Overloaded):
        level.reserve(2, 20)
    level.arrived(2, 20, 1, 10)
    level.reserve(2, 20)
    assert (1, 10) == (level.events, level.size_bytes)


def test_what_left_makes_room() -> None:
    """Delivered or dead."""
    level = QueueLevel(QueueBound(max_events=2))
    level.reserve(2, 20)
    level.arrived(2, 20, 2, 20)
    level.left(2, 20)
    level.reserve(2, 20)
    assert (0, 0) == (level.events, level.size_bytes)


def test_a_measurement_is_taken_over_with_what_changed_meanwhile() -> None:
    """Other gateways' events are known from then on."""
    level = QueueLevel()
    level.measuring()
    level.reserve(5, 50)
    level.arrived(5, 50, 5, 50)
    level.measured(depth(100, 1000))
    assert (105, 1050) == (level.events, level.size_bytes)
    level.measuring()
    level.measured(depth(7, 70))
    assert (7, 70) == (level.events, level.size_bytes)
