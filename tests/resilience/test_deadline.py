"""Deadlines on a clock that the test turns."""

from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline
from tests.manual_clock import ManualClock


def test_what_remains_shrinks_with_the_clock_and_goes_below_zero() -> None:
    """A passed deadline has a negative rest."""
    clock = ManualClock()
    deadline = Deadline.after(2.0, clock)
    clock.advance(0.5)
    assert (deadline.remaining(), deadline.expired) == (1.5, False)
    clock.advance(2.0)
    assert (deadline.remaining(), deadline.expired) == (-0.5, True)


def test_at_its_moment_it_has_expired() -> None:
    """Nothing left is nothing left."""
    assert Deadline.after(0.0, ManualClock()).expired


def test_a_shaved_deadline_leaves_time_for_the_way_back() -> None:
    """The original does not change."""
    deadline = Deadline.after(2.0, ManualClock())
    assert (deadline.shaved(0.5).remaining(), deadline.remaining()) == (1.5, 2.0)


def test_the_earlier_of_two_wins_from_either_side() -> None:
    """A row's limit never outlives the caller's, nor the reverse."""
    clock = ManualClock()
    sooner, later = Deadline.after(1.0, clock), Deadline.after(2.0, clock)
    assert (sooner.earlier(later), later.earlier(sooner)) == (sooner, sooner)


def test_setting_the_wall_clock_moves_no_deadline() -> None:
    """Only the monotonic time counts."""
    clock = ManualClock()
    deadline = Deadline.after(2.0, clock)
    clock.set_wall(0.0)
    assert deadline.remaining() == 2.0


def test_the_system_clock_runs_forward() -> None:
    """Both of its times are those of the host."""
    clock = SystemClock()
    first = clock.monotonic()
    assert clock.monotonic() >= first
    assert clock.now() > 1_600_000_000
