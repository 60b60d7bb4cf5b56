"""Remembers the event ids that callers give, for 24 hours, as well as the process and Redis can.

An id is claimed before its event is sent and settled when it is known how that went. The same content again gets the
first one's result; other content is refused. What Phoenix certainly does not have is forgotten, so that it may be tried
again. Ids that the gateway made come here only where Phoenix may have their events. Durable events have their store.
Source: API.md, EventService, "Deduplication".
"""

from __future__ import annotations

import asyncio
import enum
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.core.event_ids import EventState, RememberedEvent
from gateway.core.types import TenantId
from gateway.errors import Effect
from gateway.phoenix.gamification.pending_event import Result, Submitted
from gateway.resilience.clock import Clock
from gateway.resilience.supervision import run_job

REMEMBER_S = 24 * 3600.0


class SharedEventIds(Protocol):
    """What all replicas remember together; `keys.redis_event_ids.RedisEventIds` is one. Never raises for being gone."""

    async def claim(
        self, tenant_id: TenantId, wanted: Sequence[tuple[str, RememberedEvent]]
    ) -> list[RememberedEvent | None] | None:
        """Write each entry where there is none; return what was there, in order. None: it cannot be reached."""
        ...

    async def settle(self, tenant_id: TenantId, changes: Sequence[tuple[str, RememberedEvent | None]]) -> None:
        """Write how events ended; None takes an id away."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySettings:
    """How much this process remembers by itself."""

    max_ids: int = 100_000
    """About 30 MiB when it is full; the oldest go first."""


class Recalled(enum.Enum):
    """What is known of an id that came again."""

    ACCEPTED = "accepted"
    """Phoenix has this very event."""
    UNKNOWN = "unknown"
    """It was sent, or is being sent by another replica, and nobody can say whether Phoenix has it."""
    REUSED = "reused"
    """The id belongs to another event."""


class Claim:
    """The right to send the event of one id; what others wait for who have the same event.

    `at`: when it was first about to be sent. `in_doubt`: an earlier sending may have reached Phoenix. Once `settled`,
    one of `result` and `recalled` says how it went; neither: whoever had the claim left without sending.
    """

    __slots__ = ("at", "digest", "event_id", "in_doubt", "recalled", "result", "settled")

    def __init__(self, event_id: str, digest: bytes, at: float, *, in_doubt: bool) -> None:
        self.event_id = event_id
        self.digest = digest
        self.at = at
        self.in_doubt = in_doubt
        self.result: Result | None = None
        self.recalled: Recalled | None = None
        self.settled = asyncio.Event()


@dataclass(frozen=True, slots=True)
class Awaited:
    """The same event is being sent by another call of this process, or stands earlier in the same batch."""

    claim: Claim


Answer = Claim | Awaited | Recalled
_Key = tuple[TenantId, str]


class EventMemory:
    """The ids of all tenants."""

    def __init__(
        self, clock: Clock, shared: SharedEventIds | None = None, settings: MemorySettings | None = None
    ) -> None:
        self._clock = clock
        self._shared = shared
        self._settings = settings or MemorySettings()
        self._held: OrderedDict[_Key, Claim | RememberedEvent] = OrderedDict()
        self._telling: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many ids this process holds."""
        return len(self._held)

    def now(self) -> float:
        """The time that entries carry, Unix seconds."""
        return self._clock.now()

    async def claim(
        self, tenant_id: TenantId, wanted: Sequence[tuple[str, bytes]], *, resend_within_s: float | None
    ) -> list[Answer]:
        """Claim ids (with their content's digest) for sending, all at once; return for each what may be done.

        Every Claim returned must be settled. Args: `resend_within_s`: how long after its first sending an event of
        unknown outcome may be sent again with its id, since Phoenix deduplicates; None: never.
        """
        now = self._clock.now()
        answers: list[Answer] = []
        own: list[int] = []
        for event_id, digest in wanted:
            answer = self._look(tenant_id, event_id, digest, now, resend_within_s)
            if isinstance(answer, Claim):
                own.append(len(answers))
            answers.append(answer)
        if self._shared is not None and own:
            claims = {place: claim for place in own if isinstance(claim := answers[place], Claim)}
            await self._ask_shared(self._shared, tenant_id, claims, answers, resend_within_s)
        return answers

    async def settle(self, tenant_id: TenantId, ended: Sequence[tuple[Claim, Result]]) -> None:
        """Note how claimed events ended, and let those go on who wait for it."""
        changes: list[tuple[str, RememberedEvent | None]] = []
        for claim, result in ended:
            claim.result = result
            entry = _entry_of(claim, result)
            self._put((tenant_id, claim.event_id), entry)
            changes.append((claim.event_id, entry))
            claim.settled.set()
        if self._shared is not None and changes:
            await self._shared.settle(tenant_id, changes)

    def settle_late(self, tenant_id: TenantId, claim: Claim, result: Result) -> None:
        """Note how an event ended of which `settle` was told that nobody knows; whoever asks again hears of it."""
        key = (tenant_id, claim.event_id)
        held = self._held.get(key)
        if not isinstance(held, RememberedEvent) or held.state is not EventState.UNKNOWN or held.digest != claim.digest:
            return  # somebody has it again, or it is forgotten
        entry = _entry_of(claim, result)
        self._put(key, entry)
        self._tell_soon(tenant_id, [(claim.event_id, entry)])

    def note_doubts(self, tenant_id: TenantId, claims: Sequence[Claim]) -> None:
        """Remember ids that the gateway made, of events that Phoenix may have: the caller knows them by now."""
        changes: list[tuple[str, RememberedEvent | None]] = []
        for claim in claims:
            entry = RememberedEvent(state=EventState.UNKNOWN, at=claim.at, digest=claim.digest)
            self._put((tenant_id, claim.event_id), entry)
            changes.append((claim.event_id, entry))
        self._tell_soon(tenant_id, changes)

    def _tell_soon(self, tenant_id: TenantId, changes: Sequence[tuple[str, RememberedEvent | None]]) -> None:
        if self._shared is not None:
            telling = run_job("event-memory", self._shared.settle(tenant_id, changes))
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)

    def _look(
        self, tenant_id: TenantId, event_id: str, digest: bytes, now: float, resend_within_s: float | None
    ) -> Answer:
        """Look into this process's memory and claim what is free."""
        key = (tenant_id, event_id)
        held = self._held.get(key)
        if isinstance(held, Claim):
            return Awaited(held) if held.digest == digest else Recalled.REUSED
        at, in_doubt = now, False
        if held is not None and now - held.at < REMEMBER_S:
            recalled = _recalled(held, digest, now, resend_within_s)
            if recalled is not None:
                return recalled
            at, in_doubt = held.at, True  # it is sent again: the time of the first sending counts
        claim = Claim(event_id, digest, at, in_doubt=in_doubt)
        self._put(key, claim)
        return claim

    async def _ask_shared(
        self,
        shared: SharedEventIds,
        tenant_id: TenantId,
        claims: dict[int, Claim],
        answers: list[Answer],
        resend_within_s: float | None,
    ) -> None:
        """Claim in the shared memory too; what others know replaces the claim of this process."""
        wanted = [
            (one.event_id, RememberedEvent(state=EventState.BEGUN, at=one.at, digest=one.digest))
            for one in claims.values()
        ]
        try:
            found = await shared.claim(tenant_id, wanted)
        except BaseException:
            for claim in claims.values():
                self._forget(tenant_id, claim)
            raise
        now = self._clock.now()
        for (place, claim), entry in zip(claims.items(), found or [None] * len(claims), strict=True):
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
        """Take back a claim that nothing was done with."""
        self._put((tenant_id, claim.event_id), None)
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
    """What an entry means for an event that comes again; None: it may be sent again."""
    if held.digest != digest:
        return Recalled.REUSED
    if held.state is EventState.ACCEPTED:
        return Recalled.ACCEPTED
    if resend_within_s is not None and now - held.at < resend_within_s:
        return None
    return Recalled.UNKNOWN


def _entry_of(claim: Claim, result: Result) -> RememberedEvent | None:
    if isinstance(result, Submitted):
        return RememberedEvent(state=EventState.ACCEPTED, at=claim.at, digest=claim.digest)
    if claim.in_doubt or result.error.effect is not Effect.NONE:
        return RememberedEvent(state=EventState.UNKNOWN, at=claim.at, digest=claim.digest)
    return None
