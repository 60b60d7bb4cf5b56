"""Limits in one process: rates, calls at once, changed limits, paced refusals."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.rights import CallLimits
from gateway.resilience.limiter import (
    LONGEST_PACE_S,
    MAX_NAMES,
    REFUSALS_AT_ONCE,
    REFUSALS_PER_S,
    Limiter,
    Rate,
    Refused,
    Usage,
)


def usage(**limits: float) -> Usage:
    return Usage("caller:x", CallLimits(**limits))  # type: ignore[arg-type]  # concurrent is given whole


def admitted(one: Usage, times: int, now: float) -> int:
    return sum(one.enter(now) is None for _ in range(times))


def test_a_seconds_worth_passes_at_once_and_then_as_much_a_second() -> None:
    """Of 100 calls a limit of 10 lets 10 pass; a second later 10 more."""
    one = usage(requests_per_s=10)
    assert admitted(one, 100, 50.0) == 10
    assert admitted(one, 100, 50.0) == 0
    assert admitted(one, 100, 51.0) == 10


def test_a_refusal_shows_when_the_next_call_passes() -> None:
    """Neither earlier nor later."""
    one = usage(requests_per_s=4)
    assert admitted(one, 4, 8.0) == 4
    refused = one.enter(8.0)
    assert refused is not None
    assert refused.limit == "requests_per_s"
    assert refused.retry_after_s == pytest.approx(0.25)
    assert one.enter(8.2) is not None
    assert one.enter(8.25) is None


def test_a_refused_call_is_not_counted_in() -> None:
    """Calls at once: what was refused takes no place."""
    one = usage(concurrent=2)
    assert [one.enter(1.0), one.enter(1.0)] == [None, None]
    assert one.enter(1.0) == Refused(limit="concurrent", retry_after_s=0.1)
    assert one.in_flight == 2
    one.leave()
    assert one.enter(1.0) is None


def test_a_call_refused_for_the_rate_holds_no_place() -> None:
    """Both limits: the place stays free."""
    one = usage(concurrent=5, requests_per_s=1)
    assert admitted(one, 10, 3.0) == 1
    assert one.in_flight == 1


def test_a_batch_above_a_seconds_worth_passes_and_is_owed() -> None:
    """1,000 events at a limit of 100 pass when nothing is owed; the next wait until they are paid for."""
    one = usage(events_per_s=100)
    assert one.add_events(1000, 5.0) is None
    refused = one.add_events(1, 5.0)
    assert refused is not None
    assert refused.retry_after_s == pytest.approx(9.01)
    assert one.add_events(1, 14.02) is None


def test_no_events_cost_nothing_even_when_all_is_used() -> None:
    """An empty message is not refused."""
    one = usage(events_per_s=1)
    assert one.add_events(5, 5.0) is None
    assert one.add_events(0, 5.0) is None


@settings(deadline=None)  # a machine that does much else may take a second for nothing
@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 20)), min_size=1, max_size=200), st.integers(1, 50))
def test_no_more_than_the_rate_ever_passes(steps: list[tuple[float, int]], per_s: int) -> None:
    """Whatever the pattern: at most a burst and the rate times the time that went by."""
    rate, now, passed = Rate(per_s), 10.0, 0
    for wait_s, calls in steps:
        now += wait_s
        passed += sum(rate.take(1.0, now) == 0 for _ in range(calls))
    assert passed <= per_s + per_s * (now - 10.0) + 1e-6 * per_s + 1


def test_a_share_passes_without_the_fleets_balance_and_more_only_with_it() -> None:
    """Of 100 a second, one of four replicas has 25, a fifth of them at once; the balance adds its part."""
    rate = Rate(100)
    rate.settle(balance=0, replicas=4)
    assert sum(rate.take(1, 7.0) == 0 for _ in range(200)) == 5
    assert sum(rate.take(1, 6.0 + step / 25) == 0 for step in range(25, 125)) == 99
    rate.settle(balance=40, replicas=4)
    assert sum(rate.take(1, 10.96) == 0 for _ in range(200)) == 10


def test_a_balance_from_outside_never_raises_a_replica_above_the_whole_limit() -> None:
    """Whoever writes the balance: 100 stay 100."""
    rate = Rate(100)
    passed = 0
    for _ in range(50):
        rate.settle(balance=1e12, replicas=2)
        passed += sum(rate.take(1, 7.0) == 0 for _ in range(200))
    assert passed == 100  # in one moment


def test_without_the_fleet_the_share_stays() -> None:
    """A replica that lost the others goes on as if they were there."""
    rate = Rate(100)
    rate.settle(balance=1000, replicas=2)
    rate.lose_fleet()
    assert sum(rate.take(1, 7.0 + step / 50) == 0 for step in range(50)) == 50
    assert sum(rate.take(1, 7.98) == 0 for _ in range(100)) == 9


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("per_s", [0.4, 1, 7, 100])
def test_workers_that_never_meet_give_no_more_than_the_limit_together(workers: int, per_s: float) -> None:
    """Offered far more for 50 s: the rate for that time, and at first one second's worth or one call of each."""
    group = [Usage("caller:x", CallLimits(requests_per_s=per_s), workers) for _ in range(workers)]
    passed = sum(admitted(one, 3, 7.0 + step / 200) for step in range(50 * 200) for one in group)
    assert 50 * per_s - workers <= passed <= 50 * per_s + max(per_s, workers)


