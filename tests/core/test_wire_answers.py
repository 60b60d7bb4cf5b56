"""Gamification JSON, in: what Phoenix answers, in the shapes that it may have."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.wire import (
    Definition,
    Entry,
    Page,
    RankAnswer,
    ScoreAnswer,
    decode_definition,
    decode_definitions,
    decode_leaderboard,
    decode_rank,
    decode_score,
    refused_code,
)
from gateway.errors import PhoenixAnswerUnreadable

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


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(st.binary(max_size=100) | _JSON.map(lambda v: json.dumps(v).encode()))
def test_no_answer_crashes_a_reader(body: bytes) -> None:
    """For any answer of Phoenix, a reader returns a value or reports it as unreadable."""
    for read in (decode_leaderboard, decode_rank, decode_score, decode_definition, decode_definitions):
        try:
            read(body)
        except PhoenixAnswerUnreadable:
            continue
    refused_code(body)
