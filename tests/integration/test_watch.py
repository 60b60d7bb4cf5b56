"""WatchLeaderboard end to end: a gateway before the sandbox's live socket."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import grpc
import pytest

from gateway.v1 import leaderboards_pb2_grpc
from gateway.v1.leaderboards_pb2 import WatchFilter, WatchLeaderboardRequest
from tests.gateway_process import ROOT, GatewayProcess, fields_of, of_sandbox, reason_of
from tests.integration.live_boards import LOST, SUBSCRIBED, board, rows, scored, sockets, stub, truth
from tests.sandbox_process import SandboxProcess

__all__ = ["board", "stub"]


def test_a_watcher_sees_the_board_and_its_changes(
    stub: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess, board: str
) -> None:
    """A snapshot first, then the update, in one epoch."""
    stream = stub.WatchLeaderboard(WatchLeaderboardRequest(leaderboard_id=board), timeout=20)
    first = next(stream)
    assert (truth(sandbox, board), 1, SUBSCRIBED) == (rows(first), first.sequence, first.resync_reason)
    scored(sandbox, board)
    second = next(stream)
    assert ("user-029", first.epoch, 2, 0, 0) == (
        second.leaderboard.entries[0].user_id,
        second.epoch,
        second.sequence,
        second.skipped,
        second.resync_reason,
    )
    stream.cancel()


def test_many_watchers_share_one_socket(
    stub: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess, board: str
) -> None:
    """Twenty watchers, one handshake; those who come later have the same epoch."""
    streams = [stub.WatchLeaderboard(WatchLeaderboardRequest(leaderboard_id=board), timeout=20) for _ in range(20)]
    epochs = {next(stream).epoch for stream in streams}
    assert (1, 1) == (len(epochs), sockets(sandbox)["opened"])
    scored(sandbox, board)
    assert {2} == {next(stream).sequence for stream in streams}
    for stream in streams:
        stream.cancel()


def test_a_window_is_configured_and_the_top_is_cut(
    stub: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess, board: str
) -> None:
    """On every connection, also after a disconnect. Unwanted entries are dropped in the gateway."""
    (rolled,) = sandbox.control("POST", "/windows/roll", {"leaderboard_id": board})["rolled"]
    scored(sandbox, board, "newcomer", 1)
    request = WatchLeaderboardRequest(
        leaderboard_id=board, page_size=10, filter=WatchFilter(top_n=3), window_key=rolled["closed"]
    )
    stream = stub.WatchLeaderboard(request, timeout=20)
    first = next(stream)
    assert (["user-000", "user-001", "user-002"], rolled["closed"]) == (
        [each.user_id for each in first.leaderboard.entries],
        first.leaderboard.window_key,
    )
    sockets(sandbox, cut=True)
    again = next(stream)
    assert (rows(first), LOST) == (rows(again), again.resync_reason)
    assert first.epoch != again.epoch
    configured = [each for each in sockets(sandbox)["heard"] if each["type"] == "configure"]
    wanted = {"type": "configure", "page": 1, "page_size": 100, "window_key": rolled["closed"]}
    assert [wanted] * 2 == configured
    stream.cancel()


@pytest.mark.parametrize(
    ("wish", "fields"),
    [
        ({"page_size": 0}, ["page_size"]),
        ({"page_size": 1001}, ["page_size"]),
        ({"window_key": "a b"}, ["window_key"]),
        ({"filter": WatchFilter()}, ["filter.kind"]),
        ({"filter": WatchFilter(top_n=0)}, ["filter.top_n"]),
        ({"filter": WatchFilter.FromString(b"\x9a\x06\x01x")}, ["filter.kind"]),  # one that is not known here
        ({"leaderboard_id": ""}, ["leaderboard_id"]),
        ({"leaderboard_id": "a/b"}, ["leaderboard_id"]),
    ],
)
def test_bad_input_names_the_field(
    stub: leaderboards_pb2_grpc.LeaderboardServiceStub, wish: dict[str, Any], fields: list[str]
) -> None:
    """Before anything is opened."""
    with pytest.raises(grpc.RpcError) as reported:
        next(stub.WatchLeaderboard(WatchLeaderboardRequest(**{"leaderboard_id": "xp", **wish}), timeout=10))
    assert ("INVALID_FIELD", fields) == (reason_of(reported.value), fields_of(reported.value))


def test_watchers_of_different_sizes_share_one_socket(
    stub: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess, board: str
) -> None:
    """Each watcher sees as many entries as it requested, even if the largest comes last and needs larger pages."""
    crowd = {f"user-{number:03}": 1000 - number for number in range(300)}
    sandbox.control("POST", f"/boards/{sandbox.environ['TENANT_ID']}/{board}", {"scores": crowd})
    wishes: list[dict[str, Any]] = [
        {"filter": WatchFilter(top_n=3)},
        {},
        {"page_size": 10},
        {"page_size": 1000, "filter": WatchFilter(top_n=250)},
        {"page_size": 1000},
    ]
    streams = []
    for wish in wishes:
        streams.append(stub.WatchLeaderboard(WatchLeaderboardRequest(leaderboard_id=board, **wish), timeout=20))
        assert SUBSCRIBED == (first := next(streams[-1])).resync_reason
        assert truth(sandbox, board, [3, 100, 10, 250, 300][len(streams) - 1]) == rows(first)
    scored(sandbox, board, "user-150", 5)  # seen by the last two alone
    assert [250, 300] == [len(next(stream).leaderboard.entries) for stream in streams[3:]]
    scored(sandbox, board, "user-150", 5000)
    assert [3, 100, 10, 250, 300] == [len(rows(next(stream))) for stream in streams]
    sockets(sandbox, cut=True)
    again = [next(stream) for stream in streams]
    assert ([LOST] * 5, {1}) == ([each.resync_reason for each in again], {each.sequence for each in again})
    assert truth(sandbox, board, 300) == rows(again[-1])
    assert (2, 5) == (sockets(sandbox)["opened"], len({each.epoch for each in again}))
    for stream in streams:
        stream.cancel()


def test_a_board_that_is_not_there_or_not_active_says_so(
    stub: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess, board: str
) -> None:
    """Although a refused handshake has no reason."""

    def reason(name: str) -> str:
        with pytest.raises(grpc.RpcError) as reported:
            next(stub.WatchLeaderboard(WatchLeaderboardRequest(leaderboard_id=name), timeout=10))
        return reason_of(reported.value)

    sandbox.control("POST", f"/boards/{sandbox.environ['TENANT_ID']}/{board}/status", {"status": "inactive"})
    assert ("PHOENIX_NOT_FOUND", "BOARD_NOT_ACTIVE") == (reason("nowhere"), reason(board))


def test_a_board_that_is_switched_off_ends_its_watchers_with_the_reason(
    stub: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess, board: str
) -> None:
    """After Phoenix has answered so more than once."""
    stream = stub.WatchLeaderboard(WatchLeaderboardRequest(leaderboard_id=board), timeout=30)
    next(stream)
    sandbox.control("POST", f"/boards/{sandbox.environ['TENANT_ID']}/{board}/status", {"status": "archived"})
    with pytest.raises(grpc.RpcError) as reported:
        next(stream)
    assert "BOARD_NOT_ACTIVE" == reason_of(reported.value)


def test_the_newer_path_is_a_setting(sandbox: SandboxProcess, board: str) -> None:
    """No tenant in the path, a tenant token in the header."""
    settings = {**of_sandbox(sandbox.urls, sandbox.environ), "WEBSOCKET_AUTH": "bearer"}
    with GatewayProcess(settings) as gateway, grpc.insecure_channel(gateway.address) as channel:
        stub = leaderboards_pb2_grpc.LeaderboardServiceStub(channel)
        stream = stub.WatchLeaderboard(WatchLeaderboardRequest(leaderboard_id=board), timeout=20)
        assert truth(sandbox, board) == rows(next(stream))
        (handshake,) = [
            each for each in sandbox.control("GET", "/requests?surface=query")["requests"] if each["status"] == 101
        ]
        assert (f"/v1/leaderboards/{board}/ws", "") == (handshake["path"], handshake["query"])
        stream.cancel()


def test_watch_and_top_print_the_board(gateway: GatewayProcess, sandbox: SandboxProcess, board: str) -> None:
    """For people and for pipes."""

    def reported(*arguments: str) -> str:
        command = [sys.executable, "-m", "gateway", *arguments, "--target", gateway.address]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout

    line = json.loads(reported("watch", board, "--json", "--count", "1", "--top", "2"))
    assert ["user-000", "user-001"] == [each["user_id"] for each in line["leaderboard"]["entries"]]
    assert "user-001" in reported("watch", board, "--count", "1", "--top", "2")
    printed = reported("top", board, "--top", "2")
    assert ("user-001" in printed, "user-002" in printed) == (True, False)
    assert 2 == len(json.loads(reported("top", board, "--top", "2", "--json"))["leaderboard"]["entries"])
