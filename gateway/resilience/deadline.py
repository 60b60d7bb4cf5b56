"""The time by which a call must have its answer.

A deadline is created when a call arrives. It is passed down unchanged, or shortened to leave time for the answer. No
step has a timeout of its own that could end after the caller's deadline.
"""

from typing import Self

from gateway.errors.tries import Try
from gateway.resilience.clock import Clock

RETURN_MARGIN_S = 0.02
"""The part of a caller's deadline that is reserved for returning the answer."""
MAX_TRIES = 16
"""Further requests of one call are not noted: a batch may send a thousand."""


class Deadline:
    """A time on a monotonic clock. Immutable but for `tries`; deadlines with the same time are equal.

    Not a dataclass, because a frozen one takes four times as long to create, and each call creates two or three.
    """

    __slots__ = ("at", "clock", "tries")

    tries: list[Try] | None
    """What was sent to Phoenix within this deadline, for the log and `explain`. It is noted here because whatever sends
    has a deadline. A request that several calls share is noted in one of their deadlines only, and a deadline that was
    shortened notes its own."""

    def __init__(self, *, at: float, clock: Clock) -> None:
        """Args: `at` in seconds of `clock.monotonic()`."""
        self.at = at
        self.clock = clock
        self.tries = None

    def note_try(self, one: Try) -> None:
        """Note a request, up to MAX_TRIES."""
        if self.tries is None:
            self.tries = []
        if len(self.tries) < MAX_TRIES:
            self.tries.append(one)

    @classmethod
    def after(cls, seconds: float, clock: Clock) -> Self:
        """Return the deadline this many seconds from now."""
        return cls(at=clock.monotonic() + seconds, clock=clock)

    def remaining(self) -> float:
        """Return the seconds left; zero or negative after it has passed."""
        return self.at - self.clock.monotonic()

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self.at <= self.clock.monotonic()

    def shaved(self, margin_s: float) -> "Deadline":
        """Return a deadline that is `margin_s` earlier."""
        return Deadline(at=self.at - margin_s, clock=self.clock)

    def earlier(self, other: "Deadline") -> "Deadline":
        """Return the earlier of two deadlines. Both must use the same clock."""
        return self if self.at <= other.at else other

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Deadline) and other.at == self.at

    def __hash__(self) -> int:
        return hash(self.at)

    def __repr__(self) -> str:
        return f"Deadline(at={self.at!r})"
