"""EventService: messages to events and back. What happens to an event is the action's business."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from google.protobuf.message import Message

from gateway.actions.call import Call
from gateway.actions.submit_events import Failed, SubmitEvents, Submitted
from gateway.core.wire import Event, check_metadata_json
from gateway.errors import FieldFault, InvalidField
from gateway.services.acknowledged import Acknowledgement, acknowledged
from gateway.services.convert import timestamp
from gateway.services.status import status_of
from gateway.services.structs import struct_to_json
from gateway.v1 import events_pb2

Validate = Callable[[Message], tuple[FieldFault, ...]]


class EventService:
    """Serves phoenix.gateway.v1.EventService."""

    def __init__(self, submit: SubmitEvents, validate: Validate) -> None:
        self._submit = submit
        self._validate = validate

    async def SubmitEvent(self, request: events_pb2.SubmitEventRequest, call: Call) -> events_pb2.SubmitEventResponse:
        """Send one event."""
        event = self._event(request.event, prefix="event.")
        done = await self._submit.one(request.tenant_id, event, call, is_id_given=bool(request.event.event_id))
        return events_pb2.SubmitEventResponse(
            event_id=done.event_id, status=_status(done), accept_time=timestamp(done.accepted_at)
        )

    async def SubmitEvents(
        self, request: events_pb2.SubmitEventsRequest, call: Call
    ) -> events_pb2.SubmitEventsResponse:
        """Send a batch; a bad event is its own result."""
        events, given = self._read(request.events)
        results = await self._submit.many(request.tenant_id, events, given, call)
        return events_pb2.SubmitEventsResponse(results=[_result(result) for result in results])

    async def StreamEvents(
        self, requests: AsyncIterator[events_pb2.StreamEventsRequest], call: Call
    ) -> AsyncIterator[events_pb2.StreamEventsResponse]:
        """Send each message's events and acknowledge the messages in their order, a few under way at once."""
        stream = self._submit.stream(call)
        last = 0

        async def begin(request: events_pb2.StreamEventsRequest) -> Acknowledgement:
            nonlocal last
            if request.sequence <= last:
                raise InvalidField([FieldFault(field="sequence", description=f"must be greater than {last}")])
            last = request.sequence
            events, given = self._read(request.events)
            return request.sequence, await stream.begin(request.tenant_id, events, given)

        async for sequence, results in acknowledged(requests, begin):
            yield events_pb2.StreamEventsResponse(sequence=sequence, results=[_result(one) for one in results])

    def _read(self, messages: Sequence[events_pb2.Event]) -> tuple[list[Event | Failed], set[int]]:
        """Return the events, checked one by one, and the places of those whose id the caller gave."""
        events = [self._checked(message, place) for place, message in enumerate(messages)]
        return events, {place for place, message in enumerate(messages) if message.event_id}

    def _checked(self, message: events_pb2.Event, index: int) -> Event | Failed:
        prefix = f"events[{index}]."
        faults = self._validate(message)
        try:
            if faults:
                raise InvalidField(faults)
            return self._event(message, prefix="")
        except InvalidField as error:
            named = [
                FieldFault(field=f"{prefix}{fault.field}".rstrip("."), description=fault.description)
                for fault in error.faults
            ]
            return Failed(event_id=message.event_id, error=InvalidField(named))

    def _event(self, message: events_pb2.Event, prefix: str) -> Event:
        return Event(
            event_id=message.event_id or self._submit.new_event_id(),
            leaderboard_id=message.leaderboard_id,
            user_id=message.user_id,
            score_delta=message.score_delta if message.HasField("score_delta") else None,
            metadata_json=_metadata(message, prefix),
            event_type=message.event_type,
            occur_time=message.occur_time.ToJsonString() if message.HasField("occur_time") else None,
            attributes_json=struct_to_json(message.attributes, f"{prefix}attributes")
            if message.HasField("attributes")
            else None,
        )


def _metadata(message: events_pb2.Event, prefix: str) -> bytes | None:
    form = message.WhichOneof("metadata_form")
    if form == "metadata":
        return struct_to_json(message.metadata, f"{prefix}metadata")
    if form == "metadata_json":
        fault = check_metadata_json(message.metadata_json)
        if fault is not None:
            raise InvalidField([FieldFault(field=f"{prefix}{fault.field}", description=fault.description)])
        return message.metadata_json
    return None


def _status(done: Submitted) -> events_pb2.EventStatus.ValueType:
    return events_pb2.EVENT_STATUS_DUPLICATE if done.duplicate else events_pb2.EVENT_STATUS_ACCEPTED


def _result(result: Submitted | Failed) -> events_pb2.EventResult:
    if isinstance(result, Failed):
        return events_pb2.EventResult(event_id=result.event_id, error=status_of(result.error))
    return events_pb2.EventResult(event_id=result.event_id, status=_status(result))
