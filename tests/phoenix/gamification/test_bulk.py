"""Parsing answers to bulk calls: certain results and unknown ones."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.phoenix.gamification.bulk import ItemStatus, proves_none_accepted, read_bulk_answer

IDS = ("a", "b", "c")
T, D, R, Q = ItemStatus.ACCEPTED, ItemStatus.DUPLICATE, ItemStatus.REFUSED, ItemStatus.DOUBTFUL
ALL_ACCEPTED, ALL_DOUBTFUL = [T, T, T], [Q, Q, Q]

CASES: list[tuple[Any, list[ItemStatus]]] = [
    # No event is reported as invalid.
    ({}, ALL_ACCEPTED),
    ([], ALL_ACCEPTED),
    ({"status": "accepted"}, ALL_ACCEPTED),
    ({"accepted": 3}, ALL_ACCEPTED),
    ({"accepted": 3, "failed": 0, "errors": []}, ALL_ACCEPTED),
    ({"accepted_count": 3, "request_id": "x"}, ALL_ACCEPTED),
    # A result per event, by place, by id, by index.
    ({"results": [{"status": "accepted"}, {"status": "rejected"}, {"status": "duplicate"}]}, [T, R, D]),
    ([{"status": 202}, {"status": 400}, {"status": 409}], [T, R, D]),
    ({"data": {"results": [{"ok": True}, {"success": True}, {"duplicate": True}]}}, [T, T, D]),
    (
        {"results": [{"event_id": i, "status": s} for i, s in (("c", "rejected"), ("a", "ok"), ("b", "ok"))]},
        ALL_DOUBTFUL,  # ids that contradict the places
    ),
    ({"results": [{"event_id": "b", "status": "rejected"}]}, [Q, R, Q]),
    # Failures alone are listed.
    ({"errors": [{"index": 1, "error": "bad"}]}, [T, R, T]),
    ({"accepted": 2, "rejected": [{"event_id": "c"}]}, [T, T, R]),
    ({"failed": ["a"], "accepted": ["b", "c"]}, [R, T, T]),
    ({"duplicates": ["a"], "accepted": 2}, [D, T, T]),
    ({"duplicates": ["a"], "accepted": 3}, [D, T, T]),
    # Failures that cannot be distinguished.
    ({"accepted": 2}, ALL_DOUBTFUL),
    ({"accepted": 2, "failed": 1}, ALL_DOUBTFUL),
    ({"failed": 1}, ALL_DOUBTFUL),
    ({"errors": [{"message": "one of them"}]}, ALL_DOUBTFUL),
    ({"errors": [{"index": 7}]}, ALL_DOUBTFUL),
    ({"accepted": 1, "errors": [{"index": 0}]}, [R, Q, Q]),
    ({"success": False}, ALL_DOUBTFUL),
    ({"status": "partial"}, ALL_DOUBTFUL),
    ({"error": "something"}, ALL_DOUBTFUL),
    ({"results": [{"status": "accepted"}, {"status": "accepted"}]}, ALL_DOUBTFUL),
    ({"results": [{"status": "who knows"}, {"status": 500}, {"success": False}]}, ALL_DOUBTFUL),
    ({"results": [{"status": "accepted"}] * 3, "errors": [{"index": 2}]}, [T, T, Q]),
    ("accepted", ALL_DOUBTFUL),
]


@pytest.mark.parametrize(("answer", "expected"), CASES)
def test_answers(answer: Any, expected: list[ItemStatus]) -> None:
    """An event is accepted if the answer says so or reports no failure. Otherwise it is undecided."""
    assert expected == [item.status for item in read_bulk_answer(json.dumps(answer).encode(), IDS)]


@pytest.mark.parametrize(("body", "expected"), [(b"", ALL_ACCEPTED), (b" \n", ALL_ACCEPTED), (b"<html>", ALL_DOUBTFUL)])
def test_bodies_that_are_no_json(body: bytes, expected: list[ItemStatus]) -> None:
    """A 202 may have no body. The page of a proxy proves nothing."""
    assert expected == [item.status for item in read_bulk_answer(body, IDS)]


def test_a_refusal_keeps_its_status_and_code() -> None:
    """They become the event's error."""
    item = read_bulk_answer(b'[{"status":422,"code":"board_inactive"}]', ("a",))[0]
    assert (item.status, item.http_status, item.code) == (R, 422, "board_inactive")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5) | st.sampled_from(["a", "b", "accepted", "rejected", "duplicate"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["results", "errors", "accepted", "failed", "status", "event_id", "index", "data", "ok"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(deadline=None)  # the machine may be busy
@given(JSON)
def test_any_json_gives_a_result_for_every_event(answer: Any) -> None:
    """Whatever Phoenix sends, nothing breaks and no event is forgotten."""
    assert len(read_bulk_answer(orjson.dumps(answer), IDS)) == len(IDS)


@settings(deadline=None)  # the machine may be busy
@given(JSON, st.integers(0, 2))
def test_an_event_named_as_refused_is_never_accepted(rest: Any, place: int) -> None:
    """Whatever else the answer holds."""
    answer = {**(rest if isinstance(rest, dict) else {}), "errors": [{"index": place}], "results": None}
    assert read_bulk_answer(orjson.dumps(answer), IDS)[place].status in (R, Q)


@pytest.mark.parametrize("nested", [None, [], [{"index": 1}]])
def test_a_refusal_is_not_hidden_by_what_a_nested_object_says(nested: object) -> None:
    """If two levels disagree, every event is undecided. An empty member has no meaning."""
    answer = {"errors": [{"index": 0}], "data": {"errors": nested}}
    assert read_bulk_answer(orjson.dumps(answer), IDS)[0].status in (R, Q)


@pytest.mark.parametrize(
    ("refusal", "certain"),
    [
        ({"error": "invalid events", "code": "VALIDATION"}, False),
        ({"error": "invalid events", "details": [{"index": 1}]}, False),
        ({"errors": [{"index": 1, "error": "bad"}]}, False),
        ({"success": False}, False),
        ({"accepted": 0, "errors": [{"index": 1, "error": "bad"}]}, True),
        ({"accepted": []}, False),
        ({"accepted": 0, "duplicates": 1}, False),
        ({"accepted": 0, "processed": 2}, False),
        ({"accepted": 2, "errors": [{"index": 1}]}, False),
        ({"accepted": 0, "results": [{"status": "accepted"}, {"status": 400}, {"status": 400}]}, False),
        ({"results": [{"status": "rejected"}] * 3}, True),
        ({"results": [{"status": "rejected"}] * 2}, False),
        ([{"status": 400}, {"status": 422}, {"status": 400}], True),
        ([{"status": 400}, {"status": 202}, {"status": 400}], False),
        ({"data": {"accepted": 0}, "accepted": 3}, False),
        ("refused", False),
    ],
)
def test_refusals(refusal: Any, certain: bool) -> None:
    """A refusal of the whole call accepts no event. Its reason does not apply to events without a fault."""
    assert certain == proves_none_accepted(json.dumps(refusal).encode(), IDS)
