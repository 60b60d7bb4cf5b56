"""Which clock decides, and that a step of the wall clock shows at once."""

from __future__ import annotations

from email.utils import formatdate

from gateway.actions.shared.clock_watch import ClockWatch
from gateway.resilience.deadline import Deadline
from tests.manual_clock import ManualClock


def heard(watch: ClockWatch, clock: ManualClock, *, theirs_ahead_s: float = 0.0, host: str = "https://a") -> None:
    """Give the watch an answer of a host whose clock is ahead of the right time by so much."""
    watch.read(host, {"date": formatdate(clock.now() + theirs_ahead_s, usegmt=True)}, clock.now(), clock.now())


async def kind(watch: ClockWatch, clock: ManualClock) -> str:
    """What is found; empty if the clock is right."""
    cause = await watch.look(Deadline.after(1.0, clock))
    return "" if cause is None else cause.kind


async def test_a_right_clock_is_right() -> None:
    """Also before any other clock was seen."""
    clock = ManualClock()
    watch = ClockWatch(clock)
    assert await kind(watch, clock) == ""
    heard(watch, clock)
    assert await kind(watch, clock) == ""


async def test_a_step_shows_without_another_answer_and_so_does_its_end() -> None:
    """In both directions. 60 s are no fault."""
    clock = ManualClock()
    watch = ClockWatch(clock)
    heard(watch, clock)
    right = clock.now()
    found = []
    for step in (50.0, 90.0, 0.0, -90.0, 0.0):
        clock.set_wall(right + step)
        found.append(await kind(watch, clock))
    assert found == ["", "ahead", "", "behind", ""]


async def test_phoenix_decides_where_it_shows_its_clock() -> None:
    """It judges our signatures. A database on this machine has the same wrong clock."""
    clock = ManualClock()
    watch = ClockWatch(clock, lambda: 0.0)
    heard(watch, clock, theirs_ahead_s=-100)
    assert await kind(watch, clock) == "ahead"


async def test_the_database_decides_otherwise() -> None:
    """An operator's gateway may get no Date."""
    clock = ManualClock()
    assert await kind(ClockWatch(clock, lambda: -90.0), clock) == "behind"
    assert await kind(ClockWatch(clock, lambda: None), clock) == ""


async def test_one_wrong_host_of_two_decides_nothing() -> None:
    """The other one agrees with us."""
    clock = ManualClock()
    watch = ClockWatch(clock)
    heard(watch, clock)
    heard(watch, clock, theirs_ahead_s=500, host="https://b")
    assert await kind(watch, clock) == ""


async def test_an_old_reading_decides_nothing() -> None:
    """The monotonic clock stops while a machine sleeps."""
    clock = ManualClock()
    watch = ClockWatch(clock)
    heard(watch, clock)
    clock.advance(700)
    clock.set_wall(clock.now() + 500)
    assert await kind(watch, clock) == ""
