"""How long to wait before trying again: a pure schedule, no sleeping and no clock.

Whether a failed call may be tried at all is for the room that knows what the call does.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """How often and how patiently."""

    max_tries: int = 3
    """Tries in all, the first included. More would mostly spend the caller's deadline."""
    first_wait_s: float = 0.05
    """Upper bound of the first wait; a restart of one of several servers is over by then."""
    longest_wait_s: float = 1.0
    """Upper bound of any wait; a caller's deadline is seldom longer than a few of them."""


def wait_s(failures: int, settings: RetrySettings, random: Callable[[], float]) -> float:
    """Seconds to wait after so many failures (1 or more): anything up to a bound that doubles each time.

    `random` gives numbers in [0, 1). The whole span is drawn from, so that callers who failed together do not come back
    together.
    """
    if failures < 1:
        raise ValueError("there is nothing to wait for before the first failure")
    # The exponent is bounded: 2.0 ** 2000 would overflow long after the wait has stopped growing.
    bound = min(settings.longest_wait_s, settings.first_wait_s * 2.0 ** min(failures - 1, 60))
    return random() * bound
