"""Bad input to every way of sending events: a clear error for each bad event or message, the rest delivered."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from google.rpc import code_pb2, error_details_pb2, status_pb2

from gateway.v1 import events_pb2, events_pb2_grpc
from tests.gateway_process import TOO_LARGE, GatewayProcess, fields_of, of_sandbox, reason_of
from tests.sandbox_process import SandboxProcess

Stub = events_pb2_grpc.EventServiceStub
ACCEPTED, DUPLICATE = events_pb2.EVENT_STATUS_ACCEPTED, events_pb2.EVENT_STATUS_DUPLICATE
LARGEST = b'{"a":"' + b"x" * (65_536 - 8) + b'"}'


def event(**more: Any) -> events_pb2.Event:
    fields: dict[str, Any] = {"leaderboard_id": "xp", "user_id": "ada", "score_delta": 1, **more}
    return events_pb2.Event(**{name: value for name, value in fields.items() if value is not None})


def nested(levels: int) -> Struct:
    """A Struct of so many objects in each other, itself the first."""
    outer = inner = Struct()
    for _ in range(levels - 1):
        inner = inner.fields["a"].struct_value
    inner.fields["end"].number_value = 1
    return outer


def listed(levels: int) -> Struct:
    """The same with lists below the first object."""
    outer = Struct()
    inner = outer.fields["a"].list_value
    for _ in range(levels - 2):
        inner = inner.values.add().list_value
    inner.values.add().number_value = 1
    return outer


def numbered(value: float) -> Struct:
    struct = Struct()
    struct.fields["n"].number_value = value
    return struct


def unset() -> Struct:
    struct = Struct()
    struct.fields["n"].SetInParent()
    return struct


def bulky(size: int) -> Struct:
    struct = Struct()
    struct.fields["a"].string_value = "x" * size
    return struct


def json_of(levels: int, opening: bytes = b'{"a":', closing: bytes = b"}") -> bytes:
    return opening * levels + b"1" + closing * levels


BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("no user", {"user_id": ""}, "user_id", ""),
    ("control character", {"user_id": "a\x00b"}, "user_id", "control characters"),
    ("user too long", {"user_id": "u" * 257}, "user_id", "256"),
    ("no board", {"leaderboard_id": ""}, "leaderboard_id", ""),
    ("board too long", {"leaderboard_id": "b" * 257}, "leaderboard_id", "256"),
    ("neither score nor type", {"score_delta": None}, "", "score_delta, event_type"),
    ("NaN", {"score_delta": float("nan")}, "score_delta", "finite"),
    ("infinity", {"score_delta": float("-inf")}, "score_delta", "finite"),
    ("id too long", {"event_id": "i" * 129}, "event_id", "128"),
    ("newline in id", {"event_id": "a\nb"}, "event_id", "control characters"),
    ("type too long", {"event_type": "t" * 257}, "event_type", "256"),
    ("no JSON", {"metadata_json": b"{"}, "metadata_json", "one JSON object"),
    ("empty", {"metadata_json": b""}, "metadata_json", "one JSON object"),
    ("array", {"metadata_json": b"[1]"}, "metadata_json", "not another JSON value"),
    ("text", {"metadata_json": b'"a"'}, "metadata_json", "not another JSON value"),
    ("null", {"metadata_json": b"null"}, "metadata_json", "not another JSON value"),
    ("two objects", {"metadata_json": b'{"a":1}{"b":2}'}, "metadata_json", "one JSON object"),
    ("rest", {"metadata_json": b'{"a":1} x'}, "metadata_json", "one JSON object"),
    ("NaN inside", {"metadata_json": b'{"a":NaN}'}, "metadata_json", "one JSON object"),
    ("duplicate key", {"metadata_json": b'{"a":1,"a":2}'}, "metadata_json", "duplicate member"),
    ("duplicate key, escaped", {"metadata_json": b'{"a":1,"\\u0061":2}'}, "metadata_json", "duplicate member"),
    ("duplicate key, deep", {"metadata_json": b'{"a":[{"b":1,"b":1}]}'}, "metadata_json", "duplicate member"),
    ("no UTF-8", {"metadata_json": b'{"a":"\xff"}'}, "metadata_json", "UTF-8"),
    ("overlong UTF-8", {"metadata_json": b'{"a":"\xc0\xaf"}'}, "metadata_json", "UTF-8"),
    ("UTF-16", {"metadata_json": '{"a":1}'.encode("utf-16")}, "metadata_json", "UTF-8"),
    ("surrogate in UTF-8", {"metadata_json": b'{"a":"\xed\xa0\x80"}'}, "metadata_json", "UTF-8"),
    ("lone surrogate", {"metadata_json": b'{"a":"\\ud800"}'}, "metadata_json", ""),
    ("byte order mark", {"metadata_json": b'\xef\xbb\xbf{"a":1}'}, "metadata_json", ""),
    ("33 levels", {"metadata_json": json_of(33)}, "metadata_json", "levels"),
    ("33 levels of lists", {"metadata_json": b'{"a":' + json_of(32, b"[", b"]") + b"}"}, "metadata_json", "levels"),
    ("9,000 levels", {"metadata_json": json_of(9_000)}, "metadata_json", ""),
    ("65,537 bytes", {"metadata_json": LARGEST[:-2] + b'x"}'}, "metadata_json", "65536"),
    ("Struct, 33 levels", {"metadata": nested(33)}, "metadata", "32 levels"),
    ("Struct, 33 levels of lists", {"metadata": listed(33)}, "metadata", "32 levels"),
    ("Struct with NaN", {"metadata": numbered(float("nan"))}, "metadata.n", "finite"),
    ("Struct with nothing", {"metadata": unset()}, "metadata.n", "must have a value"),
    ("attributes, 33 levels", {"attributes": nested(33)}, "attributes", "32 levels"),
    ("attributes with infinity", {"attributes": numbered(float("inf"))}, "attributes.n", "finite"),
    ("attributes, no JSON", {"attributes_json": b"{"}, "attributes_json", "one JSON object"),
    ("attributes, empty", {"attributes_json": b""}, "attributes_json", "one JSON object"),
    ("attributes, duplicate key", {"attributes_json": b'{"a":1,"a":2}'}, "attributes_json", "duplicate member"),
    ("attributes, 65,537 bytes", {"attributes_json": LARGEST[:-2] + b'x"}'}, "attributes_json", "65536"),
    ("attributes twice", {"attributes": nested(1), "attributes_json": b"{}"}, "attributes_json", "together"),
    ("a megabyte", {"metadata": bulky(1_000_000)}, "", "1,000,000 bytes"),
]
GOOD: list[dict[str, Any]] = [
    {"metadata_json": json_of(32)},
    {"metadata_json": b' {"a" : 1.50e3 , "\xc3\xa4" : null}\n'},
    {"metadata_json": LARGEST},
    {"metadata": nested(32)},
    {"metadata": listed(32)},
    {"metadata": Struct()},
    {"metadata": bulky(900_000)},
    {"score_delta": None, "event_type": "match.completed", "attributes": nested(32)},
    {"score_delta": None, "event_type": "match.completed", "attributes_json": b'{"id":9007199254740993}'},
    {"user_id": "\u00e4\u2028\U0001f3c6", "leaderboard_id": "b" * 256, "event_id": "i" * 120 + uuid.uuid4().hex[:8]},
    {"score_delta": -1e-300},
]
NAMES = [name for name, _, _, _ in BAD]


def violations(status: status_pb2.Status) -> list[tuple[str, str]]:
    """Field and description of each fault that a status names."""
    bad = error_details_pb2.BadRequest()
    for detail in status.details:
        if detail.Unpack(bad):
            return [(one.field, one.description) for one in bad.field_violations]
    return []


def reason_in(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    return info.reason if status.details and status.details[0].Unpack(info) else ""


def reported(results: Sequence[events_pb2.EventResult]) -> list[Any]:
    return [reason_in(one.error) if one.HasField("error") else one.status for one in results]


def assert_named(result: events_pb2.EventResult, place: int, field: str, word: str) -> None:
    """The result names the event, the field and the valid values."""
    assert (code_pb2.INVALID_ARGUMENT, "INVALID_FIELD") == (result.error.code, reason_in(result.error))
    [(named, description)] = violations(result.error)
    assert f"events[{place}].{field}".rstrip(".") == named
    assert word in description


def batches(bad: Sequence[dict[str, Any]]) -> list[list[events_pb2.Event]]:
    """A good event before and behind each bad one, in messages of less than 4 MiB."""
    made: list[list[events_pb2.Event]] = [[]]
    for fields in bad:
        added = [event(**fields), event()]
        if sum(one.ByteSize() for one in (*made[-1], *added)) > 2_000_000:
            made.append([])
        made[-1] += added
    return made


def test_each_bad_event_of_a_batch_costs_itself(events: Stub, sandbox: SandboxProcess) -> None:
    """All kinds of bad events in turn with good ones."""
    cases = iter(BAD)
    good: list[str] = []
    for batch in batches([fields for _, fields, _, _ in BAD]):
        results = events.SubmitEvents(events_pb2.SubmitEventsRequest(events=batch), timeout=20).results
        assert ["INVALID_FIELD", ACCEPTED] * (len(batch) // 2) == reported(results)
        for place in range(0, len(batch), 2):
            _, _, field, word = next(cases)
            assert_named(results[place], place, field, word)
        good += [one.event_id for one in results[1::2]]
    counted = sandbox.control("POST", "/effects", {"event_ids": good})
    assert (len(BAD), {1}) == (counted["total"], set(counted["effects"].values()))


def test_each_bad_event_of_a_stream_costs_itself(events: Stub, sandbox: SandboxProcess) -> None:
    """The stream continues after all of them."""
    messages = [
        events_pb2.StreamEventsRequest(sequence=number + 1, events=batch)
        for number, batch in enumerate(batches([fields for _, fields, _, _ in BAD]))
    ]
    answers = list(events.StreamEvents(iter(messages), timeout=30))
    assert [reported(one.results) for one in answers] == [
        ["INVALID_FIELD", ACCEPTED] * (len(message.events) // 2) for message in messages
    ]
    assert len(BAD) == sandbox.control("POST", "/effects", {})["total"]


@pytest.mark.parametrize(("fields", "field", "word"), [one[1:] for one in BAD], ids=NAMES)
def test_a_bad_event_alone_is_refused(
    events: Stub, sandbox: SandboxProcess, fields: dict[str, Any], field: str, word: str
) -> None:
    """As the error of its call, naming the field; nothing is sent."""
    with pytest.raises(grpc.RpcError) as error:
        events.SubmitEvent(events_pb2.SubmitEventRequest(event=event(**fields)), timeout=10)
    assert (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD") == (error.value.code(), reason_of(error.value))
    assert [f"event.{field}".rstrip(".")] == fields_of(error.value)
    assert word in str(error.value.details())
    assert 0 == sandbox.control("POST", "/effects", {})["total"]


def test_what_is_just_within_the_bounds_is_taken(events: Stub, sandbox: SandboxProcess) -> None:
    """Singly and in a batch."""
    for fields in GOOD:
        assert ACCEPTED == events.SubmitEvent(events_pb2.SubmitEventRequest(event=event(**fields))).status
    again = [{name: value for name, value in fields.items() if name != "event_id"} for fields in GOOD]
    request = events_pb2.SubmitEventsRequest(events=[event(**fields) for fields in again])
    assert [ACCEPTED] * len(GOOD) == reported(events.SubmitEvents(request, timeout=20).results)
    assert 2 * len(GOOD) == sandbox.control("POST", "/effects", {})["total"]


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_of_no_event_or_of_1001_is_refused_whole(events: Stub, sandbox: SandboxProcess, count: int) -> None:
    """Before anything is sent, as a call and as a message of a stream."""
    many = [event()] * count
    with pytest.raises(grpc.RpcError) as error:
        events.SubmitEvents(events_pb2.SubmitEventsRequest(events=many), timeout=10)
    assert (grpc.StatusCode.INVALID_ARGUMENT, ["events"]) == (error.value.code(), fields_of(error.value))
    with pytest.raises(grpc.RpcError) as error:
        list(events.StreamEvents(iter([events_pb2.StreamEventsRequest(sequence=1, events=many)]), timeout=10))
    assert (grpc.StatusCode.INVALID_ARGUMENT, ["events"]) == (error.value.code(), fields_of(error.value))
    assert 0 == sandbox.control("POST", "/effects", {})["total"]


def test_another_tenants_events_are_not_sent(events: Stub, sandbox: SandboxProcess) -> None:
    """A call for a tenant that the caller has not is refused; in a stream it costs its message, the others are sent."""
    own = sandbox.environ["TENANT_ID"]
    with pytest.raises(grpc.RpcError) as error:
        events.SubmitEvents(events_pb2.SubmitEventsRequest(tenant_id="other", events=[event()]), timeout=10)
    assert (grpc.StatusCode.NOT_FOUND, "TENANT_UNKNOWN") == (error.value.code(), reason_of(error.value))
    messages = [
        events_pb2.StreamEventsRequest(sequence=number + 1, tenant_id=tenant, events=[event(), event()])
        for number, tenant in enumerate([own, "other", own])
    ]
    answers = [reported(one.results) for one in events.StreamEvents(iter(messages), timeout=10)]
    assert [[ACCEPTED] * 2, ["TENANT_UNKNOWN"] * 2, [ACCEPTED] * 2] == answers
    assert 4 == sandbox.control("POST", "/effects", {})["total"]


def test_a_caller_of_one_tenant_sends_for_no_other(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Even if the gateway has the other tenant: events of that tenant are refused, the caller's own are sent."""
    own = sandbox.environ["TENANT_ID"]
    config = tmp_path / "gateway.toml"
    config.write_text(
        f'[[callers]]\nname = "local"\nallow = ["events.write"]\ntenants = ["{own}"]\n'
        '[[tenants]]\ntenant_id = "other"\ningestion_hmac_secret = "x-secret-of-the-other-tenant-0123456789"\n'
        'admin_api_key = "k-of-the-other-tenant-0123456789"\n'
    )
    config.chmod(0o600)
    environ = {**of_sandbox(sandbox.urls, sandbox.environ), "GATEWAY_CONFIG": str(config)}
    messages = [
        events_pb2.StreamEventsRequest(sequence=number + 1, tenant_id=tenant, events=[event(), event()])
        for number, tenant in enumerate([own, "other", own])
    ]
    with GatewayProcess(environ) as process, grpc.insecure_channel(process.address) as channel:
        events = Stub(channel)
        answers = [reported(one.results) for one in events.StreamEvents(iter(messages), timeout=10)]
        with pytest.raises(grpc.RpcError) as error:
            events.SubmitEvents(events_pb2.SubmitEventsRequest(tenant_id="other", events=[event()]), timeout=10)
    assert "NOT_ALLOWED" == reason_of(error.value)
    assert [[ACCEPTED] * 2, ["NOT_ALLOWED"] * 2, [ACCEPTED] * 2] == answers
    assert 4 == sandbox.control("POST", "/effects", {})["total"]


