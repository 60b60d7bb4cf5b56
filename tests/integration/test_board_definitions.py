"""Boards are created, listed and looked at through the gateway."""

from __future__ import annotations

import grpc
import pytest

from gateway.v1 import leaderboard_admin_pb2, leaderboard_admin_pb2_grpc
from tests.gateway_process import fields_of, reason_of
from tests.integration.board_reads import refused
from tests.sandbox_process import SandboxProcess


@pytest.fixture
def admin(channel: grpc.Channel) -> leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub:
    return leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub(channel)


def test_boards_are_created_listed_and_looked_at(
    admin: leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub, sandbox: SandboxProcess
) -> None:
    """With a typed configuration that is returned unchanged, with unknown members. A second board is a conflict."""
    config = leaderboard_admin_pb2.LeaderboardConfig(
        timeframe={"type": "weekly", "timezone": "UTC", "reset_day": "monday", "reset_time": "00:00"},  # type: ignore[arg-type]
        scoring={"aggregation": "sum", "rules": [{"event_type": "match.completed", "points_expression": "attrs.p"}]},  # type: ignore[arg-type]
        ranking={"method": "score_desc", "size": 1000, "min_score": 0},  # type: ignore[arg-type]
    )
    config.extra["theme"] = "dark"
    config.ranking.extra["tie"] = "first"
    made = [
        admin.CreateLeaderboard(
            leaderboard_admin_pb2.CreateLeaderboardRequest(leaderboard_id=board, name="Made", typed_config=config)
        ).leaderboard
        for board in ("b-2", "b-1", "b-3")
    ]
    assert (config, "dark", 1000) == (
        made[0].typed_config,
        made[0].config["theme"],
        made[0].config["ranking"]["size"],  # type: ignore[index]
    )
    request = leaderboard_admin_pb2.CreateLeaderboardRequest(leaderboard_id="b-1")
    error = refused(lambda: admin.CreateLeaderboard(request))
    assert (grpc.StatusCode.ABORTED, "PHOENIX_CONFLICT") == (error.code(), reason_of(error))
    first = admin.ListLeaderboards(leaderboard_admin_pb2.ListLeaderboardsRequest(page_size=2))
    rest = admin.ListLeaderboards(leaderboard_admin_pb2.ListLeaderboardsRequest(page_token=first.next_page_token))
    listed = [*first.leaderboards, *rest.leaderboards]
    assert (["b-1", "b-2", "b-3"], "") == ([each.leaderboard_id for each in listed], rest.next_page_token)
    looked_at = leaderboard_admin_pb2.GetLeaderboardDefinitionRequest(leaderboard_id="b-2")
    assert made[0] == admin.GetLeaderboardDefinition(looked_at).leaderboard
    missing = leaderboard_admin_pb2.GetLeaderboardDefinitionRequest(leaderboard_id="b-9")
    assert "PHOENIX_NOT_FOUND" == reason_of(refused(lambda: admin.GetLeaderboardDefinition(missing)))


def test_a_config_in_two_forms_or_with_a_doubled_member_is_refused(
    admin: leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub, sandbox: SandboxProcess
) -> None:
    """The error names the value above the limit."""
    both = leaderboard_admin_pb2.CreateLeaderboardRequest(leaderboard_id="b-1")
    both.typed_config.ranking.method = "score_desc"
    both.config["ranking"] = {}
    assert ["typed_config"] == fields_of(refused(lambda: admin.CreateLeaderboard(both)))
    doubled = leaderboard_admin_pb2.CreateLeaderboardRequest(leaderboard_id="b-1")
    doubled.typed_config.ranking.method = "score_desc"
    doubled.typed_config.ranking.extra["method"] = "other"
    assert ["typed_config.ranking.extra.method"] == fields_of(refused(lambda: admin.CreateLeaderboard(doubled)))
