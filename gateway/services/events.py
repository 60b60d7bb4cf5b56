"""EventService: messages to events and back. The actions decide what happens to an event."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

from google.protobuf.message import Message

from gateway.actions.events.dead_letters import DeadLetters
from gateway.actions.events.submit_events import SubmitEvents
from gateway.actions.shared.call import Call
from gateway.core.wire import Event, check_metadata_json
from gateway.errors import FieldFault, InvalidField
from gateway.outbox.record import DeadLetter
from gateway.phoenix.gamification.pending_event import Failed, Result, Submitted
from gateway.services.convert import timestamp, timestamp_us
from gateway.services.ordered_acks import Acknowledgement, StreamGate, ordered_acks
from gateway.services.plain_events import PlainEvents
from gateway.services.status import status_of
from gateway.services.structs import struct_to_json
from gateway.v1 import events_pb2

_DURABLE = events_pb2.DELIVERY_DURABLE

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

Validate = Callable[[Message], tuple[FieldFault, ...]]
_Results: TypeAlias = "RepeatedCompositeFieldContainer[events_pb2.EventResult]"


class EventService:
    """Serves phoenix.gateway.v1.EventService."""

    def __init__(
        self,
        submit: SubmitEvents,
        validate: Validate,
        intake: StreamGate | None = None,
        *,
        dead_letters: DeadLetters,
    ) -> None:
        self._submit = submit
        self._validate = validate
        self._intake = intake or StreamGate()
        self._plain = PlainEvents()
        self._dead_letters = dead_letters

    async def SubmitEvent(self, request: events_pb2.SubmitEventRequest, call: Call) -> events_pb2.SubmitEventResponse:
        """Send one event."""
        if not request.HasField("event"):
            raise InvalidField([FieldFault(field="event", description="value is required")])
        event = self._event(request.event, prefix="event.")
        done = await self._submit.one(
            request.tenant_id,
            event,
            call,
            is_id_given=bool(request.event.event_id),
            durable=request.delivery == _DURABLE,
        )
        return events_pb2.SubmitEventResponse(
            event_id=done.event_id, status=_status(done), accept_time=timestamp(done.accepted_at)
        )

    async def SubmitEvents(
        self, request: events_pb2.SubmitEventsRequest, call: Call
    ) -> events_pb2.SubmitEventsResponse:
        """Send a batch; a bad event is its own result."""
        events, given = self._read(request.events)
        results = await self._submit.many(request.tenant_id, events, given, call, durable=request.delivery == _DURABLE)
        response = events_pb2.SubmitEventsResponse()
        _fill(response.results, results)
        return response

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
            durable = request.delivery == _DURABLE
            return request.sequence, await stream.begin(request.tenant_id, events, given, durable=durable)

        async for sequence, results in ordered_acks(requests, begin, self._intake):
            response = events_pb2.StreamEventsResponse(sequence=sequence)
            _fill(response.results, results)
            yield response

    async def ListDeadLetters(
        self, request: events_pb2.ListDeadLettersRequest, call: Call
    ) -> events_pb2.ListDeadLettersResponse:
        """Show what was given up."""
        page = await self._dead_letters.page(
            request.tenant_id,
            leaderboard_id=request.leaderboard_id,
            reason=request.reason,
            page_size=request.page_size,
            page_token=request.page_token,
            call=call,
        )
        return events_pb2.ListDeadLettersResponse(
            dead_letters=[_dead_letter(one) for one in page.letters], next_page_token=page.next_page_token
        )

    async def RedriveDeadLetters(
        self, request: events_pb2.RedriveDeadLettersRequest, call: Call
    ) -> events_pb2.RedriveDeadLettersResponse:
        """Queue dead letters again."""
        results = await self._dead_letters.redrive(
            request.tenant_id,
            event_ids=request.event_ids,
            leaderboard_id=request.leaderboard_id,
            reason=request.reason,
            may_count_twice=request.may_count_twice,
            call=call,
        )
        response = events_pb2.RedriveDeadLettersResponse()
        _fill(response.results, results)
        return response

    def _read(self, messages: Iterable[events_pb2.Event]) -> tuple[list[Event | Failed], set[int]]:
        """Return the events, checked one by one, and the places of those whose id the caller gave."""
        events: list[Event | Failed] = []
        given: set[int] = set()
        for place, message in enumerate(messages):
            try:
                events.append(self._event(message, prefix=""))
            except InvalidField as error:
                named = [_under(f"events[{place}].", fault) for fault in error.faults]
                events.append(Failed(event_id=message.event_id, error=InvalidField(named)))
            if message.event_id:
                given.add(place)
        return events, given

    def _event(self, message: events_pb2.Event, prefix: str) -> Event:
        """Return the event, held to the contract's rules. Args: `prefix`: of its fields. Raises: InvalidField."""
        event_id, board, user = message.event_id, message.leaderboard_id, message.user_id
        event_type = message.event_type
        score = message.score_delta if message.HasField("score_delta") else None
        raw = message.metadata_json
        has_json = message.HasField("attributes_json")
        if has_json or not self._plain.is_plain(event_id, board, user, score, event_type, raw):
            faults = self._validate(message)
            if faults:
                raise InvalidField([_under(prefix, fault) for fault in faults])
        return Event(  # by position: by name it takes three times as long
            event_id or self._submit.new_event_id(),
            board,
            user,
            score,
            _metadata(message, raw, prefix),
            event_type,
            message.occur_time.ToJsonString() if message.HasField("occur_time") else None,
            _attributes(message, prefix) if has_json or message.HasField("attributes") else None,
        )


