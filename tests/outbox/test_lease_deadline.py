"""The deadline of sends under a lease ends with the lease, however it is passed on."""

from __future__ import annotations

from gateway.outbox.lease_deadline import LeaseDeadline
from gateway.resilience.deadline import Deadline
from tests.manual_clock import ManualClock


def test_it_has_passed_when_the_lease_may_be_lost() -> None:
    """Also where it was shortened, or compared with an earlier or later one."""
    clock = ManualClock()
    held = [True]
    own = LeaseDeadline(at=clock.monotonic() + 8, clock=clock, holds=lambda: held[0])
    passed_on = [own, own.shaved(1), own.earlier(Deadline.after(5, clock)), own.earlier(Deadline.after(500, clock))]
    assert [8.0, 7.0, 5.0, 8.0] == [one.remaining() for one in passed_on]
    assert not any(one.expired for one in passed_on)
    held[0] = False
    assert [0.0] * 4 == [one.remaining() for one in passed_on]
    assert all(one.expired for one in passed_on)


def test_it_has_passed_at_its_time() -> None:
    """While the lease is held."""
    clock = ManualClock()
    own = LeaseDeadline(at=clock.monotonic() + 8, clock=clock, holds=lambda: True)
    clock.advance(9)
    assert own.expired
    assert -1.0 == own.remaining()
