"""Sends events to Phoenix, one by one or up to 100 in one call.

`core.wire` serialises each event once, before it comes here. `bulk.py` reads the answer to a bulk call. The actions
decide which events go together, and in which order. Source: gamification.md 2.1.
"""

import enum
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from typing import Self

import orjson

from gateway import errors
from gateway.core.event_ids import RESEND_WITHIN_S
from gateway.core.types import TenantId
from gateway.core.wire import BulkEnvelope, encode_bulk
from gateway.phoenix.answers import Surface, after_doubt, error_of
from gateway.phoenix.auth.authorize import Authorize
from gateway.phoenix.gamification.bulk import ACCEPTED, ItemResult, ItemStatus, proves_none_accepted, read_bulk_answer
from gateway.phoenix.gamification.client import GamificationClient
from gateway.phoenix.http_types import Answer
from gateway.phoenix.retry import Idempotency, RetryingSender
from gateway.resilience.breaker import Breaker
from gateway.resilience.deadline import Deadline
from gateway.telemetry.logs import log

_EVENTS_PATH = "/v1/events"
_BULK_PATH = "/v1/events/bulk"
_NOT_SERVED = frozenset({404, 405})
_REFUSED_AS_A_WHOLE = frozenset({400, 409, 413, 422})
_NOTHING_TAKEN = frozenset({413})
"""Phoenix refused the call before it read it, so it certainly had no effect."""

_GUILTY = (errors.PhoenixRefusedInput, errors.PhoenixRefusedState, errors.BoardNotActive, errors.PhoenixForbidden)
"""Refusals of one event that explain why Phoenix refused its whole call: Phoenix did not accept the event."""

ASK_AGAIN_S = 600.0
"""How long to send no bulk calls after Phoenix answered that it has none; a deployment of Phoenix may change that."""
REFUSALS_IN_ROW = 2
"""After this many bulk calls in a row that were refused whole with unknown effect, send no bulk calls either."""


class Acceptance(enum.Enum):
    """How Phoenix accepted an event."""

    ACCEPTED = "accepted"
    """It answered 2xx: the event is queued for scoring, which follows within seconds."""
    DUPLICATE = "duplicate"
    """It answered 409: an event with this id came before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsSettings:
    """What the gateway assumes about Phoenix's event log. The defaults can neither lose nor repeat an event."""

    sends_event_id: bool = True
    """`PHOENIX_SEND_EVENT_ID`: bodies carry their `event_id`, so a 409 means that Phoenix already has the event."""
    deduplicates: bool = False
    """`PHOENIX_DEDUPLICATES_EVENTS`: Phoenix counts an `event_id` once in 300 s, so a lost answer allows a resend."""
    bulk: BulkEnvelope | None = None
    """`PHOENIX_BULK_EVENTS`: the envelope of a bulk call. None: send no bulk calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """An event that Phoenix has, and how many tries it took."""

    acceptance: Acceptance
    tries: int


class BulkNotServed(Exception):
    """Phoenix has no bulk call: send the events one by one. `in_doubt`: Phoenix may have them from an earlier try."""

    def __init__(self, *, in_doubt: bool) -> None:
        super().__init__("no bulk call")
        self.in_doubt = in_doubt


def _always(_event_id: str) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What is known about the events of one bulk call; see `EventsClient.submit_bulk`.

    `refused`: the ids of events of a call that Phoenix refused as a whole and may have accepted in part.
    """

    is_wanted: Callable[[str], bool]
    given: Set[str]
    in_doubt: Set[str]
    refused: Set[str] = frozenset()

    def all_in_doubt(self, ids: Sequence[str]) -> Self:
        """Return the same with these events in doubt: Phoenix may have accepted them."""
        return replace(self, in_doubt=self.in_doubt | frozenset(ids))

    def all_refused(self, ids: Sequence[str]) -> Self:
        """Return the same with these events refused as a whole."""
        return replace(self, refused=self.refused | frozenset(ids))

    def may_be_there(self, event_id: str) -> bool:
        """Whether Phoenix may have had the event before this call."""
        return event_id in self.given or event_id in self.in_doubt or event_id in self.refused

    def failure(self, event_id: str, error: errors.GatewayError, status: int | None = None) -> errors.GatewayError:
        """Return what a failure means for this event. Args: `status`: Phoenix's status for it."""
        if event_id in self.in_doubt or (event_id in self.refused and not isinstance(error, _GUILTY)):
            return after_doubt(error, Surface.INGESTION, status)
        return error


