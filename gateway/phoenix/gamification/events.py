"""Ingestion: events to Phoenix, one at a time or up to 100 in one call.

Bodies are made and serialised once, by `core.wire`, before they come here. What a bulk answer means is read in
`bulk.py`; here is what is done about it. Which events go together, and in which order, is the action's business.
Source: vendor chapter 2.1; API.md, "EventService"; issue 5, points 3 and 5.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from gateway import errors
from gateway.core.types import TenantId
from gateway.core.wire import BulkEnvelope, encode_bulk
from gateway.phoenix.answers import Surface, error_of
from gateway.phoenix.gamification.bulk import TAKEN, Said, Word, read_bulk_answer, says_nothing_taken
from gateway.phoenix.gamification.client import Authorize, GamificationClient
from gateway.phoenix.http_types import Answer
from gateway.phoenix.retry import Effect, RetryingSender
from gateway.resilience.breaker import Breaker
from gateway.resilience.deadline import Deadline
from gateway.telemetry.logs import log

_EVENTS_PATH = "/v1/events"
_BULK_PATH = "/v1/events/bulk"
_NOT_SERVED = frozenset({404, 405})
_REFUSED_AS_A_WHOLE = frozenset({400, 409, 413, 422})
_NOTHING_TAKEN = frozenset({413})
"""Refused before it was read, hence certainly without any effect."""

_CERTAIN = (errors.PhoenixRefusedInput, errors.PhoenixRefusedState, errors.BoardNotActive, errors.PhoenixForbidden)
"""Refusals of one event that hold whatever became of an earlier call with the same event in it."""

ASK_AGAIN_S = 600.0
"""How long bulk calls are left out after Phoenix said that it has none: a deployment there may change that."""
REFUSALS_IN_ROW = 2
"""Bulk calls in a row, refused as a whole with unknown effect, after which bulk calls are left out likewise."""
RESEND_WITHIN_S = 290.0
"""How long after its first sending an event may be sent again. Phoenix remembers for 300 s; the rest is for the way."""


class Acceptance(enum.Enum):
    """How Phoenix took an event."""

    ACCEPTED = "accepted"
    """It said 2xx: queued for scoring, which follows within seconds."""
    DUPLICATE = "duplicate"
    """It said 409: an event of this id came before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsSettings:
    """What is believed about Phoenix's event log; the defaults can neither lose nor double an event."""

    sends_event_id: bool = True
    """`PHOENIX_SEND_EVENT_ID`: bodies carry their `event_id`, so a 409 means that the event is there already."""
    deduplicates: bool = False
    """`PHOENIX_DEDUPLICATES_EVENTS`: Phoenix counts an `event_id` once in 300 s, so a lost answer may be sent again."""
    bulk: BulkEnvelope | None = None
    """`PHOENIX_BULK_EVENTS`: the envelope of a bulk call; None: there is no such call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """An event that Phoenix has, and how many times it was tried."""

    acceptance: Acceptance
    tries: int


class BulkNotServed(Exception):
    """Phoenix has no bulk call, and nothing was taken: send the events one by one."""


def _always(_event_id: str) -> bool:
    return True


class EventsClient:
    """One tenant's events."""

    def __init__(
        self,
        *,
        courier: RetryingSender,
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
            courier=courier,
            base_url=base_url,
            tenant_id=tenant_id,
            surface=Surface.INGESTION,
            authorize=authorize,
            breaker=breaker,
        )
        settings = settings or EventsSettings()
        # Without an id in the body there is nothing to deduplicate by, whatever the setting says.
        self.deduplicates = settings.sends_event_id and settings.deduplicates
        """Whether an event may be sent again with its id, within RESEND_WITHIN_S."""
        self._effect = Effect.DEDUPLICATED if self.deduplicates else Effect.EVERY_TIME
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
        """Whether events of different callers may share a bulk call: not after one's has cost others their answer."""
        return self.sends_bulk(now) and now >= self._apart_until

    async def submit(self, event: bytes, deadline: Deadline) -> Submitted:
        """Send one event as serialised and return how Phoenix took it; the body of its 2xx means nothing.

        Raises: OutcomeUnknown if Phoenix may have counted it and it is not safe to send again; CircuitOpen; else as
        `RetryingSender.deliver`, with the certainty that it was not counted, except for a 5xx other than 503.
        """
        delivered = await self._client.post(
            _EVENTS_PATH, event, deadline, effect=self._effect, accepted_statuses=self._welcome
        )
        duplicate = delivered.answer.status == 409
        return Submitted(acceptance=Acceptance.DUPLICATE if duplicate else Acceptance.ACCEPTED, tries=delivered.tries)

    async def submit_bulk(
        self,
        events: Sequence[bytes],
        ids: Sequence[str],
        deadline: Deadline,
        is_wanted: Callable[[str], bool] = _always,
    ) -> list[Acceptance | errors.GatewayError]:
        """Send 2 to 100 serialised events, of 1 MB at most, in one call; return what became of each, in their order.

        What Phoenix refuses as a whole is divided until the guilty events stand alone, and what its answer leaves open
        is asked again one by one: only where that cannot double anything, else those events end as OutcomeUnknown.
        Args: `ids`: the events' ids, each once; `is_wanted`: asked before an event is sent again, since nobody may wait
        for it any longer: it is OutcomeUnknown then. Raises: BulkNotServed with nothing taken; else as `submit`, of all
        events alike.
        """
        # Dividing sends events again, so all of it must be over before Phoenix forgets the first sending.
        within = deadline.earlier(Deadline.after(RESEND_WITHIN_S, deadline.clock)) if self.deduplicates else deadline
        return await self._bulk_call(events, ids, within, is_wanted)

    async def _bulk_call(
        self, events: Sequence[bytes], ids: Sequence[str], deadline: Deadline, is_wanted: Callable[[str], bool]
    ) -> list[Acceptance | errors.GatewayError]:
        assert self._bulk is not None, "ask sends_bulk first"
        envelope = self._bulk
        carried: list[int] = []  # places of the events in the last try

        def body() -> bytes:
            nonlocal carried
            carried = [at for at in carried if is_wanted(ids[at])] or carried or list(range(len(events)))
            return encode_bulk([events[at] for at in carried], envelope)

        accepted_statuses = _NOT_SERVED | _REFUSED_AS_A_WHOLE
        answer = (
            await self._client.post(
                _BULK_PATH, body, deadline, effect=self._effect, accepted_statuses=accepted_statuses
            )
        ).answer
        if answer.status in _NOT_SERVED:
            self._note_not_served(answer, deadline)
            raise BulkNotServed
        sent, sent_ids = [events[at] for at in carried], [ids[at] for at in carried]
        if answer.status in _REFUSED_AS_A_WHOLE:
            found = await self._divide(answer, sent, sent_ids, deadline, is_wanted)
        else:
            found = await self._read(answer, sent, sent_ids, deadline, is_wanted)
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
        is_wanted: Callable[[str], bool],
    ) -> list[Acceptance | errors.GatewayError]:
        """Return what a 2xx says of each event; ask again of what it leaves open, where that is harmless."""
        self._bulk_again_at = None
        self._refused_in_row = 0
        words = read_bulk_answer(answer.body, ids)
        if all(word is TAKEN for word in words):
            return [Acceptance.ACCEPTED] * len(words)
        if any(word.said is Said.DOUBTFUL for word in words):
            self._on_event("bulk_unclear")
        return [
            await self._settle(word, event, event_id, deadline, is_wanted)
            for word, event, event_id in zip(words, events, ids, strict=True)
        ]

    def _note_not_served(self, answer: Answer, deadline: Deadline) -> None:
        self._on_event("bulk_not_served")
        if self._bulk_again_at is None:
            log().warning(
                "bulk events are not served; sending one by one",
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
        is_wanted: Callable[[str], bool],
    ) -> list[Acceptance | errors.GatewayError]:
        """Find the guilty events of a call that was refused as a whole and deliver the others, in their order."""
        harmless = answer.status in _NOTHING_TAKEN or says_nothing_taken(answer.body, ids)
        if not (harmless or self.deduplicates):
            self._note_refused(answer, deadline)
            fault = errors.OutcomeUnknown(
                "Phoenix refused the bulk call that this event was part of and does not say whether it took some of "
                "its events. Look before sending it again.",
                metadata={"surface": Surface.INGESTION.value, "phoenix_status": str(answer.status)},
            )
            return [fault] * len(events)
        self._on_event("bulk_divided")
        middle = len(events) // 2
        results: list[Acceptance | errors.GatewayError] = []
        for part in (slice(0, middle), slice(middle, None)):
            results += await self._part(events[part], ids[part], deadline, is_wanted, in_doubt=not harmless)
        return results

    def _note_refused(self, answer: Answer, deadline: Deadline) -> None:
        """Bound the harm of refusals that leave all events of a call unknown, as one bad event does to the others.

        From the first on, callers no longer share calls: each risks only his own. After a second in a row, as a wrong
        envelope brings, events go one by one. Both for a while.
        """
        self._on_event("bulk_refused")
        until = deadline.clock.monotonic() + ASK_AGAIN_S
        self._apart_until = until
        self._refused_in_row += 1
        if self._refused_in_row >= REFUSALS_IN_ROW:
            self._bulk_again_at = until
        log().warning(
            "a bulk call was refused as a whole; what became of its events is unknown",
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
        is_wanted: Callable[[str], bool],
        *,
        in_doubt: bool,
    ) -> list[Acceptance | errors.GatewayError]:
        if len(events) == 1:
            return [await self._again(events[0], ids[0], deadline, is_wanted, in_doubt=in_doubt)]
        try:
            return await self._bulk_call(events, ids, deadline, is_wanted)
        except BulkNotServed:
            return [
                await self._again(event, event_id, deadline, is_wanted, in_doubt=in_doubt)
                for event, event_id in zip(events, ids, strict=True)
            ]
        except errors.GatewayError as error:
            return [_in_doubt(error) if in_doubt else error] * len(events)

    async def _settle(
        self, word: Word, event: bytes, event_id: str, deadline: Deadline, is_wanted: Callable[[str], bool]
    ) -> Acceptance | errors.GatewayError:
        """Turn a word about an event into its result; ask again where the word leaves it open and that is harmless."""
        match word.said:
            case Said.TAKEN:
                return Acceptance.ACCEPTED
            case Said.DUPLICATE:
                return Acceptance.DUPLICATE
            case Said.REFUSED:
                answer = Answer(status=word.status or 400, body=orjson.dumps({"code": word.code}))
                return error_of(answer, Surface.INGESTION, 0.0)
            case Said.DOUBTFUL if self.deduplicates:
                return await self._again(event, event_id, deadline, is_wanted, in_doubt=True)
            case Said.DOUBTFUL:
                return errors.OutcomeUnknown(
                    "Phoenix's answer to the bulk call does not say what became of this event. "
                    "Look before sending it again.",
                    metadata={"surface": Surface.INGESTION.value},
                )

    async def _again(
        self, event: bytes, event_id: str, deadline: Deadline, is_wanted: Callable[[str], bool], *, in_doubt: bool
    ) -> Acceptance | errors.GatewayError:
        """Send one event by itself that was part of a call before, and may have been taken then (`in_doubt`)."""
        if not is_wanted(event_id):
            return _unknown()
        try:
            return (await self.submit(event, deadline)).acceptance
        except errors.GatewayError as error:
            return _in_doubt(error) if in_doubt else error


def _in_doubt(error: errors.GatewayError) -> errors.GatewayError:
    """What a failure amounts to for an event that an earlier call may have brought."""
    if isinstance(error, (*_CERTAIN, errors.OutcomeUnknown)):
        return error
    unknown = _unknown()
    unknown.__cause__ = error
    return unknown


def _unknown() -> errors.OutcomeUnknown:
    return errors.OutcomeUnknown(metadata={"surface": Surface.INGESTION.value})
