"""Answers that are serialised by hand parse as the intended messages."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.actions.boards.read_values import ReadAnswer, Source
from gateway.core.wire import Entry, Neighbors, Page, RankAnswer, ScoreAnswer
from gateway.errors import PhoenixNotFound
from gateway.services.board_messages import BoardMessages, batch_of, with_freshness
from gateway.v1 import common_pb2, leaderboards_pb2

LOADED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The machine may be busy with other things."""

MAKE = BoardMessages()


def page(entries: int) -> Page:
    return Page(
        window_key="w",
        entries=tuple(
            Entry(rank=number + 1, user_id=f"u{number}", score=0.5, extra={"name": "N"}) for number in range(entries)
        ),
        total=None,
    )


def answer(payload: bytes, source: Source = Source.STALE, age_s: float = 1.25) -> ReadAnswer:
    return ReadAnswer(payload=payload, window_key="", source=source, age_s=age_s)


@LOADED
@given(st.integers(0, 40), st.sampled_from(Source), st.floats(0, 1e6))
def test_freshness_joins_a_cached_answer(entries: int, source: Source, age_s: float) -> None:
    """The result is what would have been serialised in one."""
    whole = leaderboards_pb2.GetLeaderboardResponse.FromString(
        with_freshness(answer(MAKE.page(page(entries), "next"), source, age_s), leaderboards_pb2.GetLeaderboardResponse)
    )
    assert (entries, "next", f"FRESHNESS_SOURCE_{source.name}") == (
        len(whole.leaderboard.entries),
        whole.next_page_token,
        common_pb2.FreshnessSource.Name(whole.freshness.source),
    )
    assert abs(whole.freshness.age.ToMicroseconds() - age_s * 1e6) <= 1


def test_each_read_of_a_user_shows_whether_the_user_is_ranked() -> None:
    """Unknown values stay unset."""
    unranked = RankAnswer(ranked=False, rank=None, score=None)
    rank = leaderboards_pb2.GetUserRankResponse.FromString(MAKE.rank(unranked))
    score = leaderboards_pb2.GetUserScoreResponse.FromString(MAKE.score(ScoreAnswer(ranked=True, rank=None, score=2.5)))
    place = leaderboards_pb2.GetUserSnapshotResponse.FromString(MAKE.snapshot_user(unranked))
    near = leaderboards_pb2.GetUserNeighborsResponse.FromString(MAKE.neighbors(Neighbors(ranked=True, page=page(3))))
    assert (False, False) == (rank.ranked, rank.HasField("score"))
    assert (True, False, 2.5) == (score.ranked, score.HasField("rank"), score.score)
    assert (False, False, False) == (place.ranked, place.HasField("rank"), place.HasField("score"))
    assert (True, 3) == (near.ranked, len(near.leaderboard.entries))


@pytest.mark.parametrize("entries", [0, 1, 2, 100, 1000])
def test_a_batch_reads_as_its_message(entries: int) -> None:
    """Answers of any length, and errors, in order."""
    one = with_freshness(answer(MAKE.page(page(entries), "")), leaderboards_pb2.GetLeaderboardResponse)
    batch = leaderboards_pb2.BatchGetLeaderboardsResponse.FromString(batch_of([one, PhoenixNotFound(), one]))
    whole = leaderboards_pb2.GetLeaderboardResponse.FromString(one)
    assert [True, False, True] == [result.response == whole for result in batch.results]
    assert [0, 5, 0] == [result.error.code for result in batch.results]
    assert not batch.results[1].HasField("response")


def test_a_batch_of_ranks_has_the_same_numbers() -> None:
    """What is put together by number must fit both."""
    one = with_freshness(
        answer(MAKE.rank(RankAnswer(ranked=True, rank=7, score=None))), leaderboards_pb2.GetUserRankResponse
    )
    batch = leaderboards_pb2.BatchGetUserRanksResponse.FromString(batch_of([PhoenixNotFound(), one]))
    assert [(5, 0), (0, 7)] == [(result.error.code, result.response.rank) for result in batch.results]
