"""Reads of boards with inputs that are wrong or odd: refused by the name of the field, or asked for as they are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.v1 import leaderboards_pb2, leaderboards_pb2_grpc
from tests.gateway_process import fields_of, reason_of
from tests.integration.board_reads import make, page, refused
from tests.sandbox_process import SandboxProcess


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"leaderboard_id": ""}, "leaderboard_id"),
        ({"leaderboard_id": "a\nb"}, "leaderboard_id"),
        ({"leaderboard_id": "a/b"}, "leaderboard_id"),
        ({"leaderboard_id": "..\\x"}, "leaderboard_id"),
        ({"window_key": "week 47"}, "window_key"),
        ({"window_key": "../x"}, "window_key"),
        ({"page_size": 0}, "page_size"),
        ({"page_size": 1001}, "page_size"),
        ({"page_token": "nonsense"}, "page_token"),
        ({"max_staleness": Duration(seconds=-1)}, "max_staleness"),
    ],
    ids=str,
)
def test_bad_input_names_its_field(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, bad: dict[str, Any], field: str
) -> None:
    """Before Phoenix is asked."""
    values: dict[str, Any] = {"leaderboard_id": "xp", **bad}
    error = refused(lambda: boards.GetLeaderboard(leaderboards_pb2.GetLeaderboardRequest(**values)))
    assert ("INVALID_FIELD", [field]) == (reason_of(error), fields_of(error))


@pytest.mark.parametrize("user_id", ["", "a\0b", "a\nb", "x" * 257, ".", ".."])
def test_bad_user_ids_are_named(boards: leaderboards_pb2_grpc.LeaderboardServiceStub, user_id: str) -> None:
    """In every read of a user, before the request to Phoenix."""
    common: dict[str, Any] = {"leaderboard_id": "xp", "user_id": user_id}
    reads: list[Callable[[], object]] = [
        lambda: boards.GetUserRank(leaderboards_pb2.GetUserRankRequest(**common)),
        lambda: boards.GetUserScore(leaderboards_pb2.GetUserScoreRequest(**common)),
        lambda: boards.GetUserNeighbors(leaderboards_pb2.GetUserNeighborsRequest(**common)),
        lambda: boards.GetUserSnapshot(
            leaderboards_pb2.GetUserSnapshotRequest(**common, snapshot_time=Timestamp(seconds=1))
        ),
    ]
    errors = [refused(read) for read in reads]
    assert [("INVALID_FIELD", ["user_id"])] * 4 == [(reason_of(error), fields_of(error)) for error in errors]


@pytest.mark.parametrize("user_id", ["a b", "ü@example.org", "auth0|7", "a%2Fb", "a?b#c", "x:y", "steam/7", "..\\.."])
def test_odd_user_ids_are_asked_for_as_they_are(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess, board: str, user_id: str
) -> None:
    """Whatever else an id holds, it is one step of the path and stays itself."""
    make(sandbox, board, {"other": 9, user_id: 5})
    rank = boards.GetUserRank(leaderboards_pb2.GetUserRankRequest(leaderboard_id=board, user_id=user_id))
    assert (True, 2, 5.0) == (rank.ranked, rank.rank, rank.score)


def test_an_unknown_board_or_window_says_where_to_look(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess, board: str
) -> None:
    """Cached or not."""
    for request in (page("no-such"), page(board, window_key="1999-01-01T00")):
        for _ in range(2):
            error = refused(lambda request=request: boards.GetLeaderboard(request))  # type: ignore[misc]
            assert "PHOENIX_NOT_FOUND" == reason_of(error)
            assert "Check leaderboard_id, window_key." in error.details()
    rank = leaderboards_pb2.GetUserRankRequest(leaderboard_id="no-such", user_id="u")
    assert "Check leaderboard_id, user_id." in refused(lambda: boards.GetUserRank(rank)).details()


def test_a_token_of_another_board_or_method_is_refused(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess, board: str
) -> None:
    """It names the field; so does a window that is not the token's."""
    token = boards.GetLeaderboard(page(board, page_size=10)).next_page_token
    for request in (
        page("other", page_token=token),
        page(board, page_token=token[:-2] + "AA"),
        page(board, page_token=token, window_key="2020-01-01T00"),
    ):
        assert ["page_token"] == fields_of(refused(lambda request=request: boards.GetLeaderboard(request)))  # type: ignore[misc]
    listing = leaderboards_pb2.ListSnapshotsRequest(leaderboard_id=board, page_token=token)
    assert ["page_token"] == fields_of(refused(lambda: boards.ListSnapshots(listing)))


def test_a_batch_of_none_or_of_too_many_is_refused(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess
) -> None:
    """And one whose tenant is unknown, as a whole."""
    for many in (0, 101):
        request = leaderboards_pb2.BatchGetLeaderboardsRequest(requests=[page("xp")] * many)
        assert ["requests"] == fields_of(refused(lambda request=request: boards.BatchGetLeaderboards(request)))  # type: ignore[misc]
    unknown = leaderboards_pb2.BatchGetLeaderboardsRequest(tenant_id="other", requests=[page("xp")])
    assert "TENANT_UNKNOWN" == reason_of(refused(lambda: boards.BatchGetLeaderboards(unknown)))


def test_the_times_of_snapshots_are_checked(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess
) -> None:
    """Absent, or beyond what a Timestamp may hold; one that was never taken is not found."""
    absent = leaderboards_pb2.GetSnapshotRequest(leaderboard_id="xp")
    beyond = leaderboards_pb2.GetSnapshotRequest(leaderboard_id="xp", snapshot_time=Timestamp(seconds=2**60))
    for request in (absent, beyond):
        assert ["snapshot_time"] == fields_of(refused(lambda request=request: boards.GetSnapshot(request)))  # type: ignore[misc]
    make(sandbox, "xp-never", {})
    at = Timestamp()
    at.FromDatetime(datetime(2020, 1, 1, tzinfo=UTC))
    never = leaderboards_pb2.GetSnapshotRequest(leaderboard_id="xp-never", snapshot_time=at)
    assert "PHOENIX_NOT_FOUND" == reason_of(refused(lambda: boards.GetSnapshot(never)))
