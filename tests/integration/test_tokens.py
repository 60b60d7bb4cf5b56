"""Tokens end to end, ids that a path cannot hold, and what the gateway reports of its services."""

from __future__ import annotations

import functools
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gateway.v1 import (
    leaderboards_pb2,
    leaderboards_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
)
from tests.gateway_process import GatewayProcess, fields_of, reason_of
from tests.integration.awaited_calls import eventually, refused
from tests.sandbox_process import SandboxProcess


@pytest.mark.parametrize("dots", [".", ".."])
def test_ids_of_dots_are_refused_where_a_path_is_built(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, tokens: tokens_pb2_grpc.TokenServiceStub, dots: str
) -> None:
    """A proxy would take them for steps: INVALID_FIELD that names the field."""
    pb = leaderboards_pb2
    refusals = {
        "leaderboard_id": [
            lambda: boards.GetLeaderboard(pb.GetLeaderboardRequest(leaderboard_id=dots)),
            lambda: boards.ListSnapshots(pb.ListSnapshotsRequest(leaderboard_id=dots)),
            lambda: next(boards.WatchLeaderboard(pb.WatchLeaderboardRequest(leaderboard_id=dots))),
            lambda: tokens.SignLeaderboardSocket(tokens_pb2.SignLeaderboardSocketRequest(leaderboard_id=dots)),
        ],
        "user_id": [
            lambda: boards.GetUserRank(pb.GetUserRankRequest(leaderboard_id="b", user_id=dots)),
            lambda: boards.GetUserScore(pb.GetUserScoreRequest(leaderboard_id="b", user_id=dots)),
            lambda: boards.GetUserNeighbors(pb.GetUserNeighborsRequest(leaderboard_id="b", user_id=dots)),
            lambda: boards.GetUserSnapshot(
                pb.GetUserSnapshotRequest(leaderboard_id="b", user_id=dots, snapshot_time=Timestamp(seconds=1))
            ),
        ],
    }
    for field, calls in refusals.items():
        for call in calls:
            error = refused(call)
            assert ("INVALID_FIELD", True) == (reason_of(error), f"{field}: must not be" in (error.details() or ""))


def test_a_launch_token_is_taken_by_phoenix(tokens: tokens_pb2_grpc.TokenServiceStub, sandbox: SandboxProcess) -> None:
    """Both kinds, as the iframe's connect judges them."""
    player = tokens_pb2.PlayerSession(player_id="player-7", name="Ada", currency="EUR")
    minted = [
        tokens.MintLaunchJWT(tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession())),
        tokens.MintLaunchJWT(tokens_pb2.MintLaunchJWTRequest(player=player)),
    ]
    judged = [sandbox.control("POST", "/tokens/verify", {"token": one.token, "kind": "launch"}) for one in minted]
    assert [True, True] == [one["ok"] for one in judged]
    assert [None, "player-7"] == [one["claims"].get("sub") for one in judged]
    assert [905, 305] == [one["claims"]["exp"] - one["claims"]["iat"] for one in judged]
    assert all(one.embed_url.endswith(f"/o/acme?token={one.token}") for one in minted)


def test_gamification_tokens_are_taken_by_phoenix(
    tokens: tokens_pb2_grpc.TokenServiceStub, sandbox: SandboxProcess
) -> None:
    """A tenant's and an administrator's."""
    tenant = tokens.MintTenantJWT(tokens_pb2.MintTenantJWTRequest(user_id="user_123"))
    admin = tokens.MintAdminJWT(tokens_pb2.MintAdminJWTRequest(subject="ops"))
    judged = [
        sandbox.control("POST", "/tokens/verify", {"token": tenant.token, "kind": "tenant"}),
        sandbox.control("POST", "/tokens/verify", {"token": admin.token, "kind": "admin"}),
    ]
    assert [(True, "user_123"), (True, "ops")] == [(one["ok"], one["claims"]["sub"]) for one in judged]


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({}, "session"),
        ({"player": {"player_id": "p", "currency": "euro"}}, "player.currency"),
        ({"player": {"player_id": "", "currency": "EUR"}}, "player.player_id"),
        ({"visitor": {}, "ttl": {"seconds": 7200}}, "ttl"),
        ({"visitor": {}, "ttl": {"seconds": 1, "nanos": 5}}, "ttl"),
        ({"visitor": {}, "environment": 7}, "environment"),
    ],
)
def test_a_bad_launch_request_names_its_field(
    tokens: tokens_pb2_grpc.TokenServiceStub, bad: dict[str, Any], field: str
) -> None:
    """Refused before anything is signed."""
    error = refused(lambda: tokens.MintLaunchJWT(tokens_pb2.MintLaunchJWTRequest(**bad)))
    assert [field] == fields_of(error)


def test_prod_is_unknown_where_only_sandbox_is_configured(tokens: tokens_pb2_grpc.TokenServiceStub) -> None:
    """One environment does not replace another."""
    request = tokens_pb2.MintLaunchJWTRequest(environment=2, visitor={})  # type: ignore[arg-type]
    assert "OPERATOR_UNKNOWN" == reason_of(refused(lambda: tokens.MintLaunchJWT(request)))


def test_every_service_says_that_it_serves(channel: grpc.Channel, gateway: GatewayProcess) -> None:
    """Health is live per service; a circuit that another test's fault opened closes again within seconds."""
    stub: Any = health_pb2_grpc.HealthStub(channel)

    def is_serving(service: str) -> bool:
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    for name in ("", "EventService", "LeaderboardService", "LeaderboardAdminService", "TokenService", "WalletService"):
        full = f"phoenix.gateway.v1.{name}" if name else ""
        assert eventually(functools.partial(is_serving, full), within_s=15), full


def test_reflection_lists_the_services(channel: grpc.Channel) -> None:
    """grpcurl needs no files."""
    ask = reflection_pb2.ServerReflectionRequest(list_services="")
    reflect: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    answer = next(reflect.ServerReflectionInfo(iter([ask])))
    names = {service.name for service in answer.list_services_response.service}
    assert {"phoenix.gateway.v1.EventService", "phoenix.gateway.v1.WalletService", "grpc.health.v1.Health"} <= names
