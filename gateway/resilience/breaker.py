"""A circuit breaker: stop calls to a failing service, and probe with one call at a time until it is back.

There is one breaker for each tenant and surface. The caller decides what counts as a failure.
"""

import enum
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NewType

from gateway.errors import CircuitOpen
from gateway.resilience.clock import Clock

Permit = NewType("Permit", int)
"""Permission for one call, returned with the result of the call."""


class Circuit(enum.Enum):
    """The state of a breaker."""

    CLOSED = "closed"
    """Calls pass."""
    OPEN = "open"
    """No call passes, for a while."""
    HALF_OPEN = "half_open"
    """One probe passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """When the breaker opens, and for how long."""

    failures_to_open: int = 5
    """Consecutive failures. One bad server of several does not cause this many in a row."""
    first_open_s: float = 1.0
    """Upper bound of the first pause. Each failed probe doubles it."""
    longest_open_s: float = 30.0
    """Upper bound of every pause. The service's return is noticed within this time."""


class Breaker:
    """Closed, open, or half open with one probe.

    A result counts only in the state in which its call began: results of calls from before the breaker opened neither
    close it nor keep it open.
    """

    def __init__(
        self,
        clock: Clock,
        settings: BreakerSettings | None = None,
        *,
        random: Callable[[], float] = random.random,
        on_change: Callable[[Circuit], None] = lambda circuit: None,
    ) -> None:
        """Start closed. `on_change` receives every change of state."""
        self._clock = clock
        self._settings = settings or BreakerSettings()
        self._random = random
        self._on_change = on_change
        self._circuit = Circuit.CLOSED
        self._epoch = 0
        self._failures = 0
        self._openings = 0
        self._open_until = 0.0
        self._probing = False

    @property
    def circuit(self) -> Circuit:
        """The last state. An open breaker whose pause is over becomes half open with the next call."""
        return self._circuit

    def enter(self) -> Permit:
        """Return a permit for one call. Return it with exactly one of `succeeded`, `failed` and `abandoned`.

        Raises: CircuitOpen, with the time until the next probe.
        """
        if self._circuit is not Circuit.CLOSED:
            self._admit_probe()
        return Permit(self._epoch)

    def succeeded(self, permit: Permit) -> None:
        """Record that the call was answered."""
        if permit != self._epoch:
            return
        self._failures = 0
        if self._circuit is Circuit.HALF_OPEN:
            self._openings = 0
            self._change(Circuit.CLOSED)

    def failed(self, permit: Permit, *, wait_s: float = 0.0) -> None:
        """Record that the service failed. `wait_s`: the pause that the service requested, if any."""
        if permit != self._epoch:
            return
        self._failures += 1
        if self._circuit is Circuit.HALF_OPEN or self._failures >= self._settings.failures_to_open:
            self._open(wait_s)

    def abandoned(self, permit: Permit) -> None:
        """Record a call without a result, such as one whose caller left."""
        if permit == self._epoch:
            self._probing = False

    def _admit_probe(self) -> None:
        left_s = self._open_until - self._clock.monotonic()
        if self._circuit is Circuit.OPEN and left_s <= 0:
            self._change(Circuit.HALF_OPEN)
        if self._circuit is Circuit.OPEN or self._probing:
            # While a probe runs, the remaining time is unknown; the first pause is a reasonable estimate.
            raise CircuitOpen(retry_after_s=left_s if left_s > 0 else self._settings.first_open_s)
        self._probing = True

    def _open(self, wait_s: float) -> None:
        settings = self._settings
        # The exponent is bounded, because 2.0 ** 2000 would overflow. The pause has stopped growing long before.
        pause_s = min(settings.longest_open_s, settings.first_open_s * 2.0 ** min(self._openings, 60))
        # At least half of it, so that it is a pause; not always all, so that replicas probe at different times.
        pause_s *= 0.5 + 0.5 * self._random()
        self._openings += 1
        self._open_until = self._clock.monotonic() + max(pause_s, min(wait_s, settings.longest_open_s))
        self._change(Circuit.OPEN)

    def _change(self, circuit: Circuit) -> None:
        self._circuit = circuit
        self._epoch += 1
        self._failures = 0
        self._probing = False
        self._on_change(circuit)
