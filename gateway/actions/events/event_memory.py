"""Remembers the event ids that callers chose, for 24 hours, in the process and in Redis.

A caller waits for Redis only before its event is sent, for a short time and a share of its deadline. Then its id is
claimed in this process alone. How the event ended is written to Redis behind the answer (`shared_writes.py`).

An id is claimed before its event is sent, and settled when the result is known. The same content under the same id gets
the first result; other content is refused. If Phoenix certainly does not have the event, the id is forgotten, so that
the caller can try again. Ids that the gateway made come here only if Phoenix may have their events. Durable events have
their own store. Source: API.md, EventService, "Deduplication".
"""

from __future__ import annotations

import asyncio
import enum
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.actions.events.shared_writes import Change, SharedWrites
from gateway.core.event_ids import REMEMBER_S, EventState, OwnEntry, RememberedEvent, may_be_sent_again
from gateway.core.types import TenantId
from gateway.errors import Effect
from gateway.phoenix.gamification.pending_event import Result, Submitted
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline


class SharedEventIds(Protocol):
    """The ids that all replicas remember; implemented by `cache.event_ids`. It does not raise if it is unreachable."""

    async def claim(
        self, tenant_id: TenantId, wanted: Sequence[tuple[str, RememberedEvent, OwnEntry]], *, within_s: float
    ) -> list[RememberedEvent | None] | None:
        """Write each entry if there is none; return the earlier entries, in order. None: unreachable in this time."""
        ...

    async def settle(self, tenant_id: TenantId, changes: Sequence[Change]) -> bool:
        """Write how events ended; None deletes the entry of the claim. A stronger entry of another replica stays.

        Returns whether the shared memory confirmed it.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySettings:
    """How much this process remembers."""

    max_ids: int = 100_000
    """About 30 MiB when full; the oldest ids are dropped first."""
    claim_within_s: float = 0.1
    """How long a call waits for the shared memory in all."""
    release_within_s: float = 0.05
    """How long a call whose event was not sent waits until its id is free for all replicas."""
    claim_share: float = 0.25
    """The longest wait for a claim, as a share of the time left until the call's deadline."""


class Recalled(enum.Enum):
    """What is known about an id that came again."""

    ACCEPTED = "accepted"
    """Phoenix has this event."""
    UNKNOWN = "unknown"
    """It was sent, or another replica is sending it, and it is not known whether Phoenix has it."""
    REUSED = "reused"
    """The id belongs to another event."""


class Claim:
    """The right to send the event of one id. Calls with the same event wait for it.

    `at`: when the first send was about to begin. `in_doubt`: an earlier send may have reached Phoenix. `is_shared`:
    other replicas see the claim. `own`: what it wrote for them. Once `settled`, `result` or `recalled` says how it
    ended; if neither is set, the call with the claim left without sending.
    """

    __slots__ = ("at", "digest", "event_id", "in_doubt", "is_shared", "own", "recalled", "result", "settled")

    def __init__(self, event_id: str, digest: bytes, at: float, *, in_doubt: bool) -> None:
        self.event_id = event_id
        self.digest = digest
        self.at = at
        self.in_doubt = in_doubt
        self.is_shared = False
        self.own = OwnEntry()
        self.result: Result | None = None
        self.recalled: Recalled | None = None
        self.settled = asyncio.Event()


@dataclass(frozen=True, slots=True)
class Awaited:
    """Another call of this process is sending the same event, or it is earlier in the same batch."""

    claim: Claim


Answer = Claim | Awaited | Recalled
_Key = tuple[TenantId, str]


