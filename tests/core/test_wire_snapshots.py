"""Snapshots and neighbours are read in every known form; anything else is reported as unreadable."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.wire import decode_leaderboard, decode_neighbors, decode_snapshots, decode_user_snapshot
from gateway.core.wire_snapshots import snapshot_time_text
from gateway.errors import PhoenixAnswerUnreadable

LOADED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The machine may be busy with other things."""

NOON_US = 1_763_467_200_000_000
"""2025-11-18T12:00:00Z."""


def place(rank: int) -> dict[str, Any]:
    return {"rank": rank, "user_id": f"u{rank}", "score": 100 - rank}


def body(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "value",
    [
        {"window_key": "w", "entries": [place(1), place(2), place(3)]},
        {"status": "ok", "user": {"window_key": "w", "entries": [place(1), place(2), place(3)]}},
        {"data": [place(1), place(2), place(3)], "window_key": "w"},
        {"window_key": "w", "above": [place(1)], "user": place(2), "below": [place(3)]},
        {"data": {"above": [place(1)], "self": place(2), "below": [place(3)]}, "window": "w"},
        {"window_key": "w", "rank": 2, "ranked": True, "entries": [place(1), place(2), place(3)]},
    ],
    ids=json.dumps,
)
def test_neighbours_come_in_many_shapes(value: object) -> None:
    """By rank, with their window."""
    found = decode_neighbors(body(value))
    assert (True, "w", [1, 2, 3]) == (found.ranked, found.page.window_key, [entry.rank for entry in found.page.entries])


@pytest.mark.parametrize(
    "value",
    [
        {"entries": []},
        {"user_id": "x", "rank": None, "entries": [place(1)]},
        {"user_id": "x", "rank": 0, "entries": [place(1)]},
        {"ranked": False, "entries": [place(1)]},
        {"above": [place(1)], "user": None, "below": []},
        [],
    ],
    ids=json.dumps,
)
def test_a_user_without_an_entry_has_no_neighbours(value: object) -> None:
    """Even if Phoenix returns the entries of others."""
    found = decode_neighbors(body(value))
    assert (False, ()) == (found.ranked, found.page.entries)


@pytest.mark.parametrize(
    "value",
    [
        {"snapshots": [{"snapshot_time": "2025-11-18T12:00:00Z", "window_key": "w", "total_entries": 7, "by": "cron"}]},
        {"data": [{"snapshotTime": "2025-11-18T12:00:00+00:00", "windowKey": "w", "totalEntries": "7", "by": "cron"}]},
        {"snapshots": {"items": [{"time": "2025-11-18T13:00:00+01:00", "window": "w", "count": 7, "by": "cron"}]}},
        [{"taken_at": "2025-11-18T12:00:00.000000Z", "window_key": "w", "total": 7.0, "by": "cron"}],
    ],
    ids=json.dumps,
)  # fmt: skip
def test_snapshots_come_in_many_shapes(value: object) -> None:
    """Their time as a timestamp; members without a field are in extra."""
    (found,) = decode_snapshots(body(value))
    assert (NOON_US, "w", 7, {"by": "cron"}) == (found.taken_at_us, found.window_key, found.total, found.extra)


def test_a_list_of_times_is_a_list_of_snapshots() -> None:
    """The least that one can say."""
    assert [NOON_US] == [found.taken_at_us for found in decode_snapshots(b'{"snapshots":["2025-11-18T12:00:00Z"]}')]


@pytest.mark.parametrize(
    "value", [{}, {"snapshots": None}, {"snapshots": [1]}, {"snapshots": [{"window_key": "w"}]}, {"data": ["noon"]}, 3]
)
def test_snapshots_without_their_essence_are_unreadable(value: object) -> None:
    """A list, and of each its time."""
    with pytest.raises(PhoenixAnswerUnreadable):
        decode_snapshots(body(value))


@pytest.mark.parametrize(
    ("value", "ranked", "rank", "score"),
    [
        ({"rank": 3, "score": 5}, True, 3, 5.0),
        ({"score": 5}, True, None, 5.0),
        ({"status": "ok", "snapshot_user": {"rank": 3, "score": 5}}, True, 3, 5.0),
        ({"rank": {"rank": 3, "score": 5}}, True, 3, 5.0),
        ({"rank": None}, False, None, None),
        ({"entry": None}, False, None, None),
        ({"ranked": False}, False, None, None),
    ],
)
def test_a_users_place_is_read(value: object, ranked: bool, rank: int | None, score: float | None) -> None:
    """By rank, by score, or not there."""
    found = decode_user_snapshot(body(value))
    assert (ranked, rank, score) == (found.ranked, found.rank, found.score)


@pytest.mark.parametrize("name", ["pagination", "meta", "paging"])
def test_a_total_may_stand_beside_the_list(name: str) -> None:
    """If the paging is a separate member."""
    assert 25 == decode_leaderboard(body({"data": [place(1)], name: {"total": 25}})).total


@pytest.mark.parametrize(
    ("at_us", "text"),
    [
        (NOON_US, "2025-11-18T12:00:00Z"),
        (NOON_US + 250_000, "2025-11-18T12:00:00.250Z"),
        (NOON_US + 1, "2025-11-18T12:00:00.000001Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
    ],
)
def test_a_time_is_written_as_phoenix_writes_it(at_us: int, text: str) -> None:
    """No more digits than it needs."""
    assert text == snapshot_time_text(at_us)


@LOADED
@given(st.integers(-62_000_000_000_000_000, 253_402_300_799_999_999))
def test_a_time_comes_back_as_it_went_out(at_us: int) -> None:
    """To the microsecond, since it is the snapshot's identity."""
    listed = body({"snapshots": [snapshot_time_text(at_us)]})
    assert [at_us] == [found.taken_at_us for found in decode_snapshots(listed)]


NAMES = st.sampled_from(["entries", "data", "above", "user", "below", "rank", "snapshots", "time", "score"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=12)


@LOADED
@given(JSON)
def test_any_json_is_read_or_refused(value: object) -> None:
    """No answer of Phoenix's crashes a read."""
    for decode in (decode_neighbors, decode_snapshots, decode_user_snapshot, decode_leaderboard):
        try:
            decode(body(value))
        except PhoenixAnswerUnreadable:
            continue
