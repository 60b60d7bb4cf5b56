"""Step 1, serialise: the events of one call or message, as Phoenix gets them. Direct and durable events start here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import NamedTuple

from gateway.core.event_ids import content_digest
from gateway.core.types import TenantId
from gateway.core.wire import Event, encode_event
from gateway.errors import FieldFault, GatewayError, InvalidField
from gateway.phoenix.gamification.bulk import MAX_BODY_BYTES
from gateway.phoenix.gamification.pending_event import Failed, PendingEvent, Result


class EventBatch(NamedTuple):
    """One to a thousand events. `pending`: those that can be sent; the others have failed. Both keep the order.

    `size_bytes`: of the pending events, serialised. A tuple, because each call makes one.
    """

    tenant_id: TenantId
    pending: Sequence[PendingEvent]
    size_bytes: int
    events: Sequence[Event | Failed]
    failed: Mapping[int, Failed]
    """By place in `events`."""

    def sources(self) -> list[Event]:
        """Return what each pending event was made from."""
        return [
            event
            for place, event in enumerate(self.events)
            if not isinstance(event, Failed) and place not in self.failed
        ]

    def digests(self) -> list[bytes]:
        """Return the digest of each pending event's content."""
        return [content_digest(event) for event in self.sources()]

    def in_order(self, ended: Sequence[Result]) -> list[Result]:
        """Return one result per event, in order. Args: `ended`: the results of the pending events."""
        if not self.failed:
            return list(ended)
        rest = iter(ended)
        return [self.failed[place] if place in self.failed else next(rest) for place in range(len(self.events))]


def serialise(
    tenant_id: TenantId, events: Sequence[Event | Failed], given: Set[int], *, send_event_id: bool
) -> EventBatch:
    """Serialise the events of a call; an event that is too large has failed.

    Args: `given`: places of the events whose id the caller chose; `send_event_id`: whether bodies carry the id.
    """
    pending: list[PendingEvent] = []
    failed: dict[int, Failed] = {}
    size_bytes = 0
    for place, event in enumerate(events):
        if isinstance(event, Failed):
            failed[place] = event
            continue
        body = encode_event(event, tenant_id, send_event_id=send_event_id)
        if len(body) > MAX_BODY_BYTES:
            failed[place] = Failed(event_id=event.event_id, error=_too_large(place, len(events)))
            continue
        size_bytes += len(body)
        pending.append(PendingEvent(event.event_id, body, (event.leaderboard_id, event.user_id), place in given))
    return EventBatch(tenant_id=tenant_id, pending=pending, size_bytes=size_bytes, events=events, failed=failed)


def _too_large(place: int, count: int) -> GatewayError:
    """Return the refusal of an event that Phoenix would not take. Args: `count`: of the events in its call."""
    field = "event" if count == 1 else f"events[{place}]"
    description = f"must be at most {MAX_BODY_BYTES:,} bytes as JSON"
    return InvalidField([FieldFault(field=field, description=description)])
