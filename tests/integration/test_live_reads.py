"""GetLeaderboard of a watched board: from its live socket if that answers exactly, with a correct age."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from gateway.v1 import common_pb2, leaderboards_pb2_grpc
from gateway.v1.leaderboards_pb2 import (
    BatchGetLeaderboardsRequest,
    GetLeaderboardRequest,
    GetLeaderboardResponse,
    WatchLeaderboardRequest,
)
from tests.gateway_process import GatewayProcess
from tests.sandbox.client import Client
from tests.sandbox_process import SandboxProcess

LIVE = common_pb2.FRESHNESS_SOURCE_LIVE
SOCKET = common_pb2.FRESHNESS_SOURCE_SOCKET
NOW = Duration(seconds=0)
ROUNDS = 3
"""The socket of a machine that stops for a while is no longer live: reads are repeated until all of a round are."""
SCORES = {f"user-{number:03}": 2000 - 10 * number for number in range(150)}
Stub = leaderboards_pb2_grpc.LeaderboardServiceStub


@pytest.fixture
def stub(channel: grpc.Channel) -> Stub:
    return leaderboards_pb2_grpc.LeaderboardServiceStub(channel)


@pytest.fixture
def board(sandbox: SandboxProcess) -> Iterator[str]:
    """A board of 150 users."""
    name = f"live-{uuid.uuid4().hex[:8]}"
    sandbox.control("POST", f"/boards/{sandbox.environ['TENANT_ID']}/{name}", {"scores": SCORES})
    sandbox.control("POST", "/sockets", {"reset": True})
    yield name
    sandbox.control("POST", "/sockets", {"reset": True})
    sandbox.control("DELETE", "/faults")


@contextmanager
def watched(stub: Stub, board: str, **wish: Any) -> Iterator[Any]:
    """A stream that has its first board."""
    stream = stub.WatchLeaderboard(WatchLeaderboardRequest(leaderboard_id=board, **wish), timeout=60)
    next(stream)
    yield stream
    stream.cancel()


def get(stub: Stub, board: str, **wish: Any) -> GetLeaderboardResponse:
    return stub.GetLeaderboard(GetLeaderboardRequest(leaderboard_id=board, **wish), timeout=10)


def users(answer: GetLeaderboardResponse) -> list[str]:
    return [entry.user_id for entry in answer.leaderboard.entries]


def asked(sandbox: SandboxProcess, board: str) -> int:
    """How many reads of the board came to Phoenix."""
    requests = sandbox.control("GET", "/requests?surface=query")["requests"]
    return sum(f"/{board}" in request["path"] and request["status"] != 101 for request in requests)


def scored(sandbox: SandboxProcess, board: str, user: str, points: int) -> None:
    async def send() -> None:
        async with Client(sandbox) as client:
            await client.post("/v1/events", client.event(uuid.uuid4().hex, user, points, board))

    asyncio.run(send())


def reads_of(stub: Stub, board: str) -> list[GetLeaderboardResponse]:
    """Read it 30 times within 3 s."""
    answers = []
    for _ in range(30):
        answers.append(get(stub, board))
        time.sleep(0.1)
    return answers


def test_a_live_board_is_read_from_its_socket(stub: Stub, sandbox: SandboxProcess, board: str) -> None:
    """The same as Phoenix would answer, without asking it, and as old as is allowed at most."""
    truth = get(stub, board, max_staleness=NOW)
    with watched(stub, board) as stream:
        left = ROUNDS
        while True:
            before = asked(sandbox, board)
            answers = reads_of(stub, board)
            for answer in answers:
                assert (truth.leaderboard, truth.next_page_token) == (answer.leaderboard, answer.next_page_token)
                assert answer.freshness.source != SOCKET or answer.freshness.age.ToNanoseconds() <= 1_000_000_000
            left -= 1
            if (sources := {answer.freshness.source for answer in answers}) == {SOCKET} or not left:
                break
            wait_for_socket(stub, board)
        assert {SOCKET} == sources
        scored(sandbox, board, "user-149", 5000)
        assert "user-149" == next(stream).leaderboard.entries[0].user_id
        assert "user-149" == users(get(stub, board))[0]
        assert before == asked(sandbox, board)


def test_zero_staleness_still_asks_phoenix(stub: Stub, sandbox: SandboxProcess, board: str) -> None:
    """However live the board is."""
    with watched(stub, board):
        assert SOCKET == get(stub, board).freshness.source
        assert (LIVE, 1) == (get(stub, board, max_staleness=NOW).freshness.source, asked(sandbox, board))


def test_only_what_the_socket_certainly_has_is_read_from_it(stub: Stub, sandbox: SandboxProcess, board: str) -> None:
    """Any part of it, by the key that the window shows too; not what "current" may mean instead."""
    sandbox.control("POST", "/windows/roll", {"leaderboard_id": board, "window_key": "w-2"})
    for user, points in (("ada", 3), ("bob", 2)):
        scored(sandbox, board, user, points)
    with watched(stub, board):
        whole = get(stub, board, page_size=1000)
        assert (SOCKET, ["ada", "bob"], "") == (whole.freshness.source, users(whole), whole.next_page_token)
        top = get(stub, board, page_size=1)
        rest = get(stub, board, page_size=1, page_token=top.next_page_token)
        assert (SOCKET, ["ada"], SOCKET, ["bob"], "") == (
            top.freshness.source,
            users(top),
            rest.freshness.source,
            users(rest),
            rest.next_page_token,
        )
        assert SOCKET == get(stub, board, window_key="w-2").freshness.source
        assert LIVE == get(stub, board, window_key="current").freshness.source


def test_more_entries_than_are_live_are_asked_for(stub: Stub, sandbox: SandboxProcess, board: str) -> None:
    """The socket shows 100 of 150; a watcher of more makes it show them."""
    with watched(stub, board):
        assert (LIVE, 150) == ((every := get(stub, board, page_size=150)).freshness.source, len(users(every)))
        assert SOCKET == get(stub, board, page_size=100).freshness.source
        with watched(stub, board, page_size=1000):
            assert (SOCKET, 150) == ((every := get(stub, board, page_size=999)).freshness.source, len(users(every)))


def test_a_broken_or_silent_socket_serves_nothing(stub: Stub, sandbox: SandboxProcess, board: str) -> None:
    """While it reconnects, and while Phoenix sends nothing on an open connection."""
    with watched(stub, board):
        assert SOCKET == get(stub, board).freshness.source
        sandbox.control("POST", "/sockets", {"mute": True})
        scored(sandbox, board, "user-149", 5000)
        time.sleep(1.1)  # what is known is older now than may be served
        answer = get(stub, board)
        assert ("user-149", LIVE) == (users(answer)[0], answer.freshness.source)
        sandbox.control("POST", "/sockets", {"mute": False})
        wait_for_socket(stub, board)
        sandbox.control("POST", "/faults", {"surface": "query", "path_prefix": "/v1", "kind": "status", "status": 503})
        sandbox.control("POST", "/sockets", {"cut": True})
        time.sleep(1.1)
        assert SOCKET != get(stub, board, max_staleness=Duration(seconds=50)).freshness.source
        sandbox.control("DELETE", "/faults")
        wait_for_socket(stub, board)


def wait_for_socket(stub: Stub, board: str) -> None:
    until = time.monotonic() + 20
    while get(stub, board).freshness.source != SOCKET:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_batches_read_live_boards_too(stub: Stub, sandbox: SandboxProcess, board: str) -> None:
    """Item by item."""
    with watched(stub, board):
        request = BatchGetLeaderboardsRequest(requests=[GetLeaderboardRequest(leaderboard_id=board, page_size=5)])
        (result,) = stub.BatchGetLeaderboards(request, timeout=10).results
        assert (SOCKET, 5, 0) == (
            result.response.freshness.source,
            len(result.response.leaderboard.entries),
            asked(sandbox, board),
        )


@pytest.mark.parametrize("form", ["pages", "changes"])
def test_no_read_is_older_than_it_says(gateway: GatewayProcess, sandbox: SandboxProcess, board: str, form: str) -> None:
    """While scores change and frames are truncated, repeated, reordered and damaged, each answer is correct."""
    faults = {"cut": 0.01, "half": 0.005, "garbage": 0.05, "duplicate": 0.1, "reorder": 0.1, "unknown": 0.05}
    sandbox.control("POST", "/sockets", {"form": form, "faults": faults})
    accepted: list[tuple[float, int]] = []
    sources: dict[int, int] = {}
    too_old: list[tuple[float, float]] = []

    async def play() -> None:
        async with grpc.aio.insecure_channel(gateway.address) as channel, Client(sandbox) as client:
            stub = leaderboards_pb2_grpc.LeaderboardServiceStub(channel)
            stream: Any = stub.WatchLeaderboard(WatchLeaderboardRequest(leaderboard_id=board), timeout=60)
            watching = asyncio.create_task(consume(stream))
            reading = [asyncio.create_task(read(stub, staleness)) for staleness in (None, 0.2, 5.0)]
            for number in range(1, 301):
                await client.post(
                    "/v1/events", client.event(uuid.uuid4().hex, "leader", 10_000 if number == 1 else 1, board)
                )
                accepted.append((time.monotonic(), number))
                await asyncio.sleep(0.005)
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)
            stream.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def consume(stream: Any) -> None:
        async for _ in stream:
            pass

    async def read(stub: Any, staleness: float | None) -> None:
        request = GetLeaderboardRequest(leaderboard_id=board, page_size=1)
        if staleness is not None:
            request.max_staleness.FromNanoseconds(int(staleness * 1e9))
        while True:
            arrived_at = time.monotonic()
            answer = await stub.GetLeaderboard(request, timeout=10)
            now = time.monotonic()
            age_s = answer.freshness.age.ToNanoseconds() / 1e9
            sources[answer.freshness.source] = sources.get(answer.freshness.source, 0) + 1
            top = answer.leaderboard.entries[0]
            shown = int(top.score) - 9_999 if top.user_id == "leader" else 0
            # Everything that Phoenix had counted by the moment that the answer claims must be in it.
            certain = max((number for at, number in accepted if at < now - age_s - (now - arrived_at)), default=0)
            if shown < certain:
                too_old.append((age_s, certain - shown))
            if staleness is not None:
                assert age_s <= staleness + (now - arrived_at) + 0.01
            await asyncio.sleep(0.002)

    asyncio.run(play())
    assert [] == too_old
    assert sources.get(SOCKET, 0) > 20, sources
