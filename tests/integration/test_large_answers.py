"""No answer is larger than what a client with defaults accepts: pages end earlier, the rest says ANSWER_TOO_LARGE."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.cli.connect import effect_of
from gateway.v1 import (
    leaderboard_admin_pb2,
    leaderboard_admin_pb2_grpc,
    leaderboards_pb2,
    leaderboards_pb2_grpc,
    phoenix_pb2,
    phoenix_pb2_grpc,
)
from tests.gateway_process import GatewayProcess, of_sandbox, reason_of
from tests.integration.board_reads import make, roll
from tests.sandbox_process import SandboxProcess

NOW = Duration(seconds=0)
USERS = [f"user-{number:04}" for number in range(900)]
BIG = "x" * 5_000_000


@pytest.fixture(scope="module")
def serving(sandbox_process: SandboxProcess) -> Iterator[GatewayProcess]:
    settings = of_sandbox(sandbox_process.urls, sandbox_process.environ)
    paths = "GET /v1/wallet/*/balances, POST /v1/wallet/*/balances"
    with GatewayProcess(settings | {"PHOENIX_PATHS": paths}) as process:
        process.wait_serving("phoenix.gateway.v1.LeaderboardService")
        yield process


@pytest.fixture
def channel(serving: GatewayProcess) -> Iterator[grpc.Channel]:
    """As clients have it by default: 4 MiB."""
    with grpc.insecure_channel(serving.address) as opened:
        yield opened


@pytest.fixture
def boards(channel: grpc.Channel) -> leaderboards_pb2_grpc.LeaderboardServiceStub:
    return leaderboards_pb2_grpc.LeaderboardServiceStub(channel)


@pytest.fixture
def board(sandbox: SandboxProcess) -> Iterator[str]:
    """A board of 900 users with 6,000 bytes each: 5.4 MB."""
    name = f"large-{uuid.uuid4().hex[:8]}"
    make(sandbox, name, {user: 1000 - place for place, user in enumerate(USERS)})
    sandbox.control("POST", "/settings", {"extra_bytes": 6000})
    yield name
    sandbox.control("POST", "/reset", {})


def test_a_page_ends_earlier_and_names_the_next(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, board: str
) -> None:
    """Every entry once, in order."""
    request = leaderboards_pb2.GetLeaderboardRequest(leaderboard_id=board, page_size=1000, max_staleness=NOW)
    pages = []
    while True:
        answer = boards.GetLeaderboard(request)
        pages.append([entry.user_id for entry in answer.leaderboard.entries])
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert USERS == [user for page in pages for user in page]
    assert 2 == len(pages)
    assert len(pages[0]) > 600


def test_a_page_of_a_snapshot_ends_earlier(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, board: str, sandbox: SandboxProcess
) -> None:
    """Its token goes on behind the cut."""
    at = Timestamp()
    at.FromJsonString(roll(sandbox, board)["snapshot_time"])
    request = leaderboards_pb2.GetSnapshotRequest(leaderboard_id=board, snapshot_time=at, page_size=1000)
    first = boards.GetSnapshot(request)
    request.page_token = first.next_page_token
    second = boards.GetSnapshot(request)
    found = [entry.user_id for answer in (first, second) for entry in answer.leaderboard.entries]
    assert (USERS, "") == (found, second.next_page_token)


def test_neighbours_that_cannot_be_cut_are_refused(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, board: str
) -> None:
    """With a message that says what to do; fewer are answered."""
    request = leaderboards_pb2.GetUserNeighborsRequest(leaderboard_id=board, user_id=USERS[450], page_size=900)
    with pytest.raises(grpc.RpcError) as refused:
        boards.GetUserNeighbors(request)
    assert (grpc.StatusCode.RESOURCE_EXHAUSTED, "ANSWER_TOO_LARGE") == (refused.value.code(), reason_of(refused.value))
    request.page_size = 100
    assert 100 == len(boards.GetUserNeighbors(request).leaderboard.entries)


def test_a_page_that_is_too_large_to_fetch_is_refused_and_costs_phoenix_nothing(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, board: str, sandbox: SandboxProcess
) -> None:
    """Above 8 MiB the gateway does not read on, nor ask again: it is no failure of Phoenix, and opens no circuit."""
    sandbox.control("POST", "/settings", {"extra_bytes": 12_000})
    request = leaderboards_pb2.GetLeaderboardRequest(leaderboard_id=board, page_size=1000, max_staleness=NOW)
    sandbox.control("DELETE", "/requests")
    for _ in range(6):
        with pytest.raises(grpc.RpcError) as refused:
            boards.GetLeaderboard(request)
        assert "ANSWER_TOO_LARGE" == reason_of(refused.value)
    seen = sandbox.control("GET", "/requests?surface=query")["requests"]
    assert 6 == sum(one["path"] != "/health" for one in seen)
    request.page_size = 100
    assert 100 == len(boards.GetLeaderboard(request).leaderboard.entries)


def test_one_entry_that_is_too_large_is_refused(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, board: str, sandbox: SandboxProcess
) -> None:
    """A page cannot be cut below one."""
    sandbox.control("POST", "/settings", {"extra_bytes": 4_300_000})
    with pytest.raises(grpc.RpcError) as refused:
        boards.GetLeaderboard(
            leaderboards_pb2.GetLeaderboardRequest(leaderboard_id=board, page_size=1, max_staleness=NOW)
        )
    assert "ANSWER_TOO_LARGE" == reason_of(refused.value)


def test_a_watch_that_no_client_would_receive_is_refused(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, board: str
) -> None:
    """The stream ends with the reason; a smaller watch is served."""
    request = leaderboards_pb2.WatchLeaderboardRequest(leaderboard_id=board, page_size=900)
    with pytest.raises(grpc.RpcError) as refused:
        next(boards.WatchLeaderboard(request, timeout=10))
    assert "ANSWER_TOO_LARGE" == reason_of(refused.value)


def test_the_rest_of_a_batch_is_refused_before_phoenix_is_asked(
    boards: leaderboards_pb2_grpc.LeaderboardServiceStub, board: str, sandbox: SandboxProcess
) -> None:
    """What fits is answered; the rest is refused item by item, most of it unasked."""
    items = [
        leaderboards_pb2.GetLeaderboardRequest(
            leaderboard_id=board, page_size=200, window_key="current" if number % 2 else "", max_staleness=NOW
        )
        for number in range(100)
    ]
    sandbox.control("DELETE", "/requests")
    results = boards.BatchGetLeaderboards(leaderboards_pb2.BatchGetLeaderboardsRequest(requests=items)).results
    answered = [result for result in results if result.HasField("response")]
    refused = [result.error for result in results if result.HasField("error")]
    assert (100, 3) == (len(results), len(answered))
    assert {"RESOURCE_EXHAUSTED"} == {grpc_name(error.code) for error in refused}
    assert all("4 MiB" in error.message for error in refused)
    asked = sandbox.control("GET", "/requests?surface=query")["requests"]
    assert len(asked) < 40


def grpc_name(code: int) -> str:
    return next(one.name for one in grpc.StatusCode if one.value[0] == code)


def test_a_list_of_boards_ends_earlier(channel: grpc.Channel, sandbox: SandboxProcess) -> None:
    """Phoenix lists all at once; the gateway cuts the page."""
    listed = [{"leaderboard_id": f"b{n}", "name": "x" * 250, "config": {"note": "y" * 1_500_000}} for n in range(5)]
    fault = {"surface": "admin", "path_prefix": "/", "kind": "status", "status": 200}
    sandbox.control("POST", "/faults", {**fault, "body": json.dumps({"leaderboards": listed})})
    stub = leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub(channel)
    request, found = leaderboard_admin_pb2.ListLeaderboardsRequest(), []
    while True:
        answer = stub.ListLeaderboards(request)
        found += [one.leaderboard_id for one in answer.leaderboards]
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    sandbox.control("DELETE", "/faults")
    assert [f"b{n}" for n in range(5)] == found


@pytest.mark.parametrize(("method", "effect"), [("GET", "none"), ("POST", "done")])
def test_a_call_says_whether_its_work_was_done(
    channel: grpc.Channel, sandbox: SandboxProcess, method: str, effect: str
) -> None:
    """A change whose answer is too large was made: it must not be sent again."""
    fault = {"surface": "query", "path_prefix": "/v1/wallet", "kind": "status", "status": 200}
    sandbox.control("POST", "/faults", {**fault, "body": json.dumps({"note": BIG})})
    request = phoenix_pb2.CallRequest(
        surface=phoenix_pb2.PHOENIX_SURFACE_QUERY, method=method, path="/v1/wallet/u/balances"
    )
    with pytest.raises(grpc.RpcError) as refused:
        phoenix_pb2_grpc.PhoenixServiceStub(channel).Call(request)
    sandbox.control("DELETE", "/faults")
    assert ("ANSWER_TOO_LARGE", effect) == (reason_of(refused.value), effect_of(refused.value))
