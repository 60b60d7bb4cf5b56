"""Whether Phoenix takes the events of one tenant. While it does not, delivery probes, with growing pauses. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.errors import DeadlineTooShort
from gateway.outbox.delivery_result import is_about_phoenix, requested_wait_s
from gateway.phoenix.gamification.pending_event import Failed, Result
from gateway.resilience.clock import Clock
from gateway.resilience.retry import RetrySettings, wait_s


class PhoenixHealth:
    """What the last results of one tenant say."""

    def __init__(self, clock: Clock, retry: RetrySettings, random: Callable[[], float]) -> None:
        """Args: `retry`: the pauses between probes."""
        self._clock = clock
        self._retry = retry
        self._random = random
        self._failures = 0
        self._pause_until = 0.0

    @property
    def fails(self) -> bool:
        """Whether every event of the last lease failed because of Phoenix."""
        return self._failures > 0

    @property
    def pause_s(self) -> float:
        """How long to wait before the next lease; 0 or less: not at all."""
        return self._pause_until - self._clock.monotonic()

    def record(self, results: Sequence[Result]) -> float:
        """Take the results of one lease. Return the wait in seconds that Phoenix requested."""
        results = [result for result in results if not was_given_back(result)]
        errors_seen = [result.error for result in results if isinstance(result, Failed)]
        requested = max((requested_wait_s(error) for error in errors_seen), default=0.0)
        troubles = [error for error in errors_seen if is_about_phoenix(error)]
        if len(troubles) < len(results):
            self._failures = 0
            return requested
        if not results:
            return 0.0
        self._failures += 1
        pause_s = max(requested, wait_s(self._failures, self._retry, self._random))
        self._pause_until = self._clock.monotonic() + pause_s
        return requested


def was_given_back(result: Result) -> bool:
    """Whether the event was not sent, because its lease or the time for it had ended."""
    return isinstance(result, Failed) and isinstance(result.error, DeadlineTooShort)