def test_an_id_that_comes_again_in_a_batch_is_one_event(events: Stub, sandbox: SandboxProcess) -> None:
    """Equal content is a duplicate of the first, other content is refused; the rest is delivered."""
    mine = str(uuid.uuid4())
    batch = [
        event(event_id=mine, metadata_json=b'{"a":1,"b":2}'),
        event(event_id=mine, metadata_json=b'{"b":2.0, "a":1}'),
        event(event_id=mine, metadata_json=b'{"a":1,"b":3}'),
        event(),
    ]
    results = events.SubmitEvents(events_pb2.SubmitEventsRequest(events=batch), timeout=10).results
    assert [ACCEPTED, DUPLICATE, "EVENT_ID_REUSED", ACCEPTED] == reported(results)
    assert code_pb2.ALREADY_EXISTS == results[2].error.code
    assert 2 == sandbox.control("POST", "/effects", {})["total"]


def test_a_message_that_no_gateway_can_read_is_said_to_be_that(gateway: GatewayProcess) -> None:
    """Text that is not UTF-8 makes the whole message unreadable; bytes that are no message likewise."""
    method = "/phoenix.gateway.v1.EventService/SubmitEvents"
    one = event(user_id="here").SerializeToString().replace(b"here", b"h\xff\xfee")
    request = b"\x12" + bytes([len(one)]) + one
    with grpc.insecure_channel(gateway.address) as channel:
        call: Any = channel.unary_unary(method)
        for data in (request, b"\xff\xff"):
            with pytest.raises(grpc.RpcError) as error:
                call(data, timeout=10)
            assert (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD") == (error.value.code(), reason_of(error.value))


def test_a_message_above_four_megabytes_is_refused(events: Stub, sandbox: SandboxProcess) -> None:
    """By its size, before it is parsed. The connection stays open."""
    many = [event(metadata=bulky(900_000)) for _ in range(5)]
    with pytest.raises(grpc.RpcError) as error:
        events.SubmitEvents(events_pb2.SubmitEventsRequest(events=many), timeout=10)
    assert TOO_LARGE == error.value.code()
    assert ACCEPTED == events.SubmitEvent(events_pb2.SubmitEventRequest(event=event()), timeout=10).status
    assert 1 == sandbox.control("POST", "/effects", {})["total"]
