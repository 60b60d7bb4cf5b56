"""Ingestion on real sockets: signatures, schema, deduplication, effects, the forms of bulk."""

import gzip
import json
import time
from typing import Any

import pytest

from tests.sandbox.client import Client


async def test_event_is_accepted_scored_and_counted_once(client: Client) -> None:
    """A signed event gets 202 with its id and moves the board."""
    answer = await client.post("/v1/events", client.event())
    assert (202, {"status": "accepted", "event_id": "e-1"}) == (answer.status, answer.json())
    assert {"received": 1, "effects": 1, "scored": 1} == client.effects("e-1")
    assert 5 == (await client.board("/score/ada")).json()["score"]


@pytest.mark.parametrize(("status", "word"), [(202, "accepted"), (200, "duplicate"), (409, "duplicate")])
async def test_repeat_has_no_effect_and_the_reply_that_was_set(client: Client, status: int, word: str) -> None:
    """The same event_id within the window counts once, whatever the reply to it looks like."""
    client.sandbox.control("POST", "/settings", {"duplicate_status": status})
    await client.post("/v1/events", client.event())
    answer = await client.post("/v1/events", client.event())
    assert (status, word) == (answer.status, answer.json()["status"])
    assert {"received": 2, "effects": 1, "scored": 1} == client.effects("e-1")


@pytest.mark.parametrize(("offset", "effects"), [(299, 1), (302, 2)])
async def test_repeat_counts_again_after_300_seconds(client: Client, offset: int, effects: int) -> None:
    """The window is 300 s of the sandbox's clock."""
    await client.post("/v1/events", client.event())
    client.sandbox.control("POST", "/clock", {"offset_s": offset})
    body = json.dumps(client.event()).encode()
    headers = client.signed("POST", "/v1/events", body, at=int(time.time()) + offset)
    assert 202 == (await client.call("ingestion", "POST", "/v1/events", body, headers)).status
    assert effects == client.effects("e-1")["effects"]


async def test_without_deduplication_every_repeat_counts(client: Client) -> None:
    """Switched off, a resend is a second effect: what a gateway must not cause."""
    client.sandbox.control("POST", "/settings", {"dedupe": False})
    for _ in range(3):
        await client.post("/v1/events", client.event())
    assert 3 == client.effects("e-1")["effects"]
    assert ["e-1"] == client.sandbox.control("GET", "/effects")["more_than_once"]


async def test_events_without_id_are_never_repeats(client: Client) -> None:
    """The seed's shape has no event_id: two alike count twice."""
    for _ in range(2):
        assert 202 == (await client.post("/v1/events", client.event(None))).status
    assert 10 == (await client.board("/score/ada")).json()["score"]


@pytest.mark.parametrize("case", ["unknown", "inactive", "archived"])
async def test_event_for_a_board_that_does_not_score_is_taken_silently(client: Client, case: str) -> None:
    """202 and no change: the vendor's silent failure."""
    if case != "unknown":
        client.sandbox.control("POST", f"/boards/{client.tenant}/xp/status", {"status": case})
    board = "nowhere" if case == "unknown" else "xp"
    assert 202 == (await client.post("/v1/events", client.event(board=board))).status
    assert {"received": 1, "effects": 1, "scored": 0} == client.effects("e-1")


