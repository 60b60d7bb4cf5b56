"""Commits durable events, and answers once they are committed. `outbox/delivery.py` delivers them later.

The database decides which of two equal events came first, on whichever gateway. This module turns its answers into
results, and limits how much may wait. Source: API.md, EventService.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway import errors
from gateway.actions.events.backlog import Backlog, BacklogSettings
from gateway.actions.events.event_batch import EventBatch
from gateway.core.types import TenantId
from gateway.errors import GatewayError, StoreUnavailable
from gateway.outbox.queue_level import QueueLevel
from gateway.outbox.record import AdmissionState, Admit, Admitted, NewEvent
from gateway.outbox.store import EventQueue
from gateway.phoenix.gamification.pending_event import Failed, Result, Submitted
from gateway.resilience.deadline import Deadline
from gateway.telemetry.spans import link


class QueueEvents:
    """Commits the durable events of all tenants."""

    def __init__(
        self,
        queue: EventQueue,
        level: QueueLevel,
        *,
        backlog: BacklogSettings | None = None,
        wake: Callable[[TenantId], None] = lambda tenant_id: None,
        on_event: Callable[[str, int], None] = lambda name, count: None,
    ) -> None:
        """Args: `wake` is called with a tenant that has new events; `on_event` with counts of queued and known ones."""
        self._queue = queue
        self._level = level
        self._backlog = backlog
        self._backlogs: dict[TenantId, Backlog] = {}
        self._wake = wake
        self._on_event = on_event

    def backlog(self, tenant_id: TenantId) -> Backlog:
        """Return the limit of what is on its way into the database; what waits for Phoenix has another one."""
        return self._backlogs.setdefault(tenant_id, Backlog(self._backlog))

    async def put(self, batch: EventBatch, deadline: Deadline) -> list[Result]:
        """Commit the events; return one result per event of the call, in order.

        If the database fails, each event that was to be committed has failed. Raises: Overloaded if too many events
        wait already; then none is committed.
        """
        events = _new_events(batch)
        if not events:
            return batch.in_order([])
        count, size_bytes = len(events), batch.size_bytes
        self._level.reserve(count, size_bytes)
        new_count = new_bytes = 0
        try:
            answers = await self._queue.admit(Admit(tenant_id=batch.tenant_id, events=events), deadline)
            new = [event for event, answer in zip(events, answers, strict=True) if answer.state is AdmissionState.NEW]
            new_count, new_bytes = len(new), sum(len(event.body) for event in new)
        except GatewayError as error:
            return batch.in_order(
                [Failed(event_id=event.event_id, error=_not_committed(event, error)) for event in events]
            )
        finally:
            self._level.arrived(count, size_bytes, new_count, new_bytes)
        if new_count:
            self._wake(batch.tenant_id)
            self._on_event("queued", new_count)
        if new_count < count:
            self._on_event("known", count - new_count)
        return batch.in_order(
            [result_of(event.event_id, answer) for event, answer in zip(events, answers, strict=True)]
        )


def _new_events(batch: EventBatch) -> tuple[NewEvent, ...]:
    trace = link()
    return tuple(
        NewEvent(
            event_id=event.event_id,
            is_id_given=event.is_id_given,
            # Of every event: if the answer to a commit was lost, the caller brings a made id again as its own.
            digest=digest,
            leaderboard_id=event.ordering_key[0],
            user_id=event.ordering_key[1],
            body=event.body,
            trace=trace,
        )
        for event, digest in zip(batch.pending, batch.digests(), strict=True)
    )


def _not_committed(event: NewEvent, error: GatewayError) -> GatewayError:
    """Return what a failure of the database means: what may be committed can be repeated only under its id."""
    if isinstance(error, StoreUnavailable) and error.may_be_committed and not event.is_id_given:
        return errors.OutcomeUnknown(
            "The database did not confirm the event. If it has it, the event is delivered. Check before you send it "
            "again. With an event_id of your own, a repeat is safe.",
            metadata={"surface": "ingestion"},
        )
    return error


def result_of(event_id: str, answer: Admitted) -> Result:
    """Return the result that the caller gets."""
    match answer.state:
        case AdmissionState.NEW:
            return Submitted(
                event_id=event_id, duplicate=False, accepted_at=answer.accepted_at_us / 1_000_000, queued=True
            )
        case AdmissionState.QUEUED | AdmissionState.DELIVERED:
            return Submitted(event_id=event_id, duplicate=True, accepted_at=answer.accepted_at_us / 1_000_000)
        case AdmissionState.DEAD:
            return Failed(event_id=event_id, error=_dead(answer.reason))
        case AdmissionState.REUSED:
            return Failed(event_id=event_id, error=errors.EventIdReused())


def _dead(reason: str) -> GatewayError:
    """Return the error for a caller that sends the event of a dead letter again."""
    kind = _KINDS.get(reason, errors.PhoenixRefusedState)
    return kind(
        "This event was queued before and is a dead letter now. Read it with ListDeadLetters, and send it again with "
        "RedriveDeadLetters.",
        metadata={"surface": "ingestion", "dead_letter": "true"},
    )


_KINDS: dict[str, type[errors.UpstreamFault]] = {kind.reason: kind for kind in errors.UpstreamFault.__subclasses__()}
