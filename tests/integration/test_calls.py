"""Events, boards and tokens end to end: typed call in, signed request out, judged by a sandbox that shares no code."""

from __future__ import annotations

import base64
import functools
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gateway.v1 import (
    events_pb2,
    events_pb2_grpc,
    leaderboard_admin_pb2,
    leaderboard_admin_pb2_grpc,
    leaderboards_pb2,
    leaderboards_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
)
from tests.gateway_process import GatewayProcess, fields_of, reason_of
from tests.sandbox_process import SandboxProcess


@pytest.fixture
def events(channel: grpc.Channel) -> events_pb2_grpc.EventServiceStub:
    return events_pb2_grpc.EventServiceStub(channel)


@pytest.fixture
def boards(channel: grpc.Channel) -> leaderboards_pb2_grpc.LeaderboardServiceStub:
    return leaderboards_pb2_grpc.LeaderboardServiceStub(channel)


@pytest.fixture
def admin(channel: grpc.Channel) -> leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub:
    return leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub(channel)


@pytest.fixture
def tokens(channel: grpc.Channel) -> tokens_pb2_grpc.TokenServiceStub:
    return tokens_pb2_grpc.TokenServiceStub(channel)


@pytest.fixture
def board(admin: leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub) -> str:
    """A separate active board."""
    board = f"xp-{uuid.uuid4().hex[:8]}"
    admin.EnsureLeaderboard(leaderboard_admin_pb2.EnsureLeaderboardRequest(leaderboard_id=board))
    return board


def event(board: str, user: str = "user-1", score: float = 50, **more: Any) -> events_pb2.Event:
    return events_pb2.Event(leaderboard_id=board, user_id=user, score_delta=score, **more)


def eventually(look: Callable[[], Any], within_s: float = 5.0) -> Any:
    """Return the first answer that is true; the last one when time is over."""
    until = time.monotonic() + within_s
    while not (found := look()) and time.monotonic() < until:
        time.sleep(0.02)
    return found


