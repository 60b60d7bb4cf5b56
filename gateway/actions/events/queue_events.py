"""Takes durable events in: answered once they are committed, delivered later by `delivery.py`.

The store decides which of two equal events is the first, on whichever gateway; here is what a caller is told, and the
bound of what may wait. Source: API.md, EventService; issue 5, points 4 and 6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field

from gateway import errors
from gateway.actions.events.backlog import Backlog, BacklogSettings
from gateway.actions.events.event_batch import too_large
from gateway.core.event_ids import content_digest
from gateway.core.types import TenantId
from gateway.core.wire import Event, encode_event
from gateway.errors import GatewayError, StoreUnavailable
from gateway.outbox.pending_event import Failed, Submitted
from gateway.outbox.queue_level import QueueLevel
from gateway.outbox.record import AdmissionState, Admit, Admitted, NewEvent
from gateway.outbox.store import EventQueue
from gateway.phoenix.gamification.bulk import MAX_BODY_BYTES
from gateway.resilience.deadline import Deadline

Result = Submitted | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueBatch:
    """The durable events of one call or message: what is to be taken in, and the places that wait for its answers."""

    admit: Admit
    places: tuple[int, ...]
    results: list[Result | None] = field(repr=False)
    size_bytes: int

    @property
    def count(self) -> int:
        """Events that are to be taken in."""
        return len(self.places)


class QueueEvents:
    """The way in of all tenants."""

    def __init__(
        self,
        queue: EventQueue,
        level: QueueLevel,
        *,
        backlog: BacklogSettings | None = None,
        wake: Callable[[TenantId], None] = lambda tenant_id: None,
        on_event: Callable[[str, int], None] = lambda name, count: None,
    ) -> None:
        """Args: `wake` hears that a tenant has new events; `on_event` is told of queued and duplicate ones."""
        self._queue = queue
        self._level = level
        self._backlog = backlog
        self._backlogs: dict[TenantId, Backlog] = {}
        self._wake = wake
        self._on_event = on_event

    def backlog(self, tenant_id: TenantId) -> Backlog:
        """Return the bound of what is on its way into the store; a slow Phoenix fills another one."""
        return self._backlogs.setdefault(tenant_id, Backlog(self._backlog))

    def pack(
        self, tenant_id: TenantId, events: Sequence[Event | Failed], given: Set[int], *, send_event_id: bool
    ) -> QueueBatch:
        """Serialise the events; what fails in that is a result already."""
        new: list[NewEvent] = []
        places: list[int] = []
        results: list[Result | None] = [None] * len(events)
        size_bytes = 0
        for place, event in enumerate(events):
            if isinstance(event, Failed):
                results[place] = event
                continue
            body = encode_event(event, tenant_id, send_event_id=send_event_id)
            if len(body) > MAX_BODY_BYTES:
                results[place] = Failed(event_id=event.event_id, error=too_large(place, len(events)))
                continue
            size_bytes += len(body)
            places.append(place)
            new.append(
                NewEvent(
                    event_id=event.event_id,
                    is_id_given=place in given,
                    # Of every event: after a commit whose answer was lost, a made id comes again as a given one.
                    digest=content_digest(event),
                    leaderboard_id=event.leaderboard_id,
                    user_id=event.user_id,
                    body=body,
                )
            )
        return QueueBatch(
            admit=Admit(tenant_id=tenant_id, events=tuple(new)),
            places=tuple(places),
            results=results,
            size_bytes=size_bytes,
        )

    async def put(self, parcel: QueueBatch, deadline: Deadline) -> list[Result]:
        """Have the events committed; return one result per event of the call, in order.

        A failure of the store is the result of each event that was to be taken in. Raises: Overloaded where too much
        waits already; then nothing was taken in.
        """
        events = parcel.admit.events
        if events:
            self._level.reserve(parcel.count, parcel.size_bytes)
            new_count = new_bytes = 0
            try:
                answers = await self._queue.admit(parcel.admit, deadline)
                new = [
                    event for event, answer in zip(events, answers, strict=True) if answer.state is AdmissionState.NEW
                ]
                new_count, new_bytes = len(new), sum(len(event.body) for event in new)
            except GatewayError as error:
                answers = None
                for place, event in zip(parcel.places, events, strict=True):
                    parcel.results[place] = Failed(event_id=event.event_id, error=_not_taken(event, error))
            finally:
                self._level.arrived(parcel.count, parcel.size_bytes, new_count, new_bytes)
            if answers is not None:
                for place, event, answer in zip(parcel.places, events, answers, strict=True):
                    parcel.results[place] = result_of(event.event_id, answer)
            if new_count:
                self._wake(parcel.admit.tenant_id)
                self._on_event("queued", new_count)
            if answers is not None and new_count < parcel.count:
                self._on_event("known", parcel.count - new_count)
        return [_there(result) for result in parcel.results]


def _not_taken(event: NewEvent, error: GatewayError) -> GatewayError:
    """Return what a failure of the store amounts to: a repeat of what may be committed is safe only under its id."""
    if isinstance(error, StoreUnavailable) and error.may_be_committed and not event.is_id_given:
        return errors.OutcomeUnknown(
            "The store did not say whether it holds the event; if it does, the event is delivered. Look before sending "
            "it again. With an event_id of your own a repeat is safe.",
            metadata={"surface": "ingestion"},
        )
    return error


def result_of(event_id: str, answer: Admitted) -> Result:
    """Return what the caller is told."""
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
    """Return what a dead letter died of, said to someone who sends its event again."""
    kind = _KINDS.get(reason, errors.PhoenixRefusedState)
    return kind(
        "This event was taken in before and is a dead letter now. Look at it with ListDeadLetters, and send it again "
        "with RedriveDeadLetters.",
        metadata={"surface": "ingestion", "dead_letter": "true"},
    )


_KINDS: dict[str, type[errors.UpstreamFault]] = {kind.reason: kind for kind in errors.UpstreamFault.__subclasses__()}


def _there(result: Result | None) -> Result:
    assert result is not None, "every event has its result"
    return result
