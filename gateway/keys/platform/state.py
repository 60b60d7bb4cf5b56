"""The valid platform key and the recently replaced ones. Pure: every change returns a new state.

Only the current key verifies. A replaced key is remembered for the overlap time, so that a call that was in transit at
the rotation gets no final refusal (`KEY_RETIRED`). Source: API.md, verdicts; prediction.md 1.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gateway.core.ed25519 import VerifyingKey
from gateway.core.types import Environment, KeyId
from gateway.keys.descriptions import KeyDescription, KeyKind, KeyState

MAX_RETIRED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformKey:
    """A fetched platform key.

    `fetched_at`: when the newest fetch with this key began (wall clock of the fetching host). `generation` counts up
    whenever another key becomes current.
    """

    key: VerifyingKey
    fetched_at: float
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RetiredKey:
    """A replaced key, and when it was replaced (wall clock)."""

    key: VerifyingKey
    retired_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformKeyState:
    """The current key, the replaced keys (newest first), and the revoked keys."""

    current: PlatformKey | None = None
    activated_at: float | None = None
    retired: tuple[RetiredKey, ...] = ()
    revoked: frozenset[KeyId] = frozenset()

    def install(self, key: VerifyingKey, *, fetched_at: float, now: float) -> PlatformKeyState:
        """Make this key current. The former current key becomes retired; a retired key can become current again."""
        before = self.current
        if before is not None and before.key == key:
            return replace(self, current=replace(before, fetched_at=max(before.fetched_at, fetched_at)))
        current = PlatformKey(key=key, fetched_at=fetched_at, generation=1 if before is None else before.generation + 1)
        gone = () if before is None else (RetiredKey(key=before.key, retired_at=now),)
        kept = tuple(retired for retired in self.retired if retired.key != key)
        return replace(self, current=current, activated_at=now, retired=(gone + kept)[:MAX_RETIRED])

    def remember(self, others: Iterable[RetiredKey], *, now: float) -> PlatformKeyState:
        """Add keys that another replica saw retire. Our own record of a key has priority.

        A time in the future becomes `now`: the other clock may be wrong, and no key may outlive the overlap.
        """
        known = {retired.key for retired in self.retired} | ({self.current.key} if self.current else set())
        new = [replace(one, retired_at=min(one.retired_at, now)) for one in others if one.key not in known]
        if not new:
            return self
        merged = sorted((*self.retired, *new), key=lambda retired: retired.retired_at, reverse=True)
        return replace(self, retired=tuple(merged[:MAX_RETIRED]))

    def revoke(self, key_id: KeyId) -> PlatformKeyState:
        """Never accept this key again: not as current, not as retired, not from a fetch."""
        current = None if self.current is not None and self.current.key.key_id == key_id else self.current
        return replace(self, revoked=self.revoked | {key_id}, current=current)

    def retired_within(self, overlap_s: float, *, now: float) -> tuple[RetiredKey, ...]:
        """Return the keys replaced less than `overlap_s` ago and not revoked, newest first."""
        return tuple(
            retired
            for retired in self.retired
            if now - retired.retired_at < overlap_s and retired.key.key_id not in self.revoked
        )

    def describe(self, environment: Environment, overlap_s: float, *, now: float) -> list[KeyDescription]:
        """Describe the current key and the retired ones."""
        rows: list[tuple[VerifyingKey, KeyState, float, float | None]] = []
        if self.current is not None:
            rows.append((self.current.key, KeyState.ACTIVE, self.activated_at or now, None))
        for one in self.retired_within(overlap_s, now=now):
            rows.append((one.key, KeyState.RETIRING, one.retired_at, one.retired_at))
        return [
            KeyDescription(
                key_id=key.key_id,
                kind=KeyKind.PLATFORM,
                algorithm="Ed25519",
                state=state,
                activated_at=activated_at,
                environment=environment,
                public_key_sha256=key.key_id,
                retired_at=retired_at,
                ends_at=None if retired_at is None else retired_at + overlap_s,
            )
            for key, state, activated_at, retired_at in rows
        ]
