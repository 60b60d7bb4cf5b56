"""The versions of one secret, and the rules by which a version takes over. Pure: times are arguments.

A version is announced, then active, then retiring (what it signed is still valid), then retired. The newest version
that is due is active, unless Phoenix refused it in a trial. The order is that of the names, not of arrival: a file with
an older name never takes over. loaded_secret.py reads the files; gateway/server makes the trials.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.core.key_trial import TrialResult
from gateway.core.types import KeyId
from gateway.keys.descriptions import KeyState
from gateway.keys.own.trials import EARLY_TAKEOVER_S, RETRY_DUE_S, RETRY_EARLY_S, UNTRIED_AFTER_S

T = TypeVar("T")

TAKEN_OVER, RETIRED, REJECTED = "secret_file_reloaded", "secret_file_retired", "secret_file_rejected"
_FINAL_RESULTS = (TrialResult.ACCEPTED, TrialResult.UNPROVEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationPolicy:
    """How long a version is announced before use, how long it is valid after replacement, and whether it is tried."""

    lead_s: float = 0.0
    retire_s: float = 3600.0
    tried: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Version(Generic[T]):
    """One version. `value` is dropped at retirement; `order`: higher is newer; `digest`: equal for equal contents."""

    name: str
    order: float
    value: T | None
    digest: bytes
    key_id: KeyId | None
    announced_at: float
    activates_at: float
    activated_at: float | None = None
    replaced_at: float | None = None
    trial: TrialResult | None = None
    try_at: float = 0.0


class Versions(Generic[T]):
    """All versions of one secret. One of them is always active."""

    def __init__(self, policy: RotationPolicy, found: Iterable[Version[T]], now: float) -> None:
        """Start with the versions found, at least one, in the state of a process that has always been running.

        If no version is due yet, the oldest is active at once.
        """
        self._policy = policy
        self._early_takeover_s = EARLY_TAKEOVER_S if policy.lead_s == 0 else 0.0
        self._all = tuple(sorted(found, key=lambda version: version.order))
        due = [version for version in self._all if version.activates_at <= now]
        for before, after in itertools.pairwise(due):
            before.activated_at, before.replaced_at = before.activates_at, after.activates_at
        if due:
            self.active = due[-1]
            self.active.activated_at = self.active.activates_at
        else:
            self.active = self._all[0]
            self.active.activates_at = self.active.activated_at = now
        self.settle(now)

    def all(self) -> tuple[Version[T], ...]:
        """Return every version, oldest first."""
        return self._all

    def state(self, version: Version[T], now: float) -> KeyState:
        """Return the state of a version."""
        if version is self.active:
            return KeyState.ACTIVE
        if version.replaced_at is not None:
            return KeyState.RETIRING if now < version.replaced_at + self._policy.retire_s else KeyState.RETIRED
        return KeyState.ANNOUNCED if version.order > self.active.order else KeyState.RETIRED

    def ends_at(self, version: Version[T]) -> float | None:
        """Return when a replaced version stops being valid; None if it is not replaced."""
        return None if version.replaced_at is None else version.replaced_at + self._policy.retire_s

    def live(self, now: float) -> list[Version[T]]:
        """Return the active version, then the announced and retiring ones, newest first."""
        others = [one for one in reversed(self._all) if one is not self.active and one.value is not None]
        return [self.active, *(one for one in others if self.state(one, now) is not KeyState.RETIRED)]

    def add(self, version: Version[T]) -> None:
        """Add a new version; `settle` decides whether it takes over."""
        self._all = tuple(sorted((*self._all, version), key=lambda one: one.order))

    def drop(self, version: Version[T]) -> None:
        """Remove a version that is not active."""
        self._all = tuple(one for one in self._all if one is not version or one is self.active)

    def settle(self, now: float, changing: Collection[str] = ()) -> list[str]:
        """Let the newest due version take over and drop retired values. Return the events to count.

        `changing`: names of versions that must not take over now, because their files are changing.
        """
        events: list[str] = []
        newer = [one for one in self._all if one.order > self.active.order and one.name not in changing]
        due = [one for one in newer if self._may_take_over(one, now)]
        if due:
            self.active.replaced_at = now
            self.active = due[-1]
            self.active.activated_at, self.active.replaced_at = now, None
            events.append(TAKEN_OVER)
        for one in self._all:
            if one.value is not None and self.state(one, now) is KeyState.RETIRED:
                one.value = None
                events.append(RETIRED)
        return events

    def to_try(self, now: float, *, after_rejection: bool = False) -> list[tuple[Version[T], Version[T]]]:
        """Return the versions to try now, each with the version to compare it with.

        `after_rejection`: Phoenix rejected a request, so every version that could be in use is tried, even again.
        """
        if not self._policy.tried:
            return []
        pairs = []
        for one in self._all:
            other = self._before(now) if one is self.active else self.active
            if other is None or one.value is None or one.order < self.active.order:
                continue
            if after_rejection:
                wanted = one is self.active or one.activates_at <= now + self._early_takeover_s
            else:
                is_open = one.trial not in _FINAL_RESULTS or (
                    one.trial is TrialResult.UNPROVEN and one.activates_at > now
                )
                wanted = is_open and one.try_at <= now
            if wanted:
                pairs.append((one, other))
        return pairs

    def record_trial(
        self, version: Version[T], result: TrialResult, now: float, *, after_rejection: bool = False
    ) -> list[str]:
        """Record the result of a trial. If the active version is refused, the previous one becomes active again."""
        if after_rejection and result is TrialResult.ACCEPTED and version.activates_at <= now + self._early_takeover_s:
            version.activates_at = min(version.activates_at, now)
        before = version.trial
        version.trial = result
        is_due = version.activates_at <= now
        version.try_at = now + RETRY_DUE_S if is_due else min(now + RETRY_EARLY_S, version.activates_at)
        if result is not TrialResult.REFUSED:
            return []
        if version is self.active and (older := self._before(now)) is not None:
            version.activated_at = older.replaced_at = None
            self.active = older
        return [] if before is TrialResult.REFUSED else [REJECTED]

    def _before(self, now: float) -> Version[T] | None:
        """Return the version that the active one replaced, if it still has its value."""
        retiring = [one for one in self._all if self.state(one, now) is KeyState.RETIRING and one.value is not None]
        return max(retiring, key=lambda one: one.replaced_at or 0.0, default=None)

    def _may_take_over(self, version: Version[T], now: float) -> bool:
        if version.value is None or version.replaced_at is not None or version.activates_at > now:
            return False
        if not self._policy.tried or version.trial in _FINAL_RESULTS:
            return True
        return version.trial is not TrialResult.REFUSED and now >= version.activates_at + UNTRIED_AFTER_S
