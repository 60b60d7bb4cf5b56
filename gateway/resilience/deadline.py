"""The moment by which a call must have its answer.

One deadline is made when a call arrives and handed down unchanged, or shaved to leave time for the way back; no step
starts a time limit of its own that could outlive the caller's.
"""

from typing import Self

from gateway.resilience.clock import Clock

RETURN_MARGIN_S = 0.02
"""What is left of a caller's deadline for the way back: an answer that takes all of it comes too late to be read."""


class Deadline:
    """A moment on the monotonic clock that it carries with it. Never changed; two of one moment are equal.

    No dataclass: a frozen one takes four times as long to make, and each call makes two or three.
    """

    __slots__ = ("at", "clock")

    def __init__(self, *, at: float, clock: Clock) -> None:
        """Args: `at` in seconds of `clock.monotonic()`."""
        self.at = at
        self.clock = clock

    @classmethod
    def after(cls, seconds: float, clock: Clock) -> Self:
        """The deadline so many seconds from now."""
        return cls(at=clock.monotonic() + seconds, clock=clock)

    def remaining(self) -> float:
        """Seconds left; zero or negative once it has passed."""
        return self.at - self.clock.monotonic()

    @property
    def expired(self) -> bool:
        """Whether nothing is left."""
        return self.at <= self.clock.monotonic()

    def shaved(self, margin_s: float) -> Self:
        """The same deadline, so many seconds sooner."""
        return type(self)(at=self.at - margin_s, clock=self.clock)

    def earlier(self, other: "Deadline") -> "Deadline":
        """Whichever of the two comes first; both must hang on the same clock."""
        return self if self.at <= other.at else other

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Deadline) and other.at == self.at

    def __hash__(self) -> int:
        return hash(self.at)

    def __repr__(self) -> str:
        return f"Deadline(at={self.at!r})"