class EventsClient:
    """One tenant's events."""

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

        Args: `on_event` hears the names of things to be counted: bulk_not_served, bulk_divided, bulk_refused,
        bulk_unclear.
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
        # Phoenix cannot deduplicate a body without an id, whatever the setting says.
        self.deduplicates = settings.sends_event_id and settings.deduplicates
        """Whether an event may be sent again with its id, within RESEND_WITHIN_S."""
        self._idempotency = Idempotency.IDEMPOTENT if self.deduplicates else Idempotency.NOT_IDEMPOTENT
        self._welcome = frozenset({409}) if settings.sends_event_id else frozenset[int]()
        self._bulk = settings.bulk
        self._bulk_again_at: float | None = None
        self._apart_until = float("-inf")
        self._refused_in_row = 0
        self._on_event = on_event

    def sends_bulk(self, now: float) -> bool:
        """Whether `submit_bulk` may be tried. Args: `now`: monotonic seconds."""
        return self._bulk is not None and (self._bulk_again_at is None or now >= self._bulk_again_at)

    def mixes_callers(self, now: float) -> bool:
        """Whether events of different callers may share a bulk call. Not after one failed the others."""
        return self.sends_bulk(now) and now >= self._apart_until

    async def submit(
        self, event: bytes, deadline: Deadline, *, is_id_given: bool = False, in_doubt: bool = False
    ) -> Submitted:
        """Send one serialised event and return how Phoenix accepted it. The body of its 2xx means nothing.

        Args: `is_id_given`: the id is the caller's, who may have sent it before; `in_doubt`: it was sent before, and
        Phoenix may have it. In both cases a 409 says that it is there; an id that was just made cannot be.
        Raises: OutcomeUnknown if Phoenix may have counted it and it is not safe to send again; CircuitOpen,
        PhoenixConflict; else as `RetryingSender.deliver`, with the certainty that it was not counted.
        """
        delivered = await self._client.post(
            _EVENTS_PATH,
            event,
            deadline,
            idempotency=self._idempotency,
            accepted_statuses=self._welcome,
            in_doubt=in_doubt,
        )
        if delivered.answer.status != 409:
            return Submitted(acceptance=Acceptance.ACCEPTED, tries=delivered.tries)
        if is_id_given or delivered.in_doubt:
            return Submitted(acceptance=Acceptance.DUPLICATE, tries=delivered.tries)
        raise error_of(delivered.answer, Surface.INGESTION, 0.0, changes=True)

    async def submit_bulk(
        self,
        events: Sequence[bytes],
        ids: Sequence[str],
        deadline: Deadline,
        is_wanted: Callable[[str], bool] = _always,
        *,
        given: Set[str] = frozenset(),
        in_doubt: Set[str] = frozenset(),
    ) -> list[Acceptance | errors.GatewayError]:
        """Send 2 to 100 serialised events, of 1 MB at most, in one call; return the result of each, in their order.

        If Phoenix refuses the whole call, it is divided until the bad events are alone. If the answer omits events,
        they are sent again one by one. Both happen only where no event can count twice; otherwise those
        events end as OutcomeUnknown. Args: `ids`: the events' ids, each once; `is_wanted`: whether a caller still waits
        for an event, asked before it is sent again; if not, it ends as OutcomeUnknown; `given`, `in_doubt`: the ids for
        which `submit` takes these arguments. Raises: BulkNotServed; else as `submit`, for all events.
        """
        # Dividing sends events again, so it must end before Phoenix forgets the first sending.
        within = deadline.earlier(Deadline.after(RESEND_WITHIN_S, deadline.clock)) if self.deduplicates else deadline
        asked = _Asked(is_wanted=is_wanted, given=given, in_doubt=in_doubt)
        try:
            return await self._bulk_call(events, ids, within, asked)
        except errors.GatewayError as error:
            if not in_doubt:
                raise
            return [asked.failure(one, error) for one in ids]

    async def _bulk_call(
        self, events: Sequence[bytes], ids: Sequence[str], deadline: Deadline, asked: _Asked
    ) -> list[Acceptance | errors.GatewayError]:
        assert self._bulk is not None, "ask sends_bulk first"
        envelope = self._bulk
        carried: list[int] = []  # places of the events in the last try

        def body() -> bytes:
            nonlocal carried
            carried = [at for at in carried if asked.is_wanted(ids[at])] or carried or list(range(len(events)))
            return encode_bulk([events[at] for at in carried], envelope)

        accepted_statuses = _NOT_SERVED | _REFUSED_AS_A_WHOLE
        delivered = await self._client.post(
            _BULK_PATH, body, deadline, idempotency=self._idempotency, accepted_statuses=accepted_statuses
        )
        answer = delivered.answer
        if answer.status in _NOT_SERVED:
            self._note_not_served(answer, deadline)
            raise BulkNotServed(in_doubt=delivered.in_doubt)
        if delivered.in_doubt:
            asked = asked.all_in_doubt(ids)
        sent, sent_ids = [events[at] for at in carried], [ids[at] for at in carried]
        if answer.status in _REFUSED_AS_A_WHOLE:
            found = await self._divide(answer, sent, sent_ids, deadline, asked)
        else:
            found = await self._read(answer, sent, sent_ids, deadline, asked)
        if len(found) == len(events):
            return found
        results: list[Acceptance | errors.GatewayError] = [_unknown() for _ in events]
        for at, result in zip(carried, found, strict=True):
            results[at] = result
        return results

    async def _read(
        self,
        answer: Answer,
        events: Sequence[bytes],
        ids: Sequence[str],
        deadline: Deadline,
        asked: _Asked,
    ) -> list[Acceptance | errors.GatewayError]:
        """Return what a 2xx says about each event; send unclear events again, where they cannot count twice."""
        self._bulk_again_at = None
        self._refused_in_row = 0
        items = read_bulk_answer(answer.body, ids)
        if all(item is ACCEPTED for item in items):
            return [Acceptance.ACCEPTED] * len(items)
        if any(item.status is ItemStatus.DOUBTFUL for item in items):
            self._on_event("bulk_unclear")
        return [
            await self._settle(item, event, event_id, deadline, asked)
            for item, event, event_id in zip(items, events, ids, strict=True)
        ]

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

    async def _divide(
        self,
        answer: Answer,
        events: Sequence[bytes],
        ids: Sequence[str],
        deadline: Deadline,
        asked: _Asked,
    ) -> list[Acceptance | errors.GatewayError]:
        """Find the bad events of a call that was refused as a whole, and deliver the others in their order."""
        harmless = answer.status in _NOTHING_TAKEN or proves_none_accepted(answer.body, ids)
        if not (harmless or self.deduplicates):
            self._note_refused(answer, deadline)
            fault = errors.OutcomeUnknown(
                "Phoenix refused the bulk call with this event and does not say whether it accepted any of it. "
                "Check before you send it again.",
                metadata={"surface": Surface.INGESTION.value, "phoenix_status": str(answer.status)},
            )
            return [fault] * len(events)
        self._on_event("bulk_divided")
        if not harmless:
            asked = asked.all_refused(ids)
        middle = len(events) // 2
        results: list[Acceptance | errors.GatewayError] = []
        for part in (slice(0, middle), slice(middle, None)):
            results += await self._part(events[part], ids[part], deadline, asked)
        return results

    def _note_refused(self, answer: Answer, deadline: Deadline) -> None:
        """Limit the harm when one bad event leaves the outcome of all events of a call unknown.

        After the first such refusal, callers stop sharing calls, so that each risks only its own events. After a second
        one in a row, which a wrong envelope causes, events go one by one. Both end after a while.
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

    async def _part(
        self,
        events: Sequence[bytes],
        ids: Sequence[str],
        deadline: Deadline,
        asked: _Asked,
    ) -> list[Acceptance | errors.GatewayError]:
        if len(events) == 1:
            return [await self._again(events[0], ids[0], deadline, asked)]
        try:
            return await self._bulk_call(events, ids, deadline, asked)
        except BulkNotServed as missing:
            if missing.in_doubt:
                asked = asked.all_in_doubt(ids)
            return [
                await self._again(event, event_id, deadline, asked) for event, event_id in zip(events, ids, strict=True)
            ]
        except errors.GatewayError as error:
            return [asked.failure(one, error) for one in ids]

    async def _settle(
        self, item: ItemResult, event: bytes, event_id: str, deadline: Deadline, asked: _Asked
    ) -> Acceptance | errors.GatewayError:
        """Return the result of one event; send an unclear event again, where it cannot count twice."""
        match item.status:
            case ItemStatus.ACCEPTED:
                return Acceptance.ACCEPTED
            case ItemStatus.DUPLICATE if asked.may_be_there(event_id):
                return Acceptance.DUPLICATE
            case ItemStatus.DUPLICATE | ItemStatus.REFUSED:
                status = 409 if item.status is ItemStatus.DUPLICATE else item.http_status or 400
                answer = Answer(status=status, body=orjson.dumps({"code": item.code}))
                error = error_of(answer, Surface.INGESTION, 0.0, changes=True)
                return asked.failure(event_id, error, status)
            case ItemStatus.DOUBTFUL if self.deduplicates:
                return await self._again(event, event_id, deadline, asked.all_in_doubt([event_id]))
            case ItemStatus.DOUBTFUL:
                return errors.OutcomeUnknown(
                    "Phoenix's answer to the bulk call does not say whether it accepted this event. "
                    "Check before you send it again.",
                    metadata={"surface": Surface.INGESTION.value},
                )

    async def _again(
        self, event: bytes, event_id: str, deadline: Deadline, asked: _Asked
    ) -> Acceptance | errors.GatewayError:
        """Send one event of an earlier call on its own."""
        if not asked.is_wanted(event_id):
            return _unknown()
        try:
            accepted = await self.submit(
                event, deadline, is_id_given=asked.may_be_there(event_id), in_doubt=event_id in asked.in_doubt
            )
        except errors.GatewayError as error:
            # For events in doubt, `submit` has set the effect already.
            return asked.failure(event_id, error) if event_id not in asked.in_doubt else error
        return accepted.acceptance


def _unknown() -> errors.OutcomeUnknown:
    return errors.OutcomeUnknown(metadata={"surface": Surface.INGESTION.value})
