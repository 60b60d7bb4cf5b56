"""Steps 2 and 4, claim and settle: no event is sent twice under one id, and what became of each is remembered.

`event_memory.py` holds the ids. Only ids that callers chose are claimed. An id that the gateway made is remembered if
Phoenix may have the event, because the caller knows the id by then and may bring it again.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

from gateway import errors
from gateway.actions.events.event_batch import EventBatch
from gateway.actions.events.event_memory import Awaited, Claim, EventMemory, Recalled
from gateway.core.event_ids import content_digest
from gateway.errors import Effect, GatewayError
from gateway.phoenix.gamification.event_sender import Sending
from gateway.phoenix.gamification.pending_event import Failed, PendingEvent, Result, Submitted
from gateway.resilience.deadline import Deadline

_NOTHING: Mapping[Any, Any] = {}


class ClaimedBatch(NamedTuple):
    """A batch whose ids are claimed. `to_send`: the events to send, in order.

    `claims`: of events to send, by id. `held`: what is known of the others, by place among the pending events.
    """

    batch: EventBatch
    begun_at: float
    to_send: Sequence[PendingEvent]
    claims: Mapping[str, Claim]
    held: Mapping[int, Awaited | Recalled]


async def claim_ids(
    memory: EventMemory, batch: EventBatch, *, resend_within_s: float | None, deadline: Deadline
) -> ClaimedBatch:
    """Claim the ids that the caller chose. Every claim must be settled. Args: as `EventMemory.claim`."""
    pending = batch.pending
    begun_at = memory.now()
    given = [place for place, event in enumerate(pending) if event.is_id_given]
    if not given:
        return ClaimedBatch(batch=batch, begun_at=begun_at, to_send=pending, claims=_NOTHING, held=_NOTHING)
    claims: dict[str, Claim] = {}
    held: dict[int, Awaited | Recalled] = {}
    digests = batch.digests()
    wanted = [(pending[place].event_id, digests[place]) for place in given]
    answers = await memory.claim(batch.tenant_id, wanted, resend_within_s=resend_within_s, deadline=deadline)
    for place, answer in zip(given, answers, strict=True):
        if isinstance(answer, Claim):
            claims[answer.event_id] = answer
        else:
            held[place] = answer
    in_doubt = {event_id for event_id, claim in claims.items() if claim.in_doubt}
    if held or in_doubt:
        pending = [
            event._replace(in_doubt=event.event_id in in_doubt)
            for place, event in enumerate(pending)
            if place not in held
        ]
    return ClaimedBatch(batch=batch, begun_at=begun_at, to_send=pending, claims=claims, held=held)


async def settle_claims(memory: EventMemory, claimed: ClaimedBatch, sending: Sending, deadline: Deadline) -> None:
    """Settle the claims with what is known of their events now. A result that comes later settles what is unknown."""
    sending.on_late = functools.partial(_settle_late, memory, claimed)
    if claimed.claims:
        ended = [
            (claim, result)
            for result in sending.results()
            if (claim := claimed.claims.get(result.event_id)) is not None
        ]
        await memory.settle(claimed.batch.tenant_id, ended, deadline)


def remember_doubts(memory: EventMemory, claimed: ClaimedBatch, sent: Sequence[Result]) -> None:
    """Remember ids that the gateway made, of events that Phoenix may have."""
    failed = [one for one in sent if isinstance(one, Failed)]  # none, as a rule
    unknown = {one.event_id for one in failed if _is_unknown(one) and one.event_id not in claimed.claims}
    if unknown:
        memory.note_doubts(claimed.batch.tenant_id, _claims_of_made_ids(claimed, unknown))


def _settle_late(memory: EventMemory, claimed: ClaimedBatch, result: Result) -> None:
    if _is_unknown(result):
        return
    claim = claimed.claims.get(result.event_id) or _claims_of_made_ids(claimed, {result.event_id})[0]
    memory.settle_late(claimed.batch.tenant_id, claim, result)


def _claims_of_made_ids(claimed: ClaimedBatch, ids: Set[str]) -> list[Claim]:
    return [
        Claim(event.event_id, content_digest(event), claimed.begun_at, in_doubt=True)
        for event in claimed.batch.events
        if event.event_id in ids and not isinstance(event, Failed)
    ]


async def results_of(
    memory: EventMemory, claimed: ClaimedBatch, sent: Sequence[Result], deadline: Deadline
) -> list[Result]:
    """Return one result per event of the batch, in order; wait for events that other calls are sending."""
    if not claimed.held:
        return claimed.batch.in_order(sent)
    rest = iter(sent)
    ended: list[Result] = []
    for place, event in enumerate(claimed.batch.pending):
        held = claimed.held.get(place)
        if held is None:
            ended.append(next(rest))
        elif isinstance(held, Awaited):
            ended.append(await _result_of_other(held.claim, event.event_id, memory, deadline))
        else:
            ended.append(_recalled(held, event.event_id, memory.now()))
    return claimed.batch.in_order(ended)


async def _result_of_other(claim: Claim, event_id: str, memory: EventMemory, deadline: Deadline) -> Result:
    """Return the result that the call gets which sends the same event."""
    try:
        async with asyncio.timeout(deadline.remaining()):
            await claim.settled.wait()
    except TimeoutError:
        message = "Another call is sending the same event, and its outcome is not known yet."
        return Failed(event_id=event_id, error=_unknown(message))
    if isinstance(claim.result, Submitted):
        return Submitted(event_id=event_id, duplicate=True, accepted_at=claim.result.accepted_at)
    if claim.result is not None:
        return claim.result
    if claim.recalled is not None:
        return _recalled(claim.recalled, event_id, memory.now())
    message = "The call that carried this event first ended before it was sent. Try again."
    return Failed(event_id=event_id, error=errors.Overloaded(message))


def _recalled(recalled: Recalled, event_id: str, now: float) -> Result:
    match recalled:
        case Recalled.ACCEPTED:
            return Submitted(event_id=event_id, duplicate=True, accepted_at=now)
        case Recalled.REUSED:
            return Failed(event_id=event_id, error=errors.EventIdReused())
        case Recalled.UNKNOWN:
            message = (
                "This event was sent before, and no answer said whether Phoenix took it. It was not sent again. Check, "
                "and if it is missing send it under a new event_id."
            )
            return Failed(event_id=event_id, error=_unknown(message))


def _unknown(message: str) -> GatewayError:
    return errors.OutcomeUnknown(message, metadata={"surface": "ingestion"})


def _is_unknown(result: Result) -> bool:
    return isinstance(result, Failed) and result.error.effect is not Effect.NONE
