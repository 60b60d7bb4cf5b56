"""The wait before a retry: a pure schedule, without sleeping or a clock.

The caller decides whether a failed call may be retried.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """The number of attempts and the waits between them."""

    max_tries: int = 3
    """Maximum attempts, including the first. More would only use up the caller's deadline."""
    first_wait_s: float = 0.05
    """Upper bound of the first wait, enough for the load balancer to choose another server."""
    longest_wait_s: float = 1.0
    """Upper bound of every wait. Most callers' deadlines are only a few times longer."""


def wait_s(failures: int, settings: RetrySettings, random: Callable[[], float]) -> float:
    """Return the seconds to wait after this many failures (at least 1): a random time below a bound that doubles.

    `random` returns numbers in [0, 1). The whole range is used, so that callers that failed together do not retry
    together.
    """
    if failures < 1:
        raise ValueError("failures must be at least 1")
    # The exponent is bounded, because 2.0 ** 2000 would overflow. The wait has stopped growing long before.
    bound = min(settings.longest_wait_s, settings.first_wait_s * 2.0 ** min(failures - 1, 60))
    return random() * bound
