"""Submitting events: signed over the bytes sent, never counted twice behind the caller's back."""

import hashlib
import hmac
from collections.abc import Mapping

import pytest

from gateway import errors
from gateway.core.canonical import gamification_request
from gateway.core.types import TenantId, UnixSeconds
from gateway.phoenix.gamification.events import EventsClient, EventsSettings
from gateway.phoenix.gamification.pending_event import PendingEvent
from gateway.phoenix.retry import RetryingSender
from gateway.resilience.deadline import Deadline
from tests.phoenix.fake_phoenix import CLOCK, FakePhoenix, fake_phoenix
from tests.phoenix.raw_server import Peer, always, http, raw_server

BODY = b'{"tenant_id":"t","leaderboard_id":"xp","user_id":"u","score_delta":50,"event_id":"e"}'
EVENT = PendingEvent("e", BODY, ("xp", "u"))
ROUTE = "POST /v1/events"


def sign(method: str, raw_path: str, body: bytes) -> Mapping[str, str]:
    message = gamification_request(method, raw_path, UnixSeconds(1704067200), body)
    tag = hmac.new(b"test-secret", message, hashlib.sha256).hexdigest()
    return {"x-tenant-id": "t", "x-timestamp": "1704067200", "x-signature": f"hmac-sha256={tag}"}


def client(url: str, retrying: RetryingSender, settings: EventsSettings | None = None) -> EventsClient:
    return EventsClient(retrying=retrying, base_url=url, tenant_id=TenantId("t"), authorize=sign, settings=settings)


def of(phoenix: FakePhoenix, settings: EventsSettings | None = None) -> EventsClient:
    return client(phoenix.url, phoenix.retrying, settings)


def soon() -> Deadline:
    return Deadline.after(5.0, CLOCK)


@pytest.mark.parametrize(("status", "body"), [(202, b""), (200, b'{"status":"accepted"}'), (204, b""), (202, b"\xff")])
async def test_any_2xx_is_acceptance(status: int, body: bytes) -> None:
    """The body of an acceptance is not documented, so nothing hangs on it."""
    async with fake_phoenix(**{ROUTE: [(status, body)]}) as phoenix:
        before = CLOCK.now()
        submitted = await of(phoenix).submit(EVENT, soon())
        assert ("e", False, False) == (submitted.event_id, submitted.duplicate, submitted.queued)
        assert before <= submitted.accepted_at <= CLOCK.now()


async def test_the_signature_covers_the_bytes_that_arrive() -> None:
    """The server gets exactly the signed request and headers."""
    async with fake_phoenix(**{ROUTE: [(202, b"")]}) as phoenix:
        await of(phoenix).submit(EVENT, soon())
        seen = phoenix.seen[0]
        arrived = seen.headers
        message = f"POST\n/v1/events\n{arrived['x-timestamp']}\n".encode() + seen.body
        assert arrived["x-signature"] == "hmac-sha256=" + hmac.new(b"test-secret", message, hashlib.sha256).hexdigest()
        assert (seen.body, arrived["content-type"], arrived["x-tenant-id"]) == (BODY, "application/json", "t")


@pytest.mark.parametrize(("is_id_given", "in_doubt"), [(True, False), (False, True)])
async def test_a_conflict_is_a_duplicate_where_the_id_may_have_come_before(is_id_given: bool, in_doubt: bool) -> None:
    """The caller's own, or one whose first sending was in doubt: success."""
    async with fake_phoenix(**{ROUTE: [(409, b"")]}) as phoenix:
        submitted = await of(phoenix).submit(EVENT._replace(is_id_given=is_id_given, in_doubt=in_doubt), soon())
        assert submitted.duplicate


@pytest.mark.parametrize("deduplicates", [False, True])
async def test_a_conflict_of_an_id_that_was_just_made_is_a_conflict(deduplicates: bool) -> None:
    """It cannot have come before."""
    async with fake_phoenix(**{ROUTE: [(409, b"")]}) as phoenix:
        with pytest.raises(errors.PhoenixConflict) as caught:
            await of(phoenix, EventsSettings(deduplicates=deduplicates)).submit(EVENT, soon())
        assert caught.value.effect is errors.Effect.NONE


async def test_a_conflict_after_a_doubt_is_the_first_sending_that_arrived() -> None:
    """Also for an id that was just made."""
    async with fake_phoenix(**{ROUTE: [(500, b""), (409, b"")]}) as phoenix:
        submitted = await of(phoenix, EventsSettings(deduplicates=True)).submit(EVENT, soon())
        assert (submitted.duplicate, len(phoenix.seen)) == (True, 2)


async def test_a_conflict_is_a_conflict_where_no_ids_are_sent() -> None:
    """Without an id there is nothing that it could be a duplicate of."""
    async with fake_phoenix(**{ROUTE: [(409, b"")]}) as phoenix:
        with pytest.raises(errors.PhoenixConflict):
            await of(phoenix, EventsSettings(sends_event_id=False)).submit(EVENT, soon())


async def test_a_rejected_signature_is_tried_once_more() -> None:
    """The clock may just have been put right."""
    async with fake_phoenix(**{ROUTE: [(401, b""), (202, b"")]}) as phoenix:
        submitted = await of(phoenix).submit(EVENT, soon())
        assert (submitted.duplicate, len(phoenix.seen)) == (False, 2)


async def test_a_server_error_is_not_sent_again() -> None:
    """Phoenix may have counted it."""
    async with fake_phoenix(**{ROUTE: [(500, b""), (202, b"")]}) as phoenix:
        with pytest.raises(errors.OutcomeUnknown):
            await of(phoenix).submit(EVENT, soon())
        assert len(phoenix.seen) == 1


async def cut(peer: Peer) -> None:
    """Read the request, say nothing, hang up."""
    await peer.request()


async def test_a_lost_answer_is_reported_and_not_sent_again() -> None:
    """The default can count an event once or not at all, never twice."""
    async with raw_server(cut) as server, fake_phoenix() as phoenix:
        with pytest.raises(errors.OutcomeUnknown):
            await client(server.url, phoenix.retrying).submit(EVENT, soon())
        assert len(server.requests) == 1


async def test_a_lost_answer_is_sent_again_where_phoenix_deduplicates() -> None:
    """The same body, on a new connection."""
    async with raw_server(cut, always(http(202))) as server, fake_phoenix() as phoenix:
        submitted = await client(server.url, phoenix.retrying, EventsSettings(deduplicates=True)).submit(EVENT, soon())
        bodies = [request.partition(b"\r\n\r\n")[2] for request in server.requests]
        assert (submitted.duplicate, bodies) == (False, [BODY, BODY])


async def test_deduplication_means_nothing_without_an_id() -> None:
    """A contradiction of settings cannot double an event."""
    settings = EventsSettings(sends_event_id=False, deduplicates=True)
    async with raw_server(cut) as server, fake_phoenix() as phoenix:
        with pytest.raises(errors.OutcomeUnknown):
            await client(server.url, phoenix.retrying, settings).submit(EVENT, soon())
        assert len(server.requests) == 1