async def test_event_type_scores_by_the_rules_of_the_board(client: Client) -> None:
    """An event-driven board takes its points from the event; others stay as they are."""
    rule = {"event_type": "match.completed", "points_expression": "attrs.points", "conditions": {"attrs.won": True}}
    client.sandbox.control("POST", f"/boards/{client.tenant}/ev", {"config": {"scoring": {"rules": [rule]}}})
    event = {"tenant_id": client.tenant, "user_id": "ada", "event_type": "match.completed"}
    await client.post("/v1/events", {**event, "event_id": "e-1", "attributes": {"points": 7, "won": True}})
    await client.post("/v1/events", {**event, "event_id": "e-2", "attributes": {"points": 9, "won": False}})
    assert 7 == (await client.board("/score/ada", board="ev")).json()["score"]
    assert [1, 0] == [client.effects(each)["scored"] for each in ("e-1", "e-2")]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"X-Signature": "hmac-sha256=" + "0" * 64}, "AUTH_001"),
        ({"X-Signature": "é"}, "AUTH_001"),
        ({"X-Tenant-Id": "nobody"}, "AUTH_001"),
        ({"X-Signature": None}, "AUTH_002"),
        ({"X-Tenant-Id": None}, "AUTH_002"),
        ({"X-Timestamp": None}, "AUTH_002"),
        ({"X-Timestamp": "soon"}, "AUTH_004"),
    ],
)
async def test_bad_signature_is_401_with_its_code(client: Client, change: dict[str, str | None], code: str) -> None:
    """Nothing is taken, and the code names the kind of fault."""
    body = json.dumps(client.event()).encode()
    headers = {**client.signed("POST", "/v1/events", body), **change}
    sent = {name: value for name, value in headers.items() if value is not None}
    answer = await client.call("ingestion", "POST", "/v1/events", body, sent)
    assert (401, code) == (answer.status, answer.json()["code"])
    assert 0 == client.effects("e-1")["received"]


async def test_repeated_signature_header_is_refused(client: Client) -> None:
    """Two signature headers are no signature."""
    body = json.dumps(client.event()).encode()
    pairs = [*client.signed("POST", "/v1/events", body).items()]
    answer = await client.call("ingestion", "POST", "/v1/events", body, [*pairs, pairs[-1]])
    assert (401, "AUTH_002") == (answer.status, answer.json()["code"])


async def test_signature_covers_the_bytes_as_sent(client: Client) -> None:
    """Pretty-printed JSON verifies unchanged; the same JSON written otherwise does not."""
    pretty = json.dumps(client.event(), indent=2).encode()
    headers = client.signed("POST", "/v1/events", pretty)
    terse = json.dumps(client.event()).encode()
    assert 401 == (await client.call("ingestion", "POST", "/v1/events", terse, headers)).status
    assert 202 == (await client.call("ingestion", "POST", "/v1/events", pretty, headers)).status


async def test_compressed_body_is_taken_as_the_bytes_it_is(client: Client) -> None:
    """Its signature holds over the compressed bytes, which are no JSON: nothing is unpacked behind the check."""
    body = gzip.compress(json.dumps(client.event()).encode())
    headers = {**client.signed("POST", "/v1/events", body), "Content-Encoding": "gzip"}
    assert 400 == (await client.call("ingestion", "POST", "/v1/events", body, headers)).status


async def test_timestamp_beyond_the_tolerance_is_auth_004(client: Client) -> None:
    """With its clock 400 s ahead the sandbox refuses a fresh timestamp."""
    client.sandbox.control("POST", "/clock", {"offset_s": 400})
    answer = await client.post("/v1/events", client.event())
    assert (401, "AUTH_004") == (answer.status, answer.json()["code"])


async def test_event_of_another_tenant_is_403(client: Client) -> None:
    """The body's tenant must be the signed one, single and in bulk."""
    event = {**client.event(), "tenant_id": "another"}
    single = await client.post("/v1/events", event)
    bulk = await client.post("/v1/events/bulk", {"events": [client.event("e-2"), event]})
    assert [403, 403] == [single.status, bulk.status]
    assert 0 == client.effects("e-2")["effects"]


