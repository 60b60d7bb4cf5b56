"""Gamification JSON, out: events, bulk calls and definitions."""

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
    Event,
    check_metadata_json,
    encode_bulk,
    encode_definition,
    encode_event,
)
from gateway.errors import InvalidField
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