def _under(prefix: str, fault: FieldFault) -> FieldFault:
    """Return the fault with its whole path; one of the message itself has none of its own."""
    return FieldFault(field=f"{prefix}{fault.field}".rstrip("."), description=fault.description)


def _metadata(message: events_pb2.Event, raw: bytes, prefix: str) -> bytes | None:
    """Return the metadata as JSON. Args: `raw`: the message's `metadata_json`. Raises: InvalidField."""
    if not raw:
        form = message.WhichOneof("metadata_form")
        if form is None:
            return None
        if form == "metadata":
            return struct_to_json(message.metadata, f"{prefix}metadata")
    return _checked_json(raw, f"{prefix}metadata_json")


def _attributes(message: events_pb2.Event, prefix: str) -> bytes:
    if not message.HasField("attributes_json"):
        return struct_to_json(message.attributes, f"{prefix}attributes")
    if message.HasField("attributes"):
        both = FieldFault(field=f"{prefix}attributes_json", description="must not be set together with attributes")
        raise InvalidField([both])
    return _checked_json(message.attributes_json, f"{prefix}attributes_json")


def _checked_json(raw: bytes, field: str) -> bytes:
    fault = check_metadata_json(raw, field)
    if fault is not None:
        raise InvalidField([fault])
    return raw


def _status(done: Submitted) -> events_pb2.EventStatus.ValueType:
    if done.queued:
        return events_pb2.EVENT_STATUS_QUEUED
    return events_pb2.EVENT_STATUS_DUPLICATE if done.duplicate else events_pb2.EVENT_STATUS_ACCEPTED


def _fill(target: RepeatedCompositeFieldContainer[events_pb2.EventResult], results: Iterable[Result]) -> None:
    """Write the results in their place: messages made apart, or from keywords, take three times as long."""
    for one in results:
        result = target.add()
        result.event_id = one.event_id
        if isinstance(one, Failed):
            result.error.CopyFrom(status_of(one.error))
        else:
            result.status = _status(one)


def _dead_letter(letter: DeadLetter) -> events_pb2.DeadLetter:
    first = letter.first_sent_at_us
    return events_pb2.DeadLetter(
        event_id=letter.event_id,
        leaderboard_id=letter.leaderboard_id,
        user_id=letter.user_id,
        reason=letter.reason,
        detail=letter.detail,
        accept_time=timestamp_us(letter.accepted_at_us),
        first_send_time=None if first is None else timestamp_us(first),
        dead_time=timestamp_us(letter.died_at_us),
        attempts=letter.attempts,
        event_json=letter.body,
    )
