"""The events of one call or message: serialised once, held against what is remembered of their ids, and their results.

How they reach Phoenix is given by the caller (`submit_events.py`).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence, Set

from gateway import errors
from gateway.actions.events.remember_events import Awaited, Claim, EventMemory, Recalled
from gateway.core.event_ids import CALL_AND_CLOCKS_S, RESEND_WITHIN_S, content_digest
from gateway.core.types import TenantId
from gateway.core.wire import Event, encode_event
from gateway.errors import Effect, FieldFault, GatewayError, InvalidField
from gateway.outbox.pending_event import Failed, PendingEvent, Submitted
from gateway.phoenix.gamification.bulk import MAX_BODY_BYTES
from gateway.resilience.deadline import Deadline

Send = Callable[[], Awaitable[None]]


class EventBatch:
    """One to a thousand events."""

    def __init__(
        self,
        tenant_id: TenantId,
        events: Sequence[Event | Failed],
        given: Set[int],
        *,
        send_event_id: bool,
        deduplicates: bool,
        memory: EventMemory,
    ) -> None:
        """Serialise the events; what fails in that is a result already.

        Args: `given`: places of the events whose id is the caller's.
        """
        self._tenant_id = tenant_id
        self._events = events
        self._begun_at = memory.now()
        self._memory = memory
        self._resend_within_s = RESEND_WITHIN_S - CALL_AND_CLOCKS_S if deduplicates else None
        self._results: list[PendingEvent | Failed] = []
        self._given: list[tuple[PendingEvent, bytes]] = []
        self._claims: list[tuple[Claim, PendingEvent]] = []
        self._awaited: list[tuple[Claim, PendingEvent]] = []
        self.items: list[PendingEvent] = []
        """The events that could be sent."""
        self.to_send: list[PendingEvent] = self.items
        """Those that are to be sent, once `claim` has run."""
        self.size_bytes = 0
        """Of all items, serialised."""
        for place, event in enumerate(events):
            if isinstance(event, Failed):
                self._results.append(event)
                continue
            body = encode_event(event, tenant_id, send_event_id=send_event_id)
            if len(body) > MAX_BODY_BYTES:
                self._results.append(Failed(event_id=event.event_id, error=too_large(place, len(events))))
                continue
            item = PendingEvent(event.event_id, body, (event.leaderboard_id, event.user_id), is_id_given=place in given)
            self.size_bytes += len(body)
            self.items.append(item)
            self._results.append(item)
            if place in given:
                self._given.append((item, content_digest(event)))

    def results(self) -> list[Submitted | Failed]:
        """Return one result per event, in order."""
        results: list[Submitted | Failed] = []
        for one in self._results:
            if isinstance(one, PendingEvent):
                assert one.result is not None, "every event that went out has its result"
                results.append(one.result)
            else:
                results.append(one)
        return results

    async def run(self, send: Send, deadline: Deadline) -> None:
        """Claim, send what is to be sent, settle, and wait for what others are sending."""
        if self._given:
            await self.claim()
            await self.finish(send, deadline)
        elif self.items:
            await send()
            self._note_doubts()

    async def claim(self) -> None:
        """Claim the ids that the caller gave; what is known of them already is a result now."""
        if not self._given:
            return
        wanted = [(item.event_id, digest) for item, digest in self._given]
        answers = await self._memory.claim(self._tenant_id, wanted, resend_within_s=self._resend_within_s)
        held_back: set[int] = set()
        for (item, _), answer in zip(self._given, answers, strict=True):
            if isinstance(answer, Claim):
                item.in_doubt = answer.in_doubt
                self._claims.append((answer, item))
                continue
            held_back.add(id(item))
            if isinstance(answer, Awaited):
                self._awaited.append((answer.claim, item))
            else:
                item.result = _recalled(answer, item.event_id, self._memory.now())
        self.to_send = [item for item in self.items if id(item) not in held_back]

    async def finish(self, send: Send, deadline: Deadline) -> None:
        """Send, settle the claims however that ends, then take over the results of events that others are sending."""
        try:
            if self.to_send:
                await send()
        finally:
            ended: list[tuple[Claim, Submitted | Failed]] = []
            for claim, item in self._claims:
                item.give_up()
                assert item.result is not None
                ended.append((claim, item.result))
                if item.began and _is_unknown(item.result):
                    item.on_late = functools.partial(self._settle_late, claim, item)
            if ended:
                await self._memory.settle(self._tenant_id, ended)
        self._note_doubts()
        for claim, item in self._awaited:
            await self._wait_for(claim, item, deadline)

    def _note_doubts(self) -> None:
        """Remember ids that the gateway made for events that Phoenix may have: callers may bring them again."""
        doubts: list[Claim] = []
        for event, item in zip(self._events, self._results, strict=True):
            if isinstance(item, PendingEvent) and not item.is_id_given and _is_unknown(item.result):
                assert not isinstance(event, Failed)
                claim = Claim(item.event_id, content_digest(event), self._begun_at, in_doubt=True)
                item.on_late = functools.partial(self._settle_late, claim, item)
                doubts.append(claim)
        if doubts:
            self._memory.note_doubts(self._tenant_id, doubts)

    def _settle_late(self, claim: Claim, item: PendingEvent) -> None:
        if item.result is not None and not _is_unknown(item.result):
            self._memory.settle_late(self._tenant_id, claim, item.result)

    async def _wait_for(self, claim: Claim, item: PendingEvent, deadline: Deadline) -> None:
        try:
            async with asyncio.timeout(deadline.remaining()):
                await claim.settled.wait()
        except TimeoutError:
            item.fail(_unknown("The same event is on its way in another call; how that ends is not known yet."))
            return
        first = claim.result
        if isinstance(first, Submitted):
            item.result = Submitted(event_id=item.event_id, duplicate=True, accepted_at=first.accepted_at)
        elif isinstance(first, Failed):
            item.fail(first.error)
        elif claim.recalled is not None:
            item.result = _recalled(claim.recalled, item.event_id, self._memory.now())
        else:
            item.fail(
                errors.Overloaded("The call that carried this event first was ended before it was sent. Try again.")
            )


def _is_unknown(result: Submitted | Failed | None) -> bool:
    return isinstance(result, Failed) and result.error.effect is not Effect.NONE


def _recalled(recalled: Recalled, event_id: str, now: float) -> Submitted | Failed:
    match recalled:
        case Recalled.ACCEPTED:
            return Submitted(event_id=event_id, duplicate=True, accepted_at=now)
        case Recalled.REUSED:
            return Failed(event_id=event_id, error=errors.EventIdReused())
        case Recalled.UNKNOWN:
            return Failed(
                event_id=event_id,
                error=_unknown(
                    "This event was sent before and no answer told whether Phoenix took it; it was not sent again. "
                    "Look, and if it is missing send it under a new event_id."
                ),
            )


def _unknown(message: str) -> GatewayError:
    return errors.OutcomeUnknown(message, metadata={"surface": "ingestion"})


def too_large(place: int, count: int) -> GatewayError:
    """Return the refusal of an event that Phoenix would not take. Args: `count`: of the events in its call."""
    field = "event" if count == 1 else f"events[{place}]"
    description = f"must be at most {MAX_BODY_BYTES:,} bytes as JSON"
    return InvalidField([FieldFault(field=field, description=description)])
