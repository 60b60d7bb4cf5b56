"""Gamification JSON, out and in."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.types import TenantId
from gateway.core.wire import (
    Definition,
    Entry,
    Event,
    Page,
    RankAnswer,
    ScoreAnswer,
    check_metadata_json,
    decode_definition,
    decode_definitions,
    decode_leaderboard,
    decode_rank,
    decode_score,
    encode_bulk,
    encode_definition,
    encode_event,
    refused_code,
)
from gateway.errors import InvalidField, PhoenixAnswerUnreadable
from tests.core.vectors import signing

_TENANT = TenantId("tenant-public-001")


def _event(**members: Any) -> Event:
    return Event(event_id="e-1", leaderboard_id="xp-weekly", user_id="user-123", **members)


def test_a_score_event_is_the_vectors_body() -> None:
    """The body that the vectors sign comes out byte for byte."""
    event = _event(score_delta=50.0, metadata_json=b'{"source":"smoke-test"}')
    assert encode_event(event, _TENANT, send_event_id=False) == signing()["requests"][0]["body"].encode()


def test_an_event_of_both_kinds_has_every_member() -> None:
    """Event id, type, time and attributes go out when they are set."""
    event = _event(
        score_delta=-0.5, event_type="match.completed", occur_time="2025-11-18T12:00:00Z", attributes_json=b'{"a":[1]}'
    )
    assert orjson.loads(encode_event(event, _TENANT, send_event_id=True)) == {
        "tenant_id": "tenant-public-001",
        "leaderboard_id": "xp-weekly",
        "user_id": "user-123",
        "score_delta": -0.5,
        "event_id": "e-1",
        "event_type": "match.completed",
        "timestamp": "2025-11-18T12:00:00Z",
        "attributes": {"a": [1]},
    }


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (50.0, "50"),
        (-3.0, "-3"),
        (0.0, "0"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (-1.5, "-1.5"),
        (2.0**53 - 1, "9007199254740991"),
        (2.0**53, "9007199254740992.0"),
        (1e300, "1e+300"),
        (5e-324, "5e-324"),
    ],
)
def test_integral_scores_go_out_as_integers(score: float, text: str) -> None:
    """An integral score is a JSON integer where that is exact, any other the shortest exact number."""
    body = encode_event(_event(score_delta=score), _TENANT, send_event_id=False).decode()
    assert body.partition('"score_delta":')[2] == text + "}"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_no_score_changes_on_its_way_out(score: float) -> None:
    """Whatever the finite score, the JSON number is exactly it."""
    body = encode_event(_event(score_delta=score), _TENANT, send_event_id=False)
    assert float(json.loads(body)["score_delta"]) == score


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_refused(score: float) -> None:
    """NaN and the infinities never leave, and the field is named."""
    with pytest.raises(InvalidField) as refusal:
        encode_event(_event(score_delta=score), _TENANT, send_event_id=False)
    assert [fault.field for fault in refusal.value.faults] == ["score_delta"]


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_no_text_of_an_event_can_add_a_member(user_id: str, event_id: str) -> None:
    """Quotes, line breaks and braces in ids stay inside their strings."""
    event = Event(event_id=event_id, leaderboard_id="b", user_id=user_id, score_delta=1.0)
    expected = {"tenant_id": _TENANT, "leaderboard_id": "b", "user_id": user_id, "score_delta": 1, "event_id": event_id}
    assert json.loads(encode_event(event, _TENANT, send_event_id=True)) == expected


def test_bulk_holds_the_events_bytes_unchanged() -> None:
    """Both envelopes hold the very bytes that were made once."""
    events = [b'{"a":1.50}', b'{"b": 2}']
    bodies = (encode_bulk(events, "array"), encode_bulk(events, "events"), encode_bulk([], "array"))
    assert bodies == (b'[{"a":1.50},{"b": 2}]', b'{"events":[{"a":1.50},{"b": 2}]}', b"[]")


def test_a_definition_goes_out_with_what_is_set() -> None:
    """Description and config are left out when there are none."""
    full = encode_definition(
        tenant_id=_TENANT, leaderboard_id="b", name="B", description="d", config_json=b'{"ranking":{"size":10}}'
    )
    bare = encode_definition(tenant_id=_TENANT, leaderboard_id="b", name="B", description="", config_json=None)
    assert (orjson.loads(full), orjson.loads(bare)) == (
        {
            "leaderboard_id": "b",
            "tenant_id": _TENANT,
            "name": "B",
            "description": "d",
            "config": {"ranking": {"size": 10}},
        },
        {"leaderboard_id": "b", "tenant_id": _TENANT, "name": "B"},
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b'{"source":"smoke"}',
        b' { "a" : [1, 2.50, 1E5, -0, null, true], "b": {"a": "{{[["} }\n',
        b'{"a":"' + b"{[" * 40 + b'"}',
        '{"é":"\U0001f3ae","x":"\\u00e9"}'.encode(),
        b'{"a":' * 31 + b"{}" + b"}" * 31,
        b'{"n":123456789012345678901234567890}',
        b'{"a":{"x":1},"b":{"x":1}}',
    ],
)
def test_one_json_object_may_be_passed_on(raw: bytes) -> None:
    """Any spacing, order, number form and Unicode is passed on unchanged, up to 32 levels."""
    assert check_metadata_json(raw) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"a"',
        b"7",
        b"{",
        b"{}{}",
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":\xff}',
        b'{"a":"\xff"}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":"\\ud800"}',
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"x":[{"b":1,"b":2}]}',
        b'{"a":' * 32 + b"{}" + b"}" * 32,
        b'{"a":' + b"[" * 32 + b"]" * 32 + b"}",
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"a":1}\x00',
    ],
)
def test_anything_else_may_not(raw: bytes) -> None:
    """Not one object, not UTF-8, a member given twice, too deep: named, and not quoted."""
    fault = check_metadata_json(raw)
    assert fault is not None
    assert fault.field == "metadata_json"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=3), _JSON, max_size=4), st.booleans(), st.booleans())
def test_what_an_encoder_makes_passes_and_a_doubled_member_does_not(
    value: dict[str, Any], compact: bool, ascii_only: bool
) -> None:
    """The quick way and the careful way agree on whatever a JSON encoder writes."""
    separators = (",", ":") if compact else (", ", ": ")
    try:
        raw = json.dumps(value, separators=separators, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        return
    holds_surrogate = any(0xD800 <= ord(c) < 0xE000 for c in json.dumps(value, ensure_ascii=False))
    inner = raw[1:-1]
    doubled = b'{"k":1,"k":2' + (b"," + inner if value else b"") + b"}"
    assert (check_metadata_json(raw) is None, check_metadata_json(doubled) is None) == (not holds_surrogate, False)


_ENTRIES = (
    Entry(rank=1, user_id="u1", score=99.5, extra={"badge": {"k": 1}}),
    Entry(rank=2, user_id="7", score=3.0, extra={}),
)


@pytest.mark.parametrize(
    ("answer", "window_key", "total"),
    [
        (
            {
                "window_key": "w",
                "total": 2,
                "entries": [
                    {"rank": 1, "user_id": "u1", "score": 99.5, "badge": {"k": 1}},
                    {"rank": 2, "user_id": "7", "score": 3},
                ],
            },
            "w",
            2,
        ),
        (
            {
                "data": {
                    "windowKey": "w",
                    "totalCount": 2,
                    "items": [
                        {"position": 1, "userId": "u1", "totalScore": "99.5", "badge": {"k": 1}},
                        {"position": 2.0, "userId": 7, "totalScore": 3.0},
                    ],
                }
            },
            "w",
            2,
        ),
        (
            {
                "window": "w",
                "leaderboard": [
                    {"rank": 1, "id": "u1", "points": 99.5, "badge": {"k": 1}},
                    {"rank": "2", "player_id": "7", "value": 3},
                ],
            },
            "w",
            None,
        ),
        (
            [
                {"rank": 1, "user_id": "u1", "score": 99.5, "badge": {"k": 1}},
                {"rank": 2, "user_id": "7", "score": 3},
            ],
            "",
            None,
        ),
    ],
)
def test_pages_of_many_shapes_read_alike(answer: Any, window_key: str, total: int | None) -> None:
    """Member names and nesting vary; entries, window and total come out, unknown members in extra."""
    expected = Page(window_key=window_key, entries=_ENTRIES, total=total)
    assert decode_leaderboard(orjson.dumps(answer)) == expected


def test_a_user_object_gives_its_id_and_stays_in_extra() -> None:
    """A nested user is read and nothing of it is lost."""
    page = decode_leaderboard(b'{"entries":[{"rank":1,"score":2,"user":{"id":"u","name":"Ada"}}]}')
    assert page.entries == (Entry(rank=1, user_id="u", score=2.0, extra={"user": {"id": "u", "name": "Ada"}}),)


def test_an_empty_board_is_a_page() -> None:
    """No entries is an answer, not a fault."""
    assert decode_leaderboard(b'{"window_key":"w","entries":[]}') == Page(window_key="w", entries=(), total=None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"7",
        b'"x"',
        b"{}",
        b'{"entries":{}}',
        b'{"entries":null}',
        b'{"entries":[7]}',
        b'{"entries":[{"user_id":"u","score":1}]}',
        b'{"entries":[{"rank":0,"user_id":"u","score":1}]}',
        b'{"entries":[{"rank":-1,"user_id":"u","score":1}]}',
        b'{"entries":[{"rank":1.5,"user_id":"u","score":1}]}',
        b'{"entries":[{"rank":true,"user_id":"u","score":1}]}',
        b'{"entries":[{"rank":99999999999999999999,"user_id":"u","score":1}]}',
        b'{"entries":[{"rank":1,"user_id":"","score":1}]}',
        b'{"entries":[{"rank":1,"user_id":null,"score":1}]}',
        b'{"entries":[{"rank":1,"user_id":"u","score":"NaN"}]}',
        b'{"entries":[{"rank":1,"user_id":"u","score":"1e999"}]}',
        b'{"entries":[{"rank":1,"user_id":"u"}]}',
        b"[" * 3000,
        b"\xff",
    ],
)
def test_a_page_without_its_essence_is_unreadable(body: bytes) -> None:
    """Nothing is guessed: no rank from the order, no zero for a missing score."""
    with pytest.raises(PhoenixAnswerUnreadable):
        decode_leaderboard(body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"user_id":"u","rank":3,"score":7.5}', RankAnswer(ranked=True, rank=3, score=7.5)),
        (b'{"data":{"position":"3"}}', RankAnswer(ranked=True, rank=3, score=None)),
        (b'{"entry":{"rank":3,"points":1}}', RankAnswer(ranked=True, rank=3, score=1.0)),
        (b'{"rank":null}', RankAnswer(ranked=False, rank=None, score=None)),
        (b'{"rank":0,"score":0}', RankAnswer(ranked=False, rank=None, score=0.0)),
        (b'{"entry":null}', RankAnswer(ranked=False, rank=None, score=None)),
        (b'{"data":null}', RankAnswer(ranked=False, rank=None, score=None)),
        (b'{"ranked":false}', RankAnswer(ranked=False, rank=None, score=None)),
        (b'{"ranked":false,"rank":9}', RankAnswer(ranked=False, rank=None, score=None)),
    ],
)
def test_a_rank_or_its_absence_is_read(body: bytes, expected: RankAnswer) -> None:
    """Null, 0 and a null entry mean not ranked: never rank 0."""
    assert decode_rank(body) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"user_id":"u","score":7.5,"rank":2}', ScoreAnswer(ranked=True, rank=2, score=7.5)),
        (b'{"score":0}', ScoreAnswer(ranked=True, rank=None, score=0.0)),
        (b'{"result":{"total_score":"12.5"}}', ScoreAnswer(ranked=True, rank=None, score=12.5)),
        (b'{"score":null}', ScoreAnswer(ranked=False, rank=None, score=None)),
        (b'{"entry":null}', ScoreAnswer(ranked=False, rank=None, score=None)),
        (b'{"score":0,"rank":null}', ScoreAnswer(ranked=False, rank=None, score=0.0)),
        (b'{"score":0,"rank":0}', ScoreAnswer(ranked=False, rank=None, score=0.0)),
    ],
)
def test_a_score_or_its_absence_is_read(body: bytes, expected: ScoreAnswer) -> None:
    """A score of zero is a score; null or an absent rank is not ranked."""
    assert decode_score(body) == expected


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"ok":true}', b'{"rank":"x","score":"x"}', b'{"rank":-1,"score":true}', b"null"]
)
def test_rank_and_score_without_essence_are_unreadable(body: bytes) -> None:
    """An answer with neither is not read as "not ranked"."""
    with pytest.raises(PhoenixAnswerUnreadable):
        decode_rank(body)
    with pytest.raises(PhoenixAnswerUnreadable):
        decode_score(body)


def test_definitions_are_read_alone_and_in_lists() -> None:
    """Nested or not; missing members stay empty."""
    expected = Definition(
        leaderboard_id="b",
        tenant_id="t",
        name="B",
        description="",
        status="active",
        version=3,
        config={"a": 1},
        created_at="2025-01-01T00:00:00Z",
        updated_at="",
    )
    sent = {"leaderboard_id": "b", "tenant_id": "t", "name": "B", "status": "active", "version": 3}
    sent |= {"config": {"a": 1}, "created_at": "2025-01-01T00:00:00Z", "unknown": True}
    read = (
        decode_definition(orjson.dumps(sent)),
        decode_definition(orjson.dumps({"data": sent})),
        decode_definitions(orjson.dumps({"total": 1, "leaderboards": [sent]})),
        decode_definitions(orjson.dumps([sent])),
    )
    assert read == (expected, expected, (expected,), (expected,))


@pytest.mark.parametrize("body", [b"", b"{}", b"7", b'{"name":"B"}', b'[{"name":"B"}]', b'{"leaderboards":[7]}'])
def test_definitions_without_an_id_are_unreadable(body: bytes) -> None:
    """The id is the essence of a definition."""
    with pytest.raises(PhoenixAnswerUnreadable):
        decode_definition(body)
    with pytest.raises(PhoenixAnswerUnreadable):
        decode_definitions(body)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"error":"Invalid signature","code":"AUTH_001"}', "AUTH_001"),
        (b'{"error":"unauthorized"}', "unauthorized"),
        (b'{"error":{"code":"BOARD_NOT_ACTIVE"}}', "BOARD_NOT_ACTIVE"),
        (b'{"error":"text with spaces"}', None),
        (b'{"code":"a\\nb"}', None),
        (b'{"code":7}', None),
        (b'{"code":"' + b"A" * 65 + b'"}', None),
        (b'{"code":"A"}' + b" " * 70000, None),
        (b"<html>", None),
        (b"[]", None),
        (b"", None),
    ],
)
def test_an_error_code_is_taken_only_when_it_is_one(body: bytes, code: str | None) -> None:
    """Short words of a safe alphabet; no other upstream text gets out."""
    assert refused_code(body) == code


@given(st.binary(max_size=100) | _JSON.map(lambda v: json.dumps(v).encode()))
def test_no_answer_crashes_a_reader(body: bytes) -> None:
    """For any answer of Phoenix, a reader returns a value or reports it as unreadable."""
    for read in (decode_leaderboard, decode_rank, decode_score, decode_definition, decode_definitions):
        try:
            read(body)
        except PhoenixAnswerUnreadable:
            continue
    refused_code(body)