def test_each_worker_allows_its_part_of_a_second_at_once_and_of_the_calls_at_the_same_time() -> None:
    """A burst counts as the rate does; one call always fits."""
    one = Usage("caller:x", CallLimits(requests_per_s=100), 4)
    assert admitted(one, 100, 3.0) == 25
    bounds = [Usage("caller:x", CallLimits(concurrent=limit), 4).bound for limit in (100, 9, 3)]
    assert bounds == [25, 2, 1]


def test_a_worker_that_was_alone_in_the_fleet_falls_back_to_its_part() -> None:
    """Redis is gone: the other workers may begin with theirs at any time."""
    one = Usage("caller:x", CallLimits(requests_per_s=100, concurrent=10), 2)
    assert one.requests is not None
    one.requests.settle(balance=100, replicas=1)
    one.bound = 10
    one.lose_fleet()
    assert one.bound == 5
    assert sum(one.requests.take(1, 7.0 + step / 200) == 0 for step in range(20 * 200)) == pytest.approx(1000, abs=11)


def test_the_first_refusals_leave_at_once_and_a_flood_of_them_at_our_pace() -> None:
    """The rate is REFUSALS_PER_S, and no refusal waits longer than the documented limit."""
    one = usage(requests_per_s=1)
    paces = [one.pace_refusal(100.0) for _ in range(10_000)]
    assert paces[: REFUSALS_AT_ONCE - 1] == [0.0] * (REFUSALS_AT_ONCE - 1)
    assert paces[REFUSALS_AT_ONCE + 199] - paces[REFUSALS_AT_ONCE - 1] == pytest.approx(200 / REFUSALS_PER_S)
    assert max(paces) <= LONGEST_PACE_S
    assert one.pace_refusal(200.0) == 0.0


def test_what_nothing_bounds_is_not_kept() -> None:
    """Such a call costs one look-up."""
    own = CallLimits(concurrent=1)
    limiter = Limiter("caller", lambda name: own if name == "a" else CallLimits())
    found = [limiter.of(name) for name in ("a", "b")]
    assert [None if one is None else one.limits for one in found] == [own, None]


def test_new_limits_hold_for_the_next_call_and_calls_that_run_still_count() -> None:
    """A reload keeps the calls in progress."""
    named = {"a": CallLimits(concurrent=3)}
    limiter = Limiter("caller", named.__getitem__)
    first = limiter.of("a")
    assert first is not None
    assert admitted(first, 3, 1.0) == 3
    named["a"] = CallLimits(concurrent=4)
    limiter.reload()
    second = limiter.of("a")
    assert second is not None
    assert admitted(second, 9, 1.0) == 1


def test_names_without_end_do_not_fill_the_memory() -> None:
    """Idle names are forgotten, busy ones are kept."""
    limiter = Limiter("caller", lambda name: CallLimits(concurrent=1))
    busy = limiter.of("busy")
    assert busy is not None
    assert busy.enter(1.0) is None
    for number in range(MAX_NAMES + 10):
        limiter.of(str(number))
    assert limiter.of("busy") is busy
    assert len(limiter._known) <= MAX_NAMES
