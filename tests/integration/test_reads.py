"""Reads of boards end to end: what they cost at Phoenix, how old they say they are, pages that never mix windows."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.v1 import common_pb2, leaderboards_pb2, leaderboards_pb2_grpc
from tests.gateway_process import GatewayProcess, reason_of
from tests.integration.board_reads import SCORES, calls, page, refused, roll
from tests.sandbox_process import SandboxProcess

LIVE, CACHE, STALE = (
    common_pb2.FRESHNESS_SOURCE_LIVE,
    common_pb2.FRESHNESS_SOURCE_CACHE,
    common_pb2.FRESHNESS_SOURCE_STALE,
)
NOW = Duration(seconds=0)


def test_a_stampede_on_a_cold_board_costs_one_call(
    gateway: GatewayProcess, sandbox: SandboxProcess, board: str
) -> None:
    """A thousand concurrent readers get the page, and Phoenix is asked once."""
    # All have come when the one call is answered, and the probe of Phoenix's health is not delayed.
    delay = {"surface": "query", "path_prefix": "/v1/", "kind": "delay", "delay_ms": 6000}
    sandbox.control("POST", "/faults", delay)

    async def stampede() -> list[leaderboards_pb2.GetLeaderboardResponse]:
        async with grpc.aio.insecure_channel(gateway.address) as channel:
            stub = leaderboards_pb2_grpc.LeaderboardServiceStub(channel)
            reads: list[Any] = [stub.GetLeaderboard(page(board), timeout=15) for _ in range(1000)]
            return list(await asyncio.gather(*reads))

    answers = asyncio.run(stampede())
    assert {25} == {len(answer.leaderboard.entries) for answer in answers}
    assert 1 == calls(sandbox, board)


def test_a_second_read_is_from_the_cache_and_says_so(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess, board: str
) -> None:
    """Same page, no call, an age; zero staleness asks Phoenix again."""
    first = boards.GetLeaderboard(page(board))
    second = boards.GetLeaderboard(page(board))
    assert (LIVE, CACHE) == (first.freshness.source, second.freshness.source)
    assert first.leaderboard == second.leaderboard
    assert 0 < second.freshness.age.ToNanoseconds() < 1_000_000_000
    assert 1 == calls(sandbox, board)
    assert LIVE == boards.GetLeaderboard(page(board, max_staleness=NOW)).freshness.source
    assert 2 == calls(sandbox, board)


def test_a_board_is_served_while_phoenix_fails(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess, board: str
) -> None:
    """With its age. A caller that wants a fresh answer gets the failure."""
    first = boards.GetLeaderboard(page(board))
    sandbox.control("POST", "/faults", {"surface": "query", "kind": "status", "status": 503})
    until = time.monotonic() + 10
    while (answer := boards.GetLeaderboard(page(board))).freshness.source != STALE:
        assert time.monotonic() < until
    assert first.leaderboard == answer.leaderboard
    assert answer.freshness.age.ToNanoseconds() > 1_000_000_000
    error = refused(lambda: boards.GetLeaderboard(page(board, max_staleness=NOW), timeout=10))
    assert "PHOENIX_UNAVAILABLE" == reason_of(error)


def test_pages_follow_each_other_and_never_mix_windows(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess, board: str
) -> None:
    """All entries once and in order. A window that closes meanwhile is still read by its key."""
    found: list[str] = []
    token, windows = "", set()
    while True:
        answer = boards.GetLeaderboard(page(board, page_size=10, page_token=token, max_staleness=NOW))
        found += [entry.user_id for entry in answer.leaderboard.entries]
        windows.add(answer.leaderboard.window_key)
        token = answer.next_page_token
        if not token:
            break
        if len(found) == 10:
            roll(sandbox, board)
    assert (list(SCORES), 1) == (found, len(windows))


def test_a_page_of_another_window_is_refused(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess, board: str
) -> None:
    """WINDOW_CHANGED if Phoenix returns another window than the requested one."""
    first = boards.GetLeaderboard(page(board, page_size=10))
    body = {"window_key": "another", "total": 25, "entries": [{"rank": 11, "user_id": "x", "score": 1}]}
    sandbox.control("POST", "/faults", {"surface": "query", "kind": "status", "status": 200, "body": body})
    error = refused(lambda: boards.GetLeaderboard(page(board, page_size=10, page_token=first.next_page_token)))
    assert (grpc.StatusCode.FAILED_PRECONDITION, "WINDOW_CHANGED") == (error.code(), reason_of(error))


@pytest.mark.parametrize("shape", ["default", "camel", "wrapped", "data"])
def test_every_read_works_in_every_shape(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess, board: str, shape: str
) -> None:
    """Whatever Phoenix's answers look like, the same comes out; members without a field are kept."""
    taken = roll(sandbox, board)["snapshot_time"]
    make_time = Timestamp()
    make_time.FromJsonString(taken)
    sandbox.control("POST", "/settings", {"read_shape": shape, "extra_members": True})
    common: dict[str, Any] = {"leaderboard_id": board}
    shown = boards.GetLeaderboard(page(board, page_size=2)).leaderboard
    assert [(1, "user-000", 1000.0), (2, "user-001", 999.0)] == [
        (entry.rank, entry.user_id, entry.score) for entry in shown.entries
    ]
    assert "early" == shown.entries[0].extra["badges"][0]  # type: ignore[index]
    near = boards.GetUserNeighbors(leaderboards_pb2.GetUserNeighborsRequest(**common, user_id="user-010", page_size=5))
    assert (True, [9, 10, 11, 12, 13]) == (near.ranked, [entry.rank for entry in near.leaderboard.entries])
    listed = boards.ListSnapshots(leaderboards_pb2.ListSnapshotsRequest(**common))
    assert [(make_time, 25)] == [(each.snapshot_time, each.total_entries) for each in listed.snapshots]
    assert shown.window_key == listed.snapshots[0].window_key
    frozen = boards.GetSnapshot(leaderboards_pb2.GetSnapshotRequest(**common, snapshot_time=make_time, page_size=2))
    assert (shown, True) == (frozen.leaderboard, bool(frozen.next_page_token))
    place = boards.GetUserSnapshot(
        leaderboards_pb2.GetUserSnapshotRequest(**common, snapshot_time=make_time, user_id="user-003")
    )
    assert (True, 4, 997.0) == (place.ranked, place.rank, place.score)


