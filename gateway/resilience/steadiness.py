"""Decides from repeated looks whether something works, without following every passing failure.

The first look decides at once. Later, several looks must agree, and for longer when it fails again soon after it came
back. Whoever looks brings the time.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadySettings:
    """How long looks must agree."""

    down_after_s: float = 1.0
    """A failure that is over sooner changes nothing."""
    up_after_s: float = 1.0
    """How long it must work before it counts as working again."""
    up_again_after_s: float = 2.5
    """The same if it fails again within `soon_s`. The end of a fault is noticed within 5 s in any case."""
    soon_s: float = 30.0


class Steadiness:
    """Whether one thing works."""

    __slots__ = ("_came_back_at", "_differs_since", "_settings", "_up_after_s", "works")

    def __init__(self, settings: SteadySettings | None = None) -> None:
        """Begin without an opinion: `works` is None until the first look."""
        self._settings = settings or SteadySettings()
        self.works: bool | None = None
        self._differs_since: float | None = None
        self._came_back_at = float("-inf")
        self._up_after_s = self._settings.up_after_s

    @property
    def is_settled(self) -> bool:
        """Whether the last look agreed with the opinion."""
        return self._differs_since is None

    def saw(self, now: float, *, works: bool) -> bool:
        """Take the result of a look. Return whether the opinion changed. Args: `now`: monotonic seconds."""
        if self.works is None:
            self.works = works
            return True
        if works == self.works:
            self._differs_since = None
            return False
        if self._differs_since is None:
            self._differs_since = now
            return False
        if now - self._differs_since < (self._up_after_s if works else self._settings.down_after_s):
            return False
        self.works, self._differs_since = works, None
        if works:
            self._came_back_at = now
        else:
            is_soon = now - self._came_back_at < self._settings.soon_s
            self._up_after_s = self._settings.up_again_after_s if is_soon else self._settings.up_after_s
        return True