def refused(call: Callable[[], Any]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value


def test_ensuring_a_board_twice_makes_one(
    admin: leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub, sandbox: SandboxProcess
) -> None:
    """The second call finds the first one's board."""
    request = leaderboard_admin_pb2.EnsureLeaderboardRequest(leaderboard_id="xp-weekly", name="Weekly XP")
    made = [admin.EnsureLeaderboard(request) for _ in range(2)]
    assert [True, False] == [answer.created for answer in made]
    assert ["Weekly XP"] * 2 == [answer.leaderboard.name for answer in made]


def test_admin_health_proves_the_key(admin: leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub) -> None:
    """An active key is an OK with the time of the check."""
    checked = admin.CheckAdminHealth(leaderboard_admin_pb2.CheckAdminHealthRequest())
    assert abs(checked.check_time.seconds - time.time()) < 60


def test_an_event_is_accepted_and_read_back(
    events: events_pb2_grpc.EventServiceStub,
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub,
    board: str,
) -> None:
    """After the submission, rank, score and page show the event."""
    submitted = events.SubmitEvent(events_pb2.SubmitEventRequest(event=event(board)))
    assert events_pb2.EVENT_STATUS_ACCEPTED == submitted.status
    assert uuid.UUID(submitted.event_id).version == 7
    rank = eventually(
        lambda: boards.GetUserRank(leaderboards_pb2.GetUserRankRequest(leaderboard_id=board, user_id="user-1"))
    )
    score = boards.GetUserScore(leaderboards_pb2.GetUserScoreRequest(leaderboard_id=board, user_id="user-1"))
    page = boards.GetLeaderboard(leaderboards_pb2.GetLeaderboardRequest(leaderboard_id=board))
    assert (True, 1, True, 50.0) == (rank.ranked, rank.rank, score.ranked, score.score)
    assert [(1, "user-1", 50.0)] == [(one.rank, one.user_id, one.score) for one in page.leaderboard.entries]


def test_a_caller_s_event_id_counts_once(
    events: events_pb2_grpc.EventServiceStub, sandbox: SandboxProcess, board: str
) -> None:
    """The same event twice has one effect at Phoenix."""
    event_id = str(uuid.uuid4())
    request = events_pb2.SubmitEventRequest(event=event(board, event_id=event_id))
    for _ in range(2):
        events.SubmitEvent(request)
    counted = sandbox.control("GET", f"/effects?event_id={event_id}")
    assert 1 == counted["effects"]


def test_a_lost_answer_is_sent_again_where_phoenix_deduplicates(
    events: events_pb2_grpc.EventServiceStub, sandbox: SandboxProcess, board: str
) -> None:
    """Phoenix acted and the answer was cut: the retry with the same id is no second effect."""
    sandbox.control("POST", "/faults", {"surface": "ingestion", "kind": "lose_answer", "times": 1})
    event_id = str(uuid.uuid4())
    answer = events.SubmitEvent(events_pb2.SubmitEventRequest(event=event(board, event_id=event_id)), timeout=10)
    counted = sandbox.control("GET", f"/effects?event_id={event_id}")
    assert (event_id, 1) == (answer.event_id, counted["effects"])


def test_a_batch_answers_per_event_in_order(
    events: events_pb2_grpc.EventServiceStub, sandbox: SandboxProcess, board: str
) -> None:
    """An invalid event fails alone, and its error names the field."""
    batch = [event(board, "user-1"), event(board, ""), event(board, "user-3", float("nan")), event(board, "user-4")]
    results = events.SubmitEvents(events_pb2.SubmitEventsRequest(events=batch)).results
    accepted, failed = events_pb2.EVENT_STATUS_ACCEPTED, events_pb2.EVENT_STATUS_UNSPECIFIED
    assert [accepted, failed, failed, accepted] == [result.status for result in results]
    assert "events[1].user_id" in results[1].error.message
    assert "events[2].score_delta" in results[2].error.message


def test_metadata_arrives_in_both_forms(
    events: events_pb2_grpc.EventServiceStub, sandbox: SandboxProcess, board: str
) -> None:
    """A Struct and JSON bytes reach Phoenix as the same object, and an integral score as a JSON integer."""
    sandbox.control("DELETE", "/requests")
    struct = event(board)
    struct.metadata.update({"source": "smoke", "level": 7})
    events.SubmitEvent(events_pb2.SubmitEventRequest(event=struct))
    raw = event(board, metadata_json=b'{"source":"smoke","level":7}')
    events.SubmitEvent(events_pb2.SubmitEventRequest(event=raw))
    bodies = [
        base64.b64decode(one["body_base64"])
        for one in sandbox.control("GET", "/requests")["requests"]
        if one["path"].startswith("/v1/events")
    ]
    assert [{"source": "smoke", "level": 7}] * 2 == [json.loads(body)["metadata"] for body in bodies]
    assert all(b'"score_delta":50,' in body or b'"score_delta":50}' in body for body in bodies)


def test_integers_from_two_to_the_53_stay_integers(
    events: events_pb2_grpc.EventServiceStub, sandbox: SandboxProcess, board: str
) -> None:
    """`attributes_json` and `metadata_json` arrive digit for digit; a Struct has doubles only."""
    sandbox.control("DELETE", "/requests")
    exact = b'{"round":9007199254740993,"big":123456789012345678901234567890,"half":0.10}'
    sent = event(board, metadata_json=exact, event_type="match.completed", attributes_json=exact)
    events.SubmitEvent(events_pb2.SubmitEventRequest(event=sent))
    (body,) = (
        base64.b64decode(one["body_base64"])
        for one in sandbox.control("GET", "/requests")["requests"]
        if one["path"].startswith("/v1/events")
    )
    assert b'"metadata":' + exact in body
    assert b'"attributes":' + exact in body


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


@pytest.mark.parametrize("user", ["a/b", "...", "a%2fb", "ü ñ?#&", "a\\b"])
def test_an_id_is_never_interpreted_as_a_path(
    events: events_pb2_grpc.EventServiceStub,
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub,
    board: str,
    user: str,
) -> None:
    """Separators and dots in ids arrive as they were given."""
    events.SubmitEvent(events_pb2.SubmitEventRequest(event=event(board, user)))
    request = leaderboards_pb2.GetUserScoreRequest(leaderboard_id=board, user_id=user)
    assert (True, 50.0) == ((answer := boards.GetUserScore(request)).ranked, answer.score)


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"user_id": "a\nb"}, "event.user_id"),
        ({"user_id": "a\0b"}, "event.user_id"),
        ({"leaderboard_id": ""}, "event.leaderboard_id"),
        ({"score_delta": float("inf")}, "event.score_delta"),
        ({"metadata_json": b"[1]"}, "event.metadata_json"),
        ({"metadata_json": b'{"a":1,"a":2}'}, "event.metadata_json"),
        ({"metadata_json": b'{"a":' * 40 + b"1" + b"}" * 40}, "event.metadata_json"),
        ({"metadata_json": b'\xff{"a":1}'}, "event.metadata_json"),
    ],
)
def test_bad_input_names_its_field(events: events_pb2_grpc.EventServiceStub, bad: dict[str, Any], field: str) -> None:
    """INVALID_FIELD with the path, before anything is sent."""
    values: dict[str, Any] = {"leaderboard_id": "xp", "user_id": "u", "score_delta": 1, **bad}
    request = events_pb2.SubmitEventRequest(event=events_pb2.Event(**values))
    error = refused(lambda: events.SubmitEvent(request))
    assert (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", [field]) == (
        error.code(),
        reason_of(error),
        fields_of(error),
    )


