"""Events and boards end to end: typed call in, signed request out, judged by a sandbox that shares no code."""

from __future__ import annotations

import base64
import json
import time
import uuid
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from gateway.v1 import (
    events_pb2,
    events_pb2_grpc,
    leaderboard_admin_pb2,
    leaderboard_admin_pb2_grpc,
    leaderboards_pb2,
    leaderboards_pb2_grpc,
)
from tests.gateway_process import fields_of, reason_of
from tests.integration.awaited_calls import eventually, refused
from tests.integration.event_calls import INGESTION
from tests.sandbox_process import SandboxProcess

TRIES = 8


@pytest.fixture
def admin(channel: grpc.Channel) -> leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub:
    return leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub(channel)


@pytest.fixture
def board(admin: leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub) -> str:
    """A separate active board."""
    board = f"xp-{uuid.uuid4().hex[:8]}"
    admin.EnsureLeaderboard(leaderboard_admin_pb2.EnsureLeaderboardRequest(leaderboard_id=board))
    return board


def event(board: str, user: str = "user-1", score: float = 50, **more: Any) -> events_pb2.Event:
    return events_pb2.Event(leaderboard_id=board, user_id=user, score_delta=score, **more)


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
    sandbox.control("POST", "/faults", {**INGESTION, "kind": "lose_answer", "times": 1})
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
    """The caller hears before its own deadline, with the reason; a busy machine may be late with it now and then."""
    sandbox.control("POST", "/faults", {"surface": "query", "path_prefix": "/v1/", "kind": "hang"})
    request = leaderboards_pb2.GetUserRankRequest(leaderboard_id=board, user_id="u", max_staleness=Duration())
    ended: list[tuple[str, bool]] = []
    while ("PHOENIX_TIMEOUT", True) not in ended and len(ended) < TRIES:
        began = time.monotonic()
        error = refused(lambda: boards.GetUserRank(request, timeout=1))
        assert grpc.StatusCode.DEADLINE_EXCEEDED == error.code()
        ended.append((reason_of(error), time.monotonic() - began < 1.5))
    assert ("PHOENIX_TIMEOUT", True) in ended, ended