class EventMemory:
    """The event ids of all tenants."""

    def __init__(
        self,
        clock: Clock,
        shared: SharedEventIds | None = None,
        settings: MemorySettings | None = None,
        *,
        on_event: Callable[[str], None] = lambda name: None,
    ) -> None:
        """Args: `shared`: None: only this process remembers. `on_event` receives event_id_not_shared."""
        self._clock = clock
        self._shared = shared
        self._settings = settings or MemorySettings()
        self._held: OrderedDict[_Key, Claim | RememberedEvent] = OrderedDict()
        self._writes = None if shared is None else SharedWrites(shared.settle, on_event=on_event)

    def __len__(self) -> int:
        """How many ids this process remembers."""
        return len(self._held)

    def now(self) -> float:
        """The time to write into entries, Unix seconds."""
        return self._clock.now()

    async def claim(
        self,
        tenant_id: TenantId,
        wanted: Sequence[tuple[str, bytes]],
        *,
        resend_within_s: float | None,
        deadline: Deadline,
    ) -> list[Answer]:
        """Claim ids, each with the digest of its content; return for each whether its event may be sent.

        Every Claim returned must be settled. Args: `deadline`: of the call, which waits for a share of it.
        `resend_within_s`: how long after the first send an event of unknown outcome may be sent again with its id,
        because Phoenix deduplicates; None: never.
        """
        now = self._clock.now()
        answers: list[Answer] = []
        own: list[int] = []
        for event_id, digest in wanted:
            answer = self._claim_here(tenant_id, event_id, digest, now, resend_within_s)
            if isinstance(answer, Claim):
                own.append(len(answers))
            answers.append(answer)
        if self._shared is not None and self._writes is not None and own:
            claims = {place: claim for place in own if isinstance(claim := answers[place], Claim)}
            within_s = min(self._settings.claim_within_s, deadline.remaining() * self._settings.claim_share)
            await self._claim_shared(self._shared, self._writes, tenant_id, claims, answers, resend_within_s, within_s)
        return answers

    async def settle(self, tenant_id: TenantId, ended: Sequence[tuple[Claim, Result]], deadline: Deadline) -> None:
        """Remember how claimed events ended, and wake the calls that wait for them.

        It waits for the shared memory only to release ids there, so that the caller can try again at any replica.
        """
        changes: list[Change] = []
        freed: list[str] = []
        for claim, result in ended:
            claim.result = result
            entry = _entry_of(claim, result)
            self._put((tenant_id, claim.event_id), entry)
            changes.append(Change(claim.event_id, entry, claim.own))
            if entry is None and claim.is_shared:
                freed.append(claim.event_id)
            claim.settled.set()
        if self._writes is not None and changes:
            self._writes.add(tenant_id, changes)
            if freed:
                await self._writes.written(tenant_id, freed, min(self._settings.release_within_s, deadline.remaining()))

    def settle_late(self, tenant_id: TenantId, claim: Claim, result: Result) -> None:
        """Remember how an event ended that `settle` recorded as unknown, so that a repeat gets the result."""
        key = (tenant_id, claim.event_id)
        held = self._held.get(key)
        if not isinstance(held, RememberedEvent) or held.state is not EventState.UNKNOWN or held.digest != claim.digest:
            return  # another call has claimed it, or it is forgotten
        entry = _entry_of(claim, result)
        self._put(key, entry)
        if self._writes is not None:
            self._writes.add(tenant_id, [Change(claim.event_id, entry, claim.own)])

    def note_doubts(self, tenant_id: TenantId, claims: Sequence[Claim]) -> None:
        """Remember ids that the gateway made, of events that Phoenix may have. The caller knows these ids."""
        changes: list[Change] = []
        for claim in claims:
            entry = RememberedEvent(state=EventState.UNKNOWN, at=claim.at, digest=claim.digest)
            self._put((tenant_id, claim.event_id), entry)
            changes.append(Change(claim.event_id, entry, claim.own))
        if self._writes is not None:
            self._writes.add(tenant_id, changes)

    async def close(self) -> None:
        """Write to the shared memory what is not written yet, for a limited time."""
        if self._writes is not None:
            await self._writes.close()

    def _claim_here(
        self, tenant_id: TenantId, event_id: str, digest: bytes, now: float, resend_within_s: float | None
    ) -> Answer:
        """Read the memory of this process, and claim the id if it is free."""
        key = (tenant_id, event_id)
        held = self._held.get(key)
        if isinstance(held, Claim):
            return Awaited(held) if held.digest == digest else Recalled.REUSED
        at, in_doubt = now, False
        if held is not None and now - held.at < REMEMBER_S:
            recalled = _recalled(held, digest, now, resend_within_s)
            if recalled is not None:
                return recalled
            at, in_doubt = held.at, True  # it is sent again: the time of the first send counts
        claim = Claim(event_id, digest, at, in_doubt=in_doubt)
        self._put(key, claim)
        return claim

    async def _claim_shared(
        self,
        shared: SharedEventIds,
        writes: SharedWrites,
        tenant_id: TenantId,
        claims: dict[int, Claim],
        answers: list[Answer],
        resend_within_s: float | None,
        within_s: float,
    ) -> None:
        """Claim in the shared memory too; what other replicas know replaces the claim of this process."""
        wanted = [
            (one.event_id, RememberedEvent(state=EventState.BEGUN, at=one.at, digest=one.digest), one.own)
            for one in claims.values()
        ]
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s  # for both waits
        try:
            # An id that was just released here may still be taken there.
            await writes.written(tenant_id, [one.event_id for one in claims.values()], within_s)
            left_s = until - loop.time()
            found = await shared.claim(tenant_id, wanted, within_s=left_s) if left_s > 0 else None
        except BaseException:
            for claim in claims.values():
                self._forget(tenant_id, claim)
            # It may be claimed there, or another replica's entry is there, which stays.
            writes.add(tenant_id, [Change(claim.event_id, None, claim.own) for claim in claims.values()])
            raise
        now = self._clock.now()
        for (place, claim), entry in zip(claims.items(), found or [None] * len(claims), strict=True):
            claim.is_shared = found is not None
            if entry is None:
                continue
            recalled = _recalled(entry, claim.digest, now, resend_within_s)
            if recalled is None:
                claim.at, claim.in_doubt = min(claim.at, entry.at), True
                continue
            answers[place] = claim.recalled = recalled
            self._forget(tenant_id, claim)
            if entry.state is EventState.ACCEPTED:
                self._put((tenant_id, claim.event_id), entry)

    def _forget(self, tenant_id: TenantId, claim: Claim) -> None:
        """Withdraw a claim under which nothing was sent. The doubt about an earlier send stays."""
        doubt = RememberedEvent(state=EventState.UNKNOWN, at=claim.at, digest=claim.digest)
        self._put((tenant_id, claim.event_id), doubt if claim.in_doubt else None)
        claim.settled.set()

    def _put(self, key: _Key, entry: Claim | RememberedEvent | None) -> None:
        if entry is None:
            self._held.pop(key, None)
            return
        self._held[key] = entry
        self._held.move_to_end(key)
        while len(self._held) > self._settings.max_ids:
            self._held.popitem(last=False)


def _recalled(held: RememberedEvent, digest: bytes, now: float, resend_within_s: float | None) -> Recalled | None:
    """Return what an entry means for an event that comes again; None: it may be sent again."""
    if held.digest != digest:
        return Recalled.REUSED
    if held.state is EventState.ACCEPTED:
        return Recalled.ACCEPTED
    if resend_within_s is not None and may_be_sent_again(now - held.at, resend_within_s):
        return None
    return Recalled.UNKNOWN


def _entry_of(claim: Claim, result: Result) -> RememberedEvent | None:
    if isinstance(result, Submitted):
        return RememberedEvent(state=EventState.ACCEPTED, at=claim.at, digest=claim.digest)
    if claim.in_doubt or result.error.effect is not Effect.NONE:
        return RememberedEvent(state=EventState.UNKNOWN, at=claim.at, digest=claim.digest)
    return None
