"""The breaker: when it opens, who may probe, and whose result counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import CircuitOpen
from gateway.resilience.breaker import Breaker, BreakerSettings, Circuit, Permit
from tests.manual_clock import ManualClock

SETTINGS = BreakerSettings(failures_to_open=3, first_open_s=1.0, longest_open_s=8.0)


def breaker(clock: ManualClock, heard: list[Circuit] | None = None) -> Breaker:
    changes: list[Circuit] = [] if heard is None else heard
    return Breaker(clock, SETTINGS, random=lambda: 1.0, on_change=changes.append)


def state(one: Breaker) -> Circuit:
    return one.circuit


def fail(one: Breaker, times: int = 1, wait_s: float = 0.0) -> None:
    for _ in range(times):
        one.failed(one.enter(), wait_s=wait_s)


def pause_of(one: Breaker) -> float:
    with pytest.raises(CircuitOpen) as refused:
        one.enter()
    assert refused.value.retry_after_s is not None
    return refused.value.retry_after_s


def test_failures_in_a_row_open_it() -> None:
    """The third failure of three refuses the next call, with the time to wait."""
    one = breaker(ManualClock())
    fail(one, 2)
    assert state(one) is Circuit.CLOSED
    fail(one)
    assert pause_of(one) == pytest.approx(1.0)


def test_a_success_between_failures_keeps_it_closed() -> None:
    """Failures count in a row only."""
    one = breaker(ManualClock())
    for _ in range(5):
        fail(one, 2)
        one.succeeded(one.enter())
    assert state(one) is Circuit.CLOSED


def test_one_probe_passes_after_the_pause() -> None:
    """Everyone else waits for what it finds."""
    clock = ManualClock()
    one = breaker(clock)
    fail(one, 3)
    clock.advance(1.0)
    one.enter()
    assert state(one) is Circuit.HALF_OPEN
    assert pause_of(one) == 1.0


def test_a_probe_that_succeeds_closes_it() -> None:
    """Calls pass again, and it takes as many failures as before to open it."""
    clock, heard = ManualClock(), list[Circuit]()
    one = breaker(clock, heard)
    fail(one, 3)
    clock.advance(1.0)
    one.succeeded(one.enter())
    fail(one, 2)
    assert state(one) is Circuit.CLOSED
    assert heard == [Circuit.OPEN, Circuit.HALF_OPEN, Circuit.CLOSED]


def test_each_failed_probe_doubles_the_pause_up_to_a_bound() -> None:
    """1, 2, 4, 8, 8 seconds."""
    clock = ManualClock()
    one = breaker(clock)
    fail(one, 3)
    pauses = []
    for _ in range(5):
        pauses.append(pause_of(one))
        clock.advance(pauses[-1])
        fail(one)
    assert pauses == pytest.approx([1.0, 2.0, 4.0, 8.0, 8.0])


def test_a_pause_that_was_asked_for_is_kept() -> None:
    """Phoenix's Retry-After, within the bound."""
    one = breaker(ManualClock())
    fail(one, 3, wait_s=5.0)
    assert pause_of(one) == pytest.approx(5.0)
    other = breaker(ManualClock())
    fail(other, 3, wait_s=3600.0)
    assert pause_of(other) == pytest.approx(8.0)


def test_an_abandoned_probe_makes_room_for_another() -> None:
    """A probing caller that leaves must not keep the circuit shut for ever."""
    clock = ManualClock()
    one = breaker(clock)
    fail(one, 3)
    clock.advance(1.0)
    one.abandoned(one.enter())
    one.succeeded(one.enter())
    assert state(one) is Circuit.CLOSED


def test_results_of_earlier_calls_do_not_count() -> None:
    """A late answer to a call from before it opened neither closes it nor counts against the probe."""
    clock = ManualClock()
    one = breaker(clock)
    early = [one.enter() for _ in range(3)]
    fail(one, 3)
    one.succeeded(early[0])
    assert state(one) is Circuit.OPEN
    clock.advance(1.0)
    probe = one.enter()
    one.failed(early[1])
    one.abandoned(early[2])
    one.succeeded(early[0])
    assert state(one) is Circuit.HALF_OPEN
    with pytest.raises(CircuitOpen):
        one.enter()
    one.succeeded(probe)
    assert state(one) is Circuit.CLOSED


@given(st.lists(st.sampled_from(["enter", "ok", "bad", "gone", "wait"]), max_size=60))
def test_never_two_probes_and_never_stuck(steps: list[str]) -> None:
    """In any sequence: at most one probe while half open, and a call is allowed after the longest pause."""
    clock = ManualClock()
    one = breaker(clock)
    held: list[tuple[Permit, bool]] = []
    for step in steps:
        if step == "wait":
            clock.advance(0.7)
        elif step == "enter":
            try:
                permit = one.enter()
            except CircuitOpen:
                continue
            held.append((permit, state(one) is Circuit.HALF_OPEN))
        elif held:
            permit, _ = held.pop(0)
            {"ok": one.succeeded, "bad": one.failed, "gone": one.abandoned}[step](permit)
        current = [permit for permit, probe in held if probe and state(one) is Circuit.HALF_OPEN]
        assert len([permit for permit in current if permit == max(current)]) <= 1
    for permit, _ in held:
        one.abandoned(permit)
    clock.advance(8.0)
    one.enter()
