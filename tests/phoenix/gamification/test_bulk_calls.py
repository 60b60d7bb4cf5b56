"""Bulk calls: retries with and without deduplication, and the fallback to single calls."""

import json
from collections.abc import Callable, Set

import pytest

from gateway import errors
from gateway.core.types import TenantId
from gateway.phoenix.gamification.events import ASK_AGAIN_S, BulkNotServed, EventsClient, EventsSettings
from gateway.phoenix.gamification.pending_event import Failed, PendingEvent
from gateway.phoenix.http_types import Answer, AnswerLost, ExchangeFailed, NotSent, Request
from gateway.phoenix.retry import RetryingSender
from gateway.resilience.breaker import Breaker, Circuit
from gateway.resilience.deadline import Deadline
from tests.manual_clock import ManualClock

Says = Callable[[Request, list[str]], int | Answer | ExchangeFailed]
A, D = "accepted", "duplicate"


class Phoenix:
    """Answers as the test wants and keeps the paths and ids of all requests."""

    def __init__(self, says: Says) -> None:
        self._says = says
        self.seen: list[tuple[str, list[str]]] = []

    async def send(self, request: Request, deadline: Deadline, max_answer_bytes: int = 0) -> Answer:
        body = json.loads(request.body)
        listed = body if isinstance(body, list) else body.get("events", [body])
        ids = [event["event_id"] for event in listed]
        self.seen.append((request.raw_path, ids))
        said = self._says(request, ids)
        if isinstance(said, ExchangeFailed):
            raise said
        return Answer(status=said) if isinstance(said, int) else said


async def no_pause(seconds: float) -> None:
    pass


class Case:
    """A client of a fake Phoenix."""

    def __init__(self, says: Says, *, deduplicates: bool, breaker: bool = False) -> None:
        self.clock = ManualClock()
        self.phoenix = Phoenix(says)
        self.heard: list[str] = []
        self.breaker = Breaker(self.clock)
        self.client = EventsClient(
            retrying=RetryingSender(sender=self.phoenix, clock=self.clock, pause=no_pause),
            base_url="http://localhost",
            tenant_id=TenantId("t"),
            authorize=lambda method, path, body: {},
            settings=EventsSettings(deduplicates=deduplicates, bulk="events"),
            breaker=self.breaker if breaker else None,
            on_event=self.heard.append,
        )

    async def submit(
        self, *ids: str, given: Set[str] = frozenset(), in_doubt: Set[str] = frozenset()
    ) -> list[str | type[errors.GatewayError]]:
        events = [
            PendingEvent(one, b'{"event_id":"%s"}' % one.encode(), ("xp", "u"), one in given, one in in_doubt)
            for one in ids
        ]
        results = await self.client.submit_bulk(events, Deadline.after(5.0, self.clock))
        assert [*ids] == [one.event_id for one in results]
        return [type(one.error) if isinstance(one, Failed) else D if one.duplicate else A for one in results]


def refuses(*guilty: str, status: int = 400) -> Says:
    """All or nothing: a call with a guilty event in it is refused."""
    return lambda request, ids: status if set(ids) & set(guilty) else 202


async def test_one_call_carries_all() -> None:
    """In the envelope that is configured, in their order."""
    case = Case(lambda request, ids: 202, deduplicates=False)
    assert await case.submit("a", "b", "c") == [A, A, A]
    assert case.phoenix.seen == [("/v1/events/bulk", ["a", "b", "c"])]


@pytest.mark.parametrize("status", [400, 409, 413, 422])
async def test_the_guilty_stand_alone_and_the_rest_is_delivered(status: int) -> None:
    """The call is divided until each invalid event is refused alone. The others are accepted in order."""
    case = Case(refuses("b", "g", status=status), deduplicates=True)
    guilty = {409: D, 422: errors.PhoenixRefusedState}.get(status, errors.PhoenixRefusedInput)
    assert await case.submit(*"abcdefgh") == [A, guilty, A, A, A, A, guilty, A]
    taken = [i for _, ids in case.phoenix.seen if not set(ids) & {"b", "g"} for i in ids]
    assert taken == ["a", "c", "d", "e", "f", "h"]
    assert case.heard[0] == "bulk_divided"


