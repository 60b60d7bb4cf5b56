"""Which platform key counts, and which ones counted a short while ago. Pure: every change returns a new state.

Only the current key verifies. A replaced one is remembered for the overlap, so that a call that was on its way when the
key rotated is not refused for good (`KEY_RETIRED`). Source: API.md, verdicts; prediction.md 1.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gateway.core.ed25519 import VerifyingKey
from gateway.core.types import KeyId

MAX_RETIRED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformKey:
    """A platform key as it was fetched.

    `fetched_at`: when the newest fetch that brought it began (wall clock of the host that fetched). `generation`
    counts up whenever another key becomes the current one.
    """

    key: VerifyingKey
    fetched_at: float
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RetiredKey:
    """A key that was replaced, and when (wall clock)."""

    key: VerifyingKey
    retired_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformKeyState:
    """The current key, those before it (newest first), and those that must never count again."""

    current: PlatformKey | None = None
    activated_at: float | None = None
    retired: tuple[RetiredKey, ...] = ()
    revoked: frozenset[KeyId] = frozenset()

    def install(self, key: VerifyingKey, *, fetched_at: float, now: float) -> PlatformKeyState:
        """Make this key the current one; another that was current becomes retired.

        A key that comes back from retirement is simply current again.
        """
        before = self.current
        if before is not None and before.key == key:
            return replace(self, current=replace(before, fetched_at=max(before.fetched_at, fetched_at)))
        current = PlatformKey(key=key, fetched_at=fetched_at, generation=1 if before is None else before.generation + 1)
        gone = () if before is None else (RetiredKey(key=before.key, retired_at=now),)
        kept = tuple(retired for retired in self.retired if retired.key != key)
        return replace(self, current=current, activated_at=now, retired=(gone + kept)[:MAX_RETIRED])

    def remember(self, others: Iterable[RetiredKey], *, now: float) -> PlatformKeyState:
        """Take over what another replica saw retire; our own memory of a key wins.

        A time in the future is cut to now: the other clock may be wrong, and nothing may outlive the overlap.
        """
        known = {retired.key for retired in self.retired} | ({self.current.key} if self.current else set())
        new = [replace(one, retired_at=min(one.retired_at, now)) for one in others if one.key not in known]
        if not new:
            return self
        merged = sorted((*self.retired, *new), key=lambda retired: retired.retired_at, reverse=True)
        return replace(self, retired=tuple(merged[:MAX_RETIRED]))

    def revoke(self, key_id: KeyId) -> PlatformKeyState:
        """Never count this key again, neither as current nor as retired nor when it is fetched."""
        current = None if self.current is not None and self.current.key.key_id == key_id else self.current
        return replace(self, revoked=self.revoked | {key_id}, current=current)

    def retired_within(self, overlap_s: float, *, now: float) -> tuple[RetiredKey, ...]:
        """The keys replaced less than `overlap_s` ago and not revoked, newest first."""
        return tuple(
            retired
            for retired in self.retired
            if now - retired.retired_at < overlap_s and retired.key.key_id not in self.revoked
        )
