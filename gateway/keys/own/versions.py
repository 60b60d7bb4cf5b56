"""The versions of one secret, and the rules by which one takes over from another. Pure: times come as arguments.

A version is announced, then active, then retiring (what it signed is still believed), then retired. The newest one
whose time has come is active, unless Phoenix refused it when it was tried. Order is the order of the names, not of
arrival: a file with an older name never takes over. Files are loaded_secret.py's business, asking Phoenix the server's.
Source: issue 8, point 3.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.core.key_trial import TrialResult
from gateway.core.types import KeyId
from gateway.keys.descriptions import KeyState
from gateway.keys.own.trials import EARLY_S, PATIENCE_S, TRY_AGAIN_S, TRY_EARLY_S

T = TypeVar("T")

TAKEN_OVER, RETIRED, REJECTED = "secret_file_reloaded", "secret_file_retired", "secret_file_rejected"
_SETTLED = (TrialResult.ACCEPTED, TrialResult.UNPROVEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """How long a version is announced before it is used, and believed after it was replaced; whether it is tried."""

    lead_s: float = 0.0
    retire_s: float = 3600.0
    tried: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Version(Generic[T]):
    """One version. `value` is dropped when it is retired; `order` tells the newer of two; `digest` equal contents."""

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

    def __init__(self, life: Life, found: Iterable[Version[T]], now: float) -> None:
        """Begin with what was found, at least one: as if this process had been here all the time.

        With nothing due yet the oldest is used at once: there has to be one.
        """
        self._life = life
        self._early_s = EARLY_S if life.lead_s == 0 else 0.0
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
        """Every version, oldest first."""
        return self._all

    def state(self, version: Version[T], now: float) -> KeyState:
        """Where a version stands."""
        if version is self.active:
            return KeyState.ACTIVE
        if version.replaced_at is not None:
            return KeyState.RETIRING if now < version.replaced_at + self._life.retire_s else KeyState.RETIRED
        return KeyState.ANNOUNCED if version.order > self.active.order else KeyState.RETIRED

    def ends_at(self, version: Version[T]) -> float | None:
        """When a replaced version is over; None while it is not replaced."""
        return None if version.replaced_at is None else version.replaced_at + self._life.retire_s

    def live(self, now: float) -> list[Version[T]]:
        """The active version first, then those announced and retiring, newest first."""
        others = [one for one in reversed(self._all) if one is not self.active and one.value is not None]
        return [self.active, *(one for one in others if self.state(one, now) is not KeyState.RETIRED)]

    def add(self, version: Version[T]) -> None:
        """Take in a new version; `settle` decides whether it takes over."""
        self._all = tuple(sorted((*self._all, version), key=lambda one: one.order))

    def drop(self, version: Version[T]) -> None:
        """Forget a version that is not the active one."""
        self._all = tuple(one for one in self._all if one is not version or one is self.active)

    def settle(self, now: float, held_back: Collection[str] = ()) -> list[str]:
        """Let the newest take over whose time has come, drop what is retired; return what is to be counted.

        `held_back`: names of versions that must not take over now: their files are just being changed.
        """
        told: list[str] = []
        newer = [one for one in self._all if one.order > self.active.order and one.name not in held_back]
        due = [one for one in newer if self._may_take_over(one, now)]
        if due:
            self.active.replaced_at = now
            self.active = due[-1]
            self.active.activated_at, self.active.replaced_at = now, None
            told.append(TAKEN_OVER)
        for one in self._all:
            if one.value is not None and self.state(one, now) is KeyState.RETIRED:
                one.value = None
                told.append(RETIRED)
        return told

    def to_try(self, now: float, *, in_doubt: bool = False) -> list[tuple[Version[T], Version[T]]]:
        """The versions that are to be tried now, each with the one that it is compared with.

        `in_doubt`: Phoenix rejected what we sent, so whatever else could be in use is tried, again if need be.
        """
        if not self._life.tried:
            return []
        pairs = []
        for one in self._all:
            other = self._before(now) if one is self.active else self.active
            if other is None or one.value is None or one.order < self.active.order:
                continue
            if in_doubt:
                wanted = one is self.active or one.activates_at <= now + self._early_s
            else:
                is_open = one.trial not in _SETTLED or (one.trial is TrialResult.UNPROVEN and one.activates_at > now)
                wanted = is_open and one.try_at <= now
            if wanted:
                pairs.append((one, other))
        return pairs

    def judge(self, version: Version[T], result: TrialResult, now: float, *, in_doubt: bool = False) -> list[str]:
        """Note what came of a trial; a refused one that is active gives way to the one before it."""
        if in_doubt and result is TrialResult.ACCEPTED and version.activates_at <= now + self._early_s:
            version.activates_at = min(version.activates_at, now)
        before = version.trial
        version.trial = result
        is_due = version.activates_at <= now
        version.try_at = now + TRY_AGAIN_S if is_due else min(now + TRY_EARLY_S, version.activates_at)
        if result is not TrialResult.REFUSED:
            return []
        if version is self.active and (older := self._before(now)) is not None:
            version.activated_at = older.replaced_at = None
            self.active = older
        return [] if before is TrialResult.REFUSED else [REJECTED]

    def _before(self, now: float) -> Version[T] | None:
        """The version that the active one replaced, while it is still there."""
        retiring = [one for one in self._all if self.state(one, now) is KeyState.RETIRING and one.value is not None]
        return max(retiring, key=lambda one: one.replaced_at or 0.0, default=None)

    def _may_take_over(self, version: Version[T], now: float) -> bool:
        if version.value is None or version.replaced_at is not None or version.activates_at > now:
            return False
        if not self._life.tried or version.trial in _SETTLED:
            return True
        return version.trial is not TrialResult.REFUSED and now >= version.activates_at + PATIENCE_S