@pytest.mark.parametrize("status", [400, 409, 422])
async def test_nothing_is_sent_twice_where_phoenix_does_not_deduplicate(status: int) -> None:
    """A refusal of the whole call may hide accepted events: they are reported and not retried."""
    case = Case(refuses("b", status=status), deduplicates=False)
    assert await case.submit("a", "b") == [errors.OutcomeUnknown] * 2
    assert len(case.phoenix.seen) == 1


async def test_a_refusal_that_says_that_nothing_was_taken_is_divided_in_any_case() -> None:
    """A retry cannot repeat events that were certainly not accepted."""

    def says(request: Request, ids: list[str]) -> Answer:
        if "b" not in ids:
            return Answer(status=202)
        return Answer(status=422, body=b'{"accepted":0,"error":"one of them"}')

    case = Case(says, deduplicates=False)
    assert await case.submit("a", "b", "c", "d") == [A, errors.PhoenixRefusedState, A, A]
    assert (case.heard, case.client.mixes_callers(case.clock.monotonic())) == (["bulk_divided"] * 2, True)


async def test_after_a_refusal_of_unknown_effect_callers_stand_alone_for_a_while() -> None:
    """A caller's own batches still go in bulk; a second refusal in a row ends that too, till it is tried again."""
    case = Case(refuses("b"), deduplicates=False)

    def may() -> tuple[bool, bool]:
        now = case.clock.monotonic()
        return case.client.sends_bulk(now), case.client.mixes_callers(now)

    await case.submit("a", "b")
    assert (case.heard, may()) == (["bulk_refused"], (True, False))
    await case.submit("a", "c")
    await case.submit("a", "b")
    assert may() == (True, False)
    await case.submit("a", "b")
    assert may() == (False, False)
    case.clock.advance(ASK_AGAIN_S)
    assert may() == (True, True)


async def test_a_body_that_is_too_large_is_divided_in_any_case() -> None:
    """A 413 comes before the body is read."""
    case = Case(lambda request, ids: 413 if len(ids) > 2 else 202, deduplicates=False)
    assert await case.submit("a", "b", "c", "d") == [A, A, A, A]
    assert [len(ids) for _, ids in case.phoenix.seen] == [4, 2, 2]


async def test_part_failure_is_each_events_own() -> None:
    """A list of results decides, event by event."""
    body = b'{"results":[{"status":"accepted"},{"status":422,"code":"board_inactive"},{"status":"duplicate"}]}'
    case = Case(lambda request, ids: Answer(status=207, body=body), deduplicates=False)
    assert await case.submit("a", "b", "c", given={"c"}) == [A, errors.BoardNotActive, D]


async def test_a_repeat_of_an_id_that_was_just_made_is_a_conflict() -> None:
    """Phoenix cannot know it; after a lost answer it is the first sending that arrived."""
    body = b'{"results":[{"status":"accepted"},{"status":"duplicate"}]}'
    case = Case(lambda request, ids: Answer(status=207, body=body), deduplicates=False)
    assert await case.submit("a", "b") == [A, errors.PhoenixConflict]
    lost_first = Case(
        lambda request, ids: Answer(status=207, body=body) if lost_first.phoenix.seen[1:] else AnswerLost("cut"),
        deduplicates=True,
    )
    assert await lost_first.submit("a", "b") == [A, D]


async def test_a_refusal_after_a_lost_answer_settles_only_what_it_said_of_the_bytes() -> None:
    """A board that is closed now may have been open; bytes that are refused were refused."""
    body = b'{"results":[{"status":422},{"status":400},{"status":429},{"status":202}]}'
    case = Case(
        lambda request, ids: Answer(status=207, body=body) if case.phoenix.seen[1:] else AnswerLost("cut"),
        deduplicates=True,
    )
    unknown = errors.OutcomeUnknown
    assert await case.submit("a", "b", "c", "d") == [unknown, errors.PhoenixRefusedInput, unknown, A]


