"""Sends events to Phoenix: one per call, or up to 100 in one bulk call.

`core.wire` serialises each event once. `bulk.py` reads a bulk answer; this module acts on it. `event_sender.py` and the
actions decide which events go together and in which order. Source: gamification.md 2.1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import orjson

from gateway import errors
from gateway.core.event_ids import RESEND_WITHIN_S
from gateway.core.types import TenantId
from gateway.core.wire import BulkEnvelope, encode_bulk
from gateway.phoenix.answers import Surface, after_doubt, error_of
from gateway.phoenix.auth.authorize import Authorize
from gateway.phoenix.gamification.bulk import ACCEPTED, ItemResult, ItemStatus, proves_none_accepted, read_bulk_answer
from gateway.phoenix.gamification.client import GamificationClient
from gateway.phoenix.gamification.pending_event import Failed, PendingEvent, Result, Submitted
from gateway.phoenix.http_types import Answer
from gateway.phoenix.retry import Idempotency, RetryingSender
from gateway.resilience.breaker import Breaker
from gateway.resilience.deadline import Deadline
from gateway.telemetry.logs import log

_EVENTS_PATH = "/v1/events"
_BULK_PATH = "/v1/events/bulk"
_NOT_SERVED = frozenset({404, 405})
_REFUSED_AS_A_WHOLE = frozenset({400, 409, 413, 422})
_NONE_ACCEPTED = frozenset({413})
"""Phoenix refuses these before it reads the body, so it accepted no event."""

_GUILTY = (errors.PhoenixRefusedInput, errors.PhoenixRefusedState, errors.BoardNotActive, errors.PhoenixForbidden)
"""Refusals of a single event that explain why its bulk call was refused as a whole. Phoenix did not accept it."""

ASK_AGAIN_S = 600.0
"""How long the client makes no bulk calls after Phoenix answered that it has none. A deployment may add them."""
REFUSALS_IN_ROW = 2
"""After so many bulk calls in a row that were refused as a whole with unknown effect, the client pauses likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsSettings:
    """What the gateway assumes about Phoenix's event log. The defaults can neither lose nor double an event."""

    sends_event_id: bool = True
    """`PHOENIX_SEND_EVENT_ID`: bodies carry their `event_id`, so a 409 means that Phoenix already has the event."""
    deduplicates: bool = False
    """`PHOENIX_DEDUPLICATES_EVENTS`: Phoenix counts an `event_id` once in 300 s, so a lost answer may be sent again."""
    bulk: BulkEnvelope | None = None
    """`PHOENIX_BULK_EVENTS`: the envelope of a bulk call. None: there are no bulk calls."""


class BulkNotServed(Exception):
    """Phoenix has no bulk call: send the events one by one. `in_doubt`: an earlier try may have brought them."""

    def __init__(self, *, in_doubt: bool) -> None:
        super().__init__("no bulk call")
        self.in_doubt = in_doubt


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """What holds for every event of one bulk call and of the calls that it is divided into.

    `is_wanted`: whether a caller still waits for the event of this id; None: for all. `were_refused`: Phoenix refused
    an earlier call with these events as a whole, and may have accepted some of them.
    """

    deadline: Deadline
    is_wanted: Callable[[str], bool] | None
    were_refused: bool = False

    def wants(self, event: PendingEvent) -> bool:
        """Whether a caller still waits for the event."""
        return self.is_wanted is None or self.is_wanted(event.event_id)

    def may_have_it(self, event: PendingEvent) -> bool:
        """Whether Phoenix may have had the event before this call."""
        return event.is_id_given or event.in_doubt or self.were_refused

    def failed(self, event: PendingEvent, error: errors.GatewayError, status: int | None = None) -> Failed:
        """Return what a failure means for this event. Args: `status`: that Phoenix answered for it."""
        if event.in_doubt or (self.were_refused and not isinstance(error, _GUILTY)):
            error = after_doubt(error, Surface.INGESTION, status)
        return Failed(event_id=event.event_id, error=error)