@pytest.mark.parametrize("shape", ["default", "camel", "wrapped", "data"])
def test_ranks_and_scores_work_in_every_shape(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess, board: str, shape: str
) -> None:
    """For a user on the current board."""
    sandbox.control("POST", "/settings", {"read_shape": shape})
    rank = boards.GetUserRank(leaderboards_pb2.GetUserRankRequest(leaderboard_id=board, user_id="user-004"))
    score = boards.GetUserScore(leaderboards_pb2.GetUserScoreRequest(leaderboard_id=board, user_id="user-004"))
    assert (True, 5, True, 996.0) == (rank.ranked, rank.rank, score.ranked, score.score)


@pytest.mark.parametrize("unranked", ["404", "null", "zero"])
def test_a_user_without_an_entry_is_not_ranked(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess, board: str, unranked: str
) -> None:
    """Said so, in all four reads of a user, never as rank 0 of a ranked one."""
    taken = Timestamp()
    taken.FromJsonString(roll(sandbox, board)["snapshot_time"])
    sandbox.control("POST", "/settings", {"unranked": unranked})
    who: dict[str, Any] = {"leaderboard_id": board, "user_id": "nobody"}
    answers: list[Any] = [
        boards.GetUserRank(leaderboards_pb2.GetUserRankRequest(**who)),
        boards.GetUserScore(leaderboards_pb2.GetUserScoreRequest(**who)),
        boards.GetUserNeighbors(leaderboards_pb2.GetUserNeighborsRequest(**who)),
        boards.GetUserSnapshot(leaderboards_pb2.GetUserSnapshotRequest(**who, snapshot_time=taken)),
    ]
    assert [False] * 4 == [answer.ranked for answer in answers]


def test_a_batch_answers_each_item_for_itself(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess, board: str
) -> None:
    """In order: an answer, an unknown board, an invalid field. A board that is requested twice costs one call."""
    request = leaderboards_pb2.BatchGetLeaderboardsRequest(
        requests=[page(board), page("no-such"), page(board, page_size=1001), page(board)]
    )
    results = boards.BatchGetLeaderboards(request).results
    assert [25, 0, 0, 25] == [len(result.response.leaderboard.entries) for result in results]
    assert [True, False, False, True] == [result.response.HasField("freshness") for result in results]
    assert [0, 5, 3, 0] == [result.error.code for result in results]
    assert 1 == calls(sandbox, board)
    ranks = boards.BatchGetUserRanks(
        leaderboards_pb2.BatchGetUserRanksRequest(
            requests=[
                leaderboards_pb2.GetUserRankRequest(leaderboard_id=board, user_id=user)
                for user in [*SCORES, "nobody", ""]
            ]
        )
    ).results
    assert [*range(1, 26), 0, 0] == [result.response.rank for result in ranks]
    assert (False, 0, 3) == (ranks[25].response.ranked, ranks[25].error.code, ranks[26].error.code)


def test_snapshots_are_listed_page_by_page(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess, board: str
) -> None:
    """Each once, in Phoenix's order. A time span has the snapshots taken in it."""
    taken = [roll(sandbox, board)["snapshot_time"] for _ in range(5)]
    found, token = [], ""
    while True:
        answer = boards.ListSnapshots(
            leaderboards_pb2.ListSnapshotsRequest(leaderboard_id=board, page_size=2, page_token=token)
        )
        found += [snapshot.snapshot_time.ToJsonString() for snapshot in answer.snapshots]
        token = answer.next_page_token
        if not token:
            break
    assert sorted(taken, reverse=True) == found
    ends = [Timestamp(), Timestamp()]
    for end, text in zip(ends, (taken[1], taken[3]), strict=True):
        end.FromJsonString(text)
    span = boards.ListSnapshots(
        leaderboards_pb2.ListSnapshotsRequest(leaderboard_id=board, start_time=ends[0], end_time=ends[1])
    )
    assert taken[3:0:-1] == [snapshot.snapshot_time.ToJsonString() for snapshot in span.snapshots]


def test_an_inactive_board_says_so(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess, board: str
) -> None:
    """BOARD_NOT_ACTIVE."""
    tenant = sandbox.environ["TENANT_ID"]
    sandbox.control("POST", f"/boards/{tenant}/{board}/status", {"status": "inactive"})
    error = refused(lambda: boards.GetLeaderboard(page(board)))
    assert (grpc.StatusCode.FAILED_PRECONDITION, "BOARD_NOT_ACTIVE") == (error.code(), reason_of(error))