async def test_events_in_doubt_stay_so_when_their_call_fails() -> None:
    """The others of the same call were certainly not taken."""
    case = Case(lambda request, ids: 503, deduplicates=True)
    assert await case.submit("a", "b", in_doubt={"b"}) == [errors.PhoenixUnavailable, errors.OutcomeUnknown]


async def test_what_the_answer_leaves_open_is_asked_again_where_that_is_harmless() -> None:
    """With deduplication each event is sent alone; without, its outcome is unknown."""

    def says(request: Request, ids: list[str]) -> Answer:
        return Answer(status=202, body=b'{"accepted":1}' if len(ids) > 1 else b"")

    asking = Case(says, deduplicates=True)
    assert await asking.submit("a", "b") == [A, A]
    assert [path for path, _ in asking.phoenix.seen] == ["/v1/events/bulk", "/v1/events", "/v1/events"]
    silent = Case(says, deduplicates=False)
    assert await silent.submit("a", "b") == [errors.OutcomeUnknown] * 2
    assert (len(silent.phoenix.seen), silent.heard) == (1, ["bulk_unclear"])


@pytest.mark.parametrize(("deduplicates", "sends"), [(False, 1), (True, 3)])
async def test_a_lost_answer_is_unknown_and_resent_only_where_deduplicated(deduplicates: bool, sends: int) -> None:
    """The same body each time; never a false success."""
    case = Case(lambda request, ids: AnswerLost("cut"), deduplicates=deduplicates)
    assert await case.submit("a", "b") == [errors.OutcomeUnknown] * 2
    assert case.phoenix.seen == [("/v1/events/bulk", ["a", "b"])] * sends


async def test_trouble_while_dividing_is_unknown_not_refused() -> None:
    """The first call may have brought some of the events."""

    def says(request: Request, ids: list[str]) -> int:
        return 400 if len(ids) > 1 else 503

    case = Case(says, deduplicates=True)
    assert await case.submit("a", "b") == [errors.OutcomeUnknown] * 2


@pytest.mark.parametrize("status", [404, 405])
async def test_no_bulk_call_leads_back_to_single_ones_for_a_while(status: int) -> None:
    """Nothing was taken; it is asked again after some minutes."""
    case = Case(lambda request, ids: status, deduplicates=False)
    with pytest.raises(BulkNotServed):
        await case.submit("a", "b")
    assert (case.heard, case.client.sends_bulk(case.clock.monotonic())) == (["bulk_not_served"], False)
    case.clock.advance(ASK_AGAIN_S)
    assert case.client.sends_bulk(case.clock.monotonic())


async def test_without_the_setting_there_is_no_bulk_call() -> None:
    """Off is the default."""
    case = Case(lambda request, ids: 202, deduplicates=False)
    plain = EventsClient(
        retrying=RetryingSender(sender=case.phoenix, clock=case.clock),
        base_url="http://localhost",
        tenant_id=TenantId("t"),
        authorize=lambda method, path, body: {},
    )
    assert not plain.sends_bulk(case.clock.monotonic())


async def test_failures_in_a_row_open_the_circuit() -> None:
    """Then nothing is sent, and the error shows it."""
    case = Case(lambda request, ids: 503, deduplicates=False, breaker=True)
    for _ in range(5):
        assert await case.submit("a", "b") == [errors.PhoenixUnavailable] * 2
    assert await case.submit("a", "b") == [errors.CircuitOpen] * 2
    assert (len(case.phoenix.seen), case.breaker.circuit) == (5, Circuit.OPEN)


async def test_refusals_do_not_open_the_circuit() -> None:
    """A Phoenix that refuses is there."""
    case = Case(lambda request, ids: 403, deduplicates=False, breaker=True)
    for _ in range(10):
        assert await case.submit("a", "b") == [errors.PhoenixForbidden] * 2
    assert case.breaker.circuit is Circuit.CLOSED


async def test_a_connection_that_fails_opens_the_circuit() -> None:
    """Certainly unsent is a failure too."""
    case = Case(lambda request, ids: NotSent("refused"), deduplicates=False, breaker=True)
    for _ in range(5):
        assert await case.submit("a", "b") == [errors.PhoenixUnavailable] * 2
    assert case.breaker.circuit is Circuit.OPEN
