"""The share of retries in any window of time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.resilience.retry_budget import ALWAYS, SHARE, WINDOW_S, RetryBudget


def test_few_calls_are_retried_as_usual() -> None:
    """A gateway with little traffic never meets the bound."""
    budget = RetryBudget()
    taken = 0
    for number in range(5):
        budget.note_first_try(100.0 + number)
        taken += budget.take_retry(100.0 + number) + budget.take_retry(100.0 + number)
    assert taken == 10


def test_an_outage_gets_a_fifth_more_and_no_more() -> None:
    """Each of 1,000 calls fails and would be tried twice more."""
    budget = RetryBudget()
    for number in range(1000):
        budget.note_first_try(100.0 + number / 200)
    taken = sum(budget.take_retry(105.0) for _ in range(2000))
    assert taken == 200
    assert budget.take_retry(105.0 + WINDOW_S + 1)


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(0, 30), st.integers(0, 60)), max_size=60))
def test_no_window_has_more(steps: list[tuple[float, int, int]]) -> None:
    """Whatever comes when: in any 10 s the retries stay below the share of the first tries that could be counted."""
    budget = RetryBudget()
    now, first, retries = 1000.0, [], []
    for wait, calls, wished in steps:
        now += wait
        for _ in range(calls):
            budget.note_first_try(now)
            first.append(now)
        retries += [now for _ in range(wished) if budget.take_retry(now)]
    for end in retries:
        in_window = sum(end - WINDOW_S < at <= end for at in retries)
        counted = sum(end - WINDOW_S - 1 < at <= end for at in first)
        assert in_window <= max(ALWAYS, SHARE * counted)
