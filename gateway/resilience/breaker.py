"""Stops calling what keeps failing, and finds out with one probe at a time when it is back.

One breaker stands before one tenant's way to one surface. What counts as a failure is the caller's to say; nothing
here knows Phoenix. Source: issue 5, point 6.
"""

import enum
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NewType

from gateway.errors import CircuitOpen
from gateway.resilience.clock import Clock

Permit = NewType("Permit", int)
"""Leave to make one call; given back with how it went."""


class Circuit(enum.Enum):
    """Whether calls pass."""

    CLOSED = "closed"
    """They do."""
    OPEN = "open"
    """None does, for a while."""
    HALF_OPEN = "half_open"
    """One probe does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """When to give up and for how long."""

    failures_to_open: int = 5
    """Failures in a row, without one success between them: a single bad server of several does not get there."""
    first_open_s: float = 1.0
    """Upper bound of the first pause; each failed probe doubles it."""
    longest_open_s: float = 30.0
    """Upper bound of any pause: Phoenix's return is noticed within it."""


class Breaker:
    """Closed, open, or half open with one probe.

    A result counts only for the state in which its call began: answers to calls from before it opened neither close it
    nor keep it open.
    """

    def __init__(
        self,
        clock: Clock,
        settings: BreakerSettings | None = None,
        *,
        random: Callable[[], float] = random.random,
        on_change: Callable[[Circuit], None] = lambda circuit: None,
    ) -> None:
        """Begin closed. `on_change` hears every change of state."""
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
        """The state as it was left; an open one whose pause is over turns half open with the next call."""
        return self._circuit

    def enter(self) -> Permit:
        """Return leave for one call, to be given back by exactly one of `succeeded`, `failed` and `abandoned`.

        Raises: CircuitOpen, with the time until the next probe.
        """
        if self._circuit is not Circuit.CLOSED:
            self._admit_probe()
        return Permit(self._epoch)

    def succeeded(self, permit: Permit) -> None:
        """The call was answered."""
        if permit != self._epoch:
            return
        self._failures = 0
        if self._circuit is Circuit.HALF_OPEN:
            self._openings = 0
            self._change(Circuit.CLOSED)

    def failed(self, permit: Permit, *, wait_s: float = 0.0) -> None:
        """The call failed in a way that speaks against calling on. `wait_s`: the pause that was asked for, if any."""
        if permit != self._epoch:
            return
        self._failures += 1
        if self._circuit is Circuit.HALF_OPEN or self._failures >= self._settings.failures_to_open:
            self._open(wait_s)

    def abandoned(self, permit: Permit) -> None:
        """The call says nothing either way, such as one whose caller left."""
        if permit == self._epoch:
            self._probing = False

    def _admit_probe(self) -> None:
        left_s = self._open_until - self._clock.monotonic()
        if self._circuit is Circuit.OPEN and left_s <= 0:
            self._change(Circuit.HALF_OPEN)
        if self._circuit is Circuit.OPEN or self._probing:
            # While a probe is under way nobody knows; the first pause is as good a guess as any.
            raise CircuitOpen(retry_after_s=left_s if left_s > 0 else self._settings.first_open_s)
        self._probing = True

    def _open(self, wait_s: float) -> None:
        settings = self._settings
        # The exponent is bounded: 2.0 ** 2000 would overflow long after the pause has stopped growing.
        pause_s = min(settings.longest_open_s, settings.first_open_s * 2.0 ** min(self._openings, 60))
        # At least half of it, so that it is a pause; not always all, so that a fleet does not probe as one.
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
