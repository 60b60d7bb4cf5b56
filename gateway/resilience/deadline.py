"""The time by which a call must have its answer.

A deadline is created when a call arrives. It is passed down unchanged, or shortened to leave time for the answer. No
step has a timeout of its own that could end after the caller's deadline.
"""

from typing import Self

from gateway.resilience.clock import Clock

RETURN_MARGIN_S = 0.02
"""The part of a caller's deadline that is reserved for returning the answer."""


class Deadline:
    """A time on a monotonic clock. Immutable; deadlines with the same time are equal.

    Not a dataclass, because a frozen one takes four times as long to create, and each call creates two or three.
    """

    __slots__ = ("at", "clock")

    def __init__(self, *, at: float, clock: Clock) -> None:
        """Args: `at` in seconds of `clock.monotonic()`."""
        self.at = at
        self.clock = clock

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
