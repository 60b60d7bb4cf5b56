"""The schedule of waits."""

import pytest

from gateway.resilience.retry import RetrySettings, wait_s

SETTINGS = RetrySettings(max_tries=3, first_wait_s=0.1, longest_wait_s=1.0)


@pytest.mark.parametrize(("failures", "bound"), [(1, 0.1), (2, 0.2), (3, 0.4), (5, 1.0), (100_000, 1.0)])
def test_the_bound_doubles_up_to_the_longest(failures: int, bound: float) -> None:
    """However often it failed, the wait stays within its bound."""
    assert wait_s(failures, SETTINGS, lambda: 1.0) == pytest.approx(bound)


def test_the_whole_span_is_drawn_from() -> None:
    """Callers who failed together are spread, some of them trying at once."""
    assert (wait_s(1, SETTINGS, lambda: 0.0), wait_s(1, SETTINGS, lambda: 0.5)) == (0.0, 0.05)


def test_there_is_no_wait_before_the_first_failure() -> None:
    """Asking for one is a programming error."""
    with pytest.raises(ValueError, match="at least 1"):
        wait_s(0, SETTINGS, lambda: 0.5)