def test_an_unknown_tenant_is_not_found(events: events_pb2_grpc.EventServiceStub) -> None:
    """Another tenant's name opens nothing."""
    request = events_pb2.SubmitEventRequest(tenant_id="tenant-other", event=event("xp"))
    error = refused(lambda: events.SubmitEvent(request))
    assert (grpc.StatusCode.NOT_FOUND, "TENANT_UNKNOWN") == (error.code(), reason_of(error))


def test_an_unknown_board_is_not_found(boards: leaderboards_pb2_grpc.LeaderboardServiceStub) -> None:
    """Phoenix's 404 is passed on."""
    request = leaderboards_pb2.GetLeaderboardRequest(leaderboard_id="no-such-board")
    assert "PHOENIX_NOT_FOUND" == reason_of(refused(lambda: boards.GetLeaderboard(request)))


def test_a_user_without_an_entry_is_not_ranked(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, board: str
) -> None:
    """The answer is "unranked", never rank 0 of a board that does not exist."""
    answer = boards.GetUserRank(leaderboards_pb2.GetUserRankRequest(leaderboard_id=board, user_id="nobody"))
    assert (False, 0) == (answer.ranked, answer.rank)


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (400, grpc.StatusCode.INVALID_ARGUMENT, "PHOENIX_REFUSED_INPUT"),
        (401, grpc.StatusCode.INTERNAL, "PHOENIX_REJECTED_CREDENTIALS"),
        (403, grpc.StatusCode.PERMISSION_DENIED, "PHOENIX_FORBIDDEN"),
        (404, grpc.StatusCode.NOT_FOUND, "PHOENIX_NOT_FOUND"),
        (422, grpc.StatusCode.FAILED_PRECONDITION, "PHOENIX_REFUSED_STATE"),
        (429, grpc.StatusCode.RESOURCE_EXHAUSTED, "PHOENIX_RATE_LIMITED"),
        (500, grpc.StatusCode.UNAVAILABLE, "PHOENIX_UNAVAILABLE"),
        (503, grpc.StatusCode.UNAVAILABLE, "PHOENIX_UNAVAILABLE"),
    ],
)
def test_a_status_of_phoenix_becomes_its_reason(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub,
    sandbox: SandboxProcess,
    board: str,
    status: int,
    code: grpc.StatusCode,
    reason: str,
) -> None:
    """As API.md lists them."""
    sandbox.control("POST", "/faults", {"surface": "query", "kind": "status", "status": status})
    request = leaderboards_pb2.GetUserRankRequest(
        leaderboard_id=board, user_id=str(uuid.uuid4()), max_staleness=Duration()
    )
    error = refused(lambda: boards.GetUserRank(request, timeout=5))
    assert (code, reason) == (error.code(), reason_of(error))


def test_a_hanging_phoenix_ends_with_the_deadline(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess, board: str
) -> None:
    """The caller hears before its own deadline."""
    sandbox.control("POST", "/faults", {"surface": "query", "kind": "hang"})
    request = leaderboards_pb2.GetUserRankRequest(leaderboard_id=board, user_id="u", max_staleness=Duration())
    began = time.monotonic()
    error = refused(lambda: boards.GetUserRank(request, timeout=1))
    assert (grpc.StatusCode.DEADLINE_EXCEEDED, "PHOENIX_TIMEOUT") == (error.code(), reason_of(error))
    assert time.monotonic() - began < 1.5


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
