"""A clock that is set is noticed once, whichever way; time that passes is not."""

from __future__ import annotations

from gateway.resilience.clock_steps import SHOWN_S, ClockSteps
from tests.manual_clock import ManualClock


def test_each_step_is_reported_once() -> None:
    """Forward and back, with its size."""
    clock = ManualClock()
    seen: list[float] = []
    steps = ClockSteps(clock, on_step=lambda step_s: seen.append(round(step_s, 1)))
    for set_by in (600.0, -600.0):
        clock.advance(5.0)
        clock.set_wall(clock.now() + set_by)
        steps.look()
        clock.advance(3600.0)
        assert steps.look() is None
    assert [600.0, -600.0] == seen


def test_small_corrections_are_no_steps() -> None:
    """Up to two seconds between two looks, also when they add up."""
    clock = ManualClock()
    steps = ClockSteps(clock)
    for _ in range(5):
        clock.set_wall(clock.now() + 1.9)
        assert steps.look() is None
    assert steps.trouble() is None


def test_a_step_is_shown_for_a_while() -> None:
    """The last one, with its direction."""
    clock = ManualClock()
    steps = ClockSteps(clock)
    assert steps.trouble() is None
    clock.set_wall(clock.now() - 30.0)
    steps.look()
    assert "set by -30.0 s" == steps.trouble()
    clock.advance(SHOWN_S + 1)
    assert steps.trouble() is None