class EventsClient:
    """The events of one tenant."""

    def __init__(
        self,
        *,
        retrying: RetryingSender,
        base_url: str,
        tenant_id: TenantId,
        authorize: Authorize,
        settings: EventsSettings | None = None,
        breaker: Breaker | None = None,
        on_event: Callable[[str], None] = lambda name: None,
    ) -> None:
        """Send to `INGESTION_BASE_URL` with the tenant's HMAC headers.

        Args: `on_event` is called with what to count: bulk_not_served, bulk_divided, bulk_refused, bulk_unclear.
        """
        self._client = GamificationClient(
            retrying=retrying,
            base_url=base_url,
            tenant_id=tenant_id,
            surface=Surface.INGESTION,
            authorize=authorize,
            breaker=breaker,
        )
        settings = settings or EventsSettings()
        # Without an id in the body Phoenix has nothing to deduplicate by, whatever the setting says.
        self.deduplicates = settings.sends_event_id and settings.deduplicates
        """Whether an event may be sent again with its id, within RESEND_WITHIN_S."""
        self._idempotency = Idempotency.IDEMPOTENT if self.deduplicates else Idempotency.NOT_IDEMPOTENT
        self._accepted_statuses = frozenset({409}) if settings.sends_event_id else frozenset[int]()
        self._bulk = settings.bulk
        self._bulk_again_at: float | None = None
        self._apart_until = float("-inf")
        self._refused_in_row = 0
        self._on_event = on_event

    def sends_bulk(self, now: float) -> bool:
        """Whether `submit_bulk` may be tried. Args: `now`: monotonic seconds."""
        return self._bulk is not None and (self._bulk_again_at is None or now >= self._bulk_again_at)

    def mixes_callers(self, now: float) -> bool:
        """Whether events of different callers may share a bulk call: not while one event can cost others theirs."""
        return self.sends_bulk(now) and now >= self._apart_until

    async def submit(self, event: PendingEvent, deadline: Deadline) -> Submitted:
        """Send one event. The body of a 2xx means nothing.

        Raises: OutcomeUnknown if Phoenix may have counted it and it is not safe to send again; CircuitOpen,
        PhoenixConflict; else as `RetryingSender.deliver`, with the certainty that it was not counted.
        """
        return await self._submit(event, deadline, may_have_it=event.is_id_given)

    async def _submit(self, event: PendingEvent, deadline: Deadline, *, may_have_it: bool) -> Submitted:
        delivered = await self._client.post(
            _EVENTS_PATH,
            event.body,
            deadline,
            idempotency=self._idempotency,
            accepted_statuses=self._accepted_statuses,
            in_doubt=event.in_doubt,
            status_suffices=True,
        )
        is_conflict = delivered.answer.status == 409
        if is_conflict and not (may_have_it or delivered.in_doubt):
            raise error_of(delivered.answer, Surface.INGESTION, 0.0, changes=True)
        return Submitted(event.event_id, is_conflict, deadline.clock.now())

    async def submit_bulk(
        self, events: Sequence[PendingEvent], deadline: Deadline, is_wanted: Callable[[str], bool] | None = None
    ) -> list[Result]:
        """Send 2 to 100 events of different ids, of 1 MB at most, in one call; return one result per event, in order.

        If Phoenix refuses the call as a whole, it is divided until the guilty events are alone. If its answer is
        unclear about an event, that event is sent again by itself. Both happen only where nothing can be counted twice;
        else the events are OutcomeUnknown.
        Args: `is_wanted`: asked before an event is sent again; if no caller waits, the event is OutcomeUnknown.
        Raises: BulkNotServed.
        """
        if self.deduplicates:  # all resends end before Phoenix forgets the first send
            deadline = deadline.earlier(Deadline.after(RESEND_WITHIN_S, deadline.clock))
        return await self._send_bulk(events, _Terms(deadline=deadline, is_wanted=is_wanted))

    async def _send_bulk(self, events: Sequence[PendingEvent], terms: _Terms) -> list[Result]:
        assert self._bulk is not None, "ask sends_bulk first"
        envelope = self._bulk
        carried = events  # by the last try

        def body() -> bytes:
            nonlocal carried
            if terms.is_wanted is not None:
                carried = [event for event in carried if terms.wants(event)] or carried
            return encode_bulk([event.body for event in carried], envelope)

        try:
            delivered = await self._client.post(
                _BULK_PATH,
                body,
                terms.deadline,
                idempotency=self._idempotency,
                accepted_statuses=_NOT_SERVED | _REFUSED_AS_A_WHOLE,
            )
        except errors.GatewayError as error:
            return [terms.failed(event, error) for event in events]
        answer = delivered.answer
        if answer.status in _NOT_SERVED:
            self._note_not_served(answer, terms.deadline)
            raise BulkNotServed(in_doubt=delivered.in_doubt)
        if delivered.in_doubt:
            carried = put_in_doubt(carried)
        if answer.status in _REFUSED_AS_A_WHOLE:
            results = await self._divide(answer, carried, terms)
        else:
            results = await self._read(answer, carried, terms)
        if len(results) == len(events):
            return results
        by_id = {result.event_id: result for result in results}
        return [by_id.get(event.event_id) or _unknown(event) for event in events]

    async def _read(self, answer: Answer, events: Sequence[PendingEvent], terms: _Terms) -> list[Result]:
        """Return what a 2xx says of each event."""
        self._bulk_again_at = None
        self._refused_in_row = 0
        items = read_bulk_answer(answer.body, [event.event_id for event in events])
        if all(item is ACCEPTED for item in items):
            now = terms.deadline.clock.now()
            return [Submitted(event.event_id, False, now) for event in events]
        if any(item.status is ItemStatus.DOUBTFUL for item in items):
            self._on_event("bulk_unclear")
        return [await self._settle(item, event, terms) for item, event in zip(items, events, strict=True)]

    async def _settle(self, item: ItemResult, event: PendingEvent, terms: _Terms) -> Result:
        """Return the result of an event; send it again where the answer is unclear and that is harmless."""
        match item.status:
            case ItemStatus.ACCEPTED:
                return Submitted(event.event_id, False, terms.deadline.clock.now())
            case ItemStatus.DUPLICATE if terms.may_have_it(event):
                return Submitted(event.event_id, True, terms.deadline.clock.now())
            case ItemStatus.DUPLICATE | ItemStatus.REFUSED:
                status = 409 if item.status is ItemStatus.DUPLICATE else item.http_status or 400
                answer = Answer(status=status, body=orjson.dumps({"code": item.code}))
                return terms.failed(event, error_of(answer, Surface.INGESTION, 0.0, changes=True), status)
            case ItemStatus.DOUBTFUL if self.deduplicates:
                return await self._again(event._replace(in_doubt=True), terms)
            case ItemStatus.DOUBTFUL:
                return _unknown(
                    event,
                    "Phoenix's answer to the bulk call does not say whether it accepted this event. Check before "
                    "you send it again.",
                )

    async def _divide(self, answer: Answer, events: Sequence[PendingEvent], terms: _Terms) -> list[Result]:
        """Find the guilty events of a call that was refused as a whole, and send the others, in their order."""
        is_harmless = answer.status in _NONE_ACCEPTED or proves_none_accepted(
            answer.body, [event.event_id for event in events]
        )
        if not (is_harmless or self.deduplicates):
            self._note_refused(answer, terms.deadline)
            message = (
                "Phoenix refused the bulk call with this event and does not say whether it accepted any of it. "
                "Check before you send it again."
            )
            return [_unknown(event, message, phoenix_status=str(answer.status)) for event in events]
        self._on_event("bulk_divided")
        if not is_harmless:
            terms = replace(terms, were_refused=True)
        middle = len(events) // 2
        return [*await self._part(events[:middle], terms), *await self._part(events[middle:], terms)]

    async def _part(self, events: Sequence[PendingEvent], terms: _Terms) -> list[Result]:
        if len(events) == 1:
            return [await self._again(events[0], terms)]
        try:
            return await self._send_bulk(events, terms)
        except BulkNotServed as missing:
            if missing.in_doubt:
                events = put_in_doubt(events)
            return [await self._again(event, terms) for event in events]

    async def _again(self, event: PendingEvent, terms: _Terms) -> Result:
        """Send by itself an event that was part of a call before."""
        if not terms.wants(event):
            return _unknown(event)
        try:
            return await self._submit(event, terms.deadline, may_have_it=terms.may_have_it(event))
        except errors.GatewayError as error:
            if event.in_doubt:  # `post` knows this and has judged the error already
                return Failed(event_id=event.event_id, error=error)
            return terms.failed(event, error)

    def _note_not_served(self, answer: Answer, deadline: Deadline) -> None:
        self._on_event("bulk_not_served")
        if self._bulk_again_at is None:
            log().warning(
                "Phoenix has no bulk calls; sending events one by one",
                tenant=self._client.tenant_id,
                surface=Surface.INGESTION.value,
                upstream_status=answer.status,
                setting="PHOENIX_BULK_EVENTS",
            )
        self._bulk_again_at = deadline.clock.monotonic() + ASK_AGAIN_S

    def _note_refused(self, answer: Answer, deadline: Deadline) -> None:
        """Limit the harm of a refusal that leaves all events of a call unknown, as one bad event can do to the others.

        After the first, callers no longer share calls, so that each risks only its own events. After the second in a
        row, which a wrong envelope causes, events go one by one. Both last ASK_AGAIN_S.
        """
        self._on_event("bulk_refused")
        until = deadline.clock.monotonic() + ASK_AGAIN_S
        self._apart_until = until
        self._refused_in_row += 1
        if self._refused_in_row >= REFUSALS_IN_ROW:
            self._bulk_again_at = until
        log().warning(
            "Phoenix refused a whole bulk call; the outcome of its events is unknown",
            tenant=self._client.tenant_id,
            surface=Surface.INGESTION.value,
            upstream_status=answer.status,
            state="one by one" if self._refused_in_row >= REFUSALS_IN_ROW else "callers apart",
            setting="PHOENIX_DEDUPLICATES_EVENTS",
        )


def put_in_doubt(events: Sequence[PendingEvent]) -> list[PendingEvent]:
    """Return the events as ones that an earlier send may have brought to Phoenix."""
    return [event._replace(in_doubt=True) for event in events]


def _unknown(event: PendingEvent, message: str | None = None, **metadata: str) -> Failed:
    error = errors.OutcomeUnknown(message, metadata={"surface": Surface.INGESTION.value, **metadata})
    return Failed(event_id=event.event_id, error=error)