@pytest.mark.parametrize(
    "change",
    [
        {"score_delta": "5"},
        {"score_delta": True},
        {"score_delta": None},
        {"user_id": None},
        {"user_id": 7},
        {"leaderboard_id": ""},
        {"tenant_id": None},
        {"metadata": []},
        {"event_id": 1},
    ],
    ids=json.dumps,
)
async def test_schema_fault_is_400(client: Client, change: dict[str, Any]) -> None:
    """Missing members and wrong types are refused and name the member."""
    answer = await client.post("/v1/events", {**client.event(), **change})
    assert 400 == answer.status
    assert next(iter(change)) in answer.json()["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b'{"score_delta": NaN}'])
async def test_body_that_is_no_event_is_400(client: Client, body: bytes) -> None:
    """A signed body must be one JSON object."""
    headers = client.signed("POST", "/v1/events", body)
    assert 400 == (await client.call("ingestion", "POST", "/v1/events", body, headers)).status


@pytest.mark.parametrize("size", [1_000_001, 9_000_000])
async def test_body_over_one_megabyte_is_413(client: Client, size: int) -> None:
    """Whether little or much too large."""
    body = b" " * size
    headers = client.signed("POST", "/v1/events", body)
    answer = await client.call("ingestion", "POST", "/v1/events", body, headers)
    assert (413, "true") == (answer.status, answer.headers["X-Phoenix-Sandbox"])


@pytest.mark.parametrize("path", ["/health", "/ready"])
async def test_health_needs_no_credentials(client: Client, path: str) -> None:
    """Both answer 200 to anybody."""
    assert 200 == (await client.call("ingestion", "GET", path)).status


@pytest.mark.parametrize("form", ["object", "array"])
async def test_bulk_takes_both_envelopes(client: Client, form: str) -> None:
    """100 events count once each. Only the count shows a repeat inside the call."""
    events = [client.event(f"e-{index}", user=f"u-{index % 3}") for index in range(99)] + [client.event("e-0")]
    answer = await client.post("/v1/events/bulk", {"events": events} if form == "object" else events)
    reported = answer.json()
    assert (202, 100, 100) == (answer.status, reported["accepted"], len(reported["results"]))
    assert {"event_id": "e-1", "status": "accepted"} == reported["results"][1]
    assert {"received": 2, "effects": 1, "scored": 1} == client.effects("e-0")


@pytest.mark.parametrize(("envelope", "fits", "other"), [("object", {}, []), ("array", [], {})])
async def test_bulk_envelope_can_be_restricted(client: Client, envelope: str, fits: object, other: object) -> None:
    """The other envelope is a schema fault."""
    client.sandbox.control("POST", "/settings", {"bulk_envelope": envelope})

    def filled(form: object) -> object:
        return [client.event()] if isinstance(form, list) else {"events": [client.event()]}

    assert 400 == (await client.post("/v1/events/bulk", filled(other))).status
    assert 202 == (await client.post("/v1/events/bulk", filled(fits))).status


@pytest.mark.parametrize("count", [0, 101])
async def test_bulk_of_wrong_length_is_400(client: Client, count: int) -> None:
    """1 to 100 events."""
    events = [client.event(f"e-{index}") for index in range(count)]
    assert 400 == (await client.post("/v1/events/bulk", {"events": events})).status


async def test_bulk_with_a_bad_event_is_refused_whole_by_default(client: Client) -> None:
    """400 names the guilty index, and nothing is applied."""
    answer = await client.post("/v1/events/bulk", {"events": [client.event("e-1"), client.event("e-2", delta="x")]})
    assert (400, [1]) == (answer.status, [each["index"] for each in answer.json()["details"]])
    assert 0 == client.effects("e-1")["effects"]


@pytest.mark.parametrize("status", [202, 207])
async def test_bulk_can_fail_in_part(client: Client, status: int) -> None:
    """In partial mode the good events count and each item has its status."""
    client.sandbox.control("POST", "/settings", {"bulk_failure": "partial", "bulk_partial_status": status})
    answer = await client.post("/v1/events/bulk", [client.event("e-1"), client.event("e-2", delta="x"), 7])
    assert (status, 1) == (answer.status, answer.json()["accepted"])
    assert ["accepted", "rejected", "rejected"] == [each["status"] for each in answer.json()["results"]]
    assert [1, 0] == [client.effects(each)["effects"] for each in ("e-1", "e-2")]


@pytest.mark.parametrize("status", [404, 405])
async def test_bulk_can_be_absent(client: Client, status: int) -> None:
    """As it was before batching came."""
    client.sandbox.control("POST", "/settings", {"bulk": str(status)})
    assert status == (await client.post("/v1/events/bulk", [client.event()])).status
