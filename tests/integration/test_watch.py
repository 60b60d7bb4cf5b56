"""WatchLeaderboard end to end: a gateway before the sandbox's live socket, with everything that can go wrong there."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.request import ProxyHandler, build_opener

import grpc
import pytest

from gateway.v1 import leaderboards_pb2, leaderboards_pb2_grpc
from gateway.v1.leaderboards_pb2 import WatchFilter, WatchLeaderboardRequest, WatchLeaderboardResponse
from tests.gateway_process import ROOT, GatewayProcess, fields_of, of_sandbox, reason_of, resident_mib
from tests.sandbox.client import Client
from tests.sandbox_process import SandboxProcess

SCORES = {f"user-{number:03}": 1000 - 10 * number for number in range(30)}
SUBSCRIBED = leaderboards_pb2.RESYNC_REASON_SUBSCRIBED
LOST = leaderboards_pb2.RESYNC_REASON_CONNECTION_LOST


@pytest.fixture
def board(sandbox: SandboxProcess) -> Iterator[str]:
    """A board of 30 users without watchers."""
    name = f"live-{uuid.uuid4().hex[:8]}"
    sandbox.control("POST", f"/boards/{sandbox.environ['TENANT_ID']}/{name}", {"scores": SCORES})
    sandbox.control("POST", "/sockets", {"reset": True})
    yield name
    sandbox.control("POST", "/sockets", {"reset": True})


@pytest.fixture
def stub(channel: grpc.Channel) -> leaderboards_pb2_grpc.LeaderboardServiceStub:
    return leaderboards_pb2_grpc.LeaderboardServiceStub(channel)


def sockets(sandbox: SandboxProcess, **wish: Any) -> Any:
    return sandbox.control("POST", "/sockets", wish)


def truth(sandbox: SandboxProcess, board: str, limit: int = 100) -> list[tuple[int, str, float]]:
    (tenant,) = sandbox.control("GET", "/state")["tenants"].values()
    (scores,) = [each["scores"] for each in tenant["boards"] if each["leaderboard_id"] == board]
    order = sorted(scores, key=lambda user: (-scores[user], user))[:limit]
    return [(place + 1, user, float(scores[user])) for place, user in enumerate(order)]


def rows(update: WatchLeaderboardResponse) -> list[tuple[int, str, float]]:
    return [(each.rank, each.user_id, each.score) for each in update.leaderboard.entries]


async def score(client: Client, board: str, user: str, points: int) -> None:
    answer = await client.post("/v1/events", client.event(uuid.uuid4().hex, user, points, board))
    assert 202 == answer.status


def scored(sandbox: SandboxProcess, board: str, user: str = "user-029", points: int = 5000) -> None:
    async def send() -> None:
        async with Client(sandbox) as client:
            await score(client, board, user, points)

    asyncio.run(send())


def wait(condition: Callable[[], bool], within_s: float = 10) -> None:
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


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


@pytest.mark.parametrize("form", ["pages", "changes"])
@pytest.mark.timeout(90)  # a thousand updates, with waits between reconnects
def test_whatever_happens_every_watcher_ends_with_the_true_board(
    gateway: GatewayProcess, sandbox: SandboxProcess, board: str, form: str
) -> None:
    """1,000 updates with cuts, half frames, garbage, duplicates, disorder and unknown messages."""
    faults = {"cut": 0.003, "half": 0.003, "garbage": 0.03, "duplicate": 0.1, "reorder": 0.1, "unknown": 0.03}
    sockets(sandbox, form=form, faults=faults, heartbeat_ms=200)
    last: dict[int, WatchLeaderboardResponse] = {}
    epochs: set[str] = set()
    broken: list[str] = []

    async def watch(channel: grpc.aio.Channel, number: int) -> None:
        stub = leaderboards_pb2_grpc.LeaderboardServiceStub(channel)
        stream: Any = stub.WatchLeaderboard(
            WatchLeaderboardRequest(leaderboard_id=board, page_size=[100, 10][number % 2]), timeout=80
        )
        async for update in stream:
            before = last.get(number)
            if before is not None and before.epoch == update.epoch:
                if update.sequence != before.sequence + update.skipped + 1:
                    broken.append(f"{before.sequence} + {update.skipped} > {update.sequence}")
            elif before is not None and update.resync_reason in (0, SUBSCRIBED):
                broken.append("an epoch without a reason")
            last[number] = update
            epochs.add(update.epoch)

    async def play() -> None:
        async with grpc.aio.insecure_channel(gateway.address) as channel, Client(sandbox) as client:
            watching = [asyncio.create_task(watch(channel, number)) for number in range(6)]
            for number in range(1000):
                await score(client, board, f"user-{number * 7 % 40:03}", 1 + number * 13 % 50)
            await sandbox.control_async("POST", "/sockets", {"faults": {}})
            await score(client, board, "user-011", 1)
            async with asyncio.timeout(40):
                while not all(number in last and rows(last[number]) == wanted(number) for number in range(6)):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    def wanted(number: int) -> list[tuple[int, str, float]]:
        return truth(sandbox, board, [100, 10][number % 2])

    asyncio.run(play())
    assert ([], True) == (broken, len(epochs) > 2)


def test_a_watcher_that_does_not_read_delays_no_other(
    gateway: GatewayProcess, sandbox: SandboxProcess, board: str
) -> None:
    """The one beside it sees each update; it costs the gateway little, and then gets the newest board."""

    crowd = {f"user-{number:03}": number for number in range(90)}

    async def play() -> None:
        # A small receive window, so that what is not read stays the gateway's trouble and not this process's.
        other = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.http2.bdp_probe", 0),
            ("grpc.http2.lookahead_bytes", 65536),
        ]
        sandbox.control("POST", f"/boards/{sandbox.environ['TENANT_ID']}/{board}", {"scores": crowd})
        sandbox.control("POST", "/settings", {"extra_members": True})
        async with (
            grpc.aio.insecure_channel(gateway.address) as channel,
            grpc.aio.insecure_channel(gateway.address, options=other) as idle_channel,
            Client(sandbox) as client,
        ):
            request = WatchLeaderboardRequest(leaderboard_id=board)
            slow: Any = leaderboards_pb2_grpc.LeaderboardServiceStub(idle_channel).WatchLeaderboard(request)
            quick: Any = leaderboards_pb2_grpc.LeaderboardServiceStub(channel).WatchLeaderboard(request)
            assert 1 == (await slow.read()).sequence
            epoch = (await quick.read()).epoch
            before_mib = resident_mib(gateway.pid)
            for number in range(400):
                await score(client, board, f"user-{number % 90:03}", 7)
                assert (await asyncio.wait_for(quick.read(), 5)).skipped == 0
            assert resident_mib(gateway.pid) - before_mib < 8
            newest, skipped = await slow.read(), 0
            while rows(newest) != truth(sandbox, board):
                skipped += newest.skipped
                newest = await asyncio.wait_for(slow.read(), 5)
            assert (epoch, True) == (newest.epoch, skipped + newest.skipped > 0)
            slow.cancel()
            quick.cancel()

    asyncio.run(play())


def test_a_signature_is_new_for_every_connection_and_checked(
    stub: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess, board: str
) -> None:
    """A Phoenix whose clock differs refuses the handshake, and the caller's error names the cause."""
    sandbox.control("POST", "/clock", {"offset_s": 4000})
    with pytest.raises(grpc.RpcError) as reported:
        next(stub.WatchLeaderboard(WatchLeaderboardRequest(leaderboard_id=board), timeout=10))
    assert "PHOENIX_REJECTED_CREDENTIALS" == reason_of(reported.value)


def test_watchers_outlive_credentials_that_are_rejected_for_a_while(
    gateway: GatewayProcess,
    stub: leaderboards_pb2_grpc.LeaderboardServiceStub,
    sandbox: SandboxProcess,
    board: str,
) -> None:
    """A clock that is put right costs them a resync; operators hear of every rejection."""
    before = rejections(gateway)
    stream = stub.WatchLeaderboard(WatchLeaderboardRequest(leaderboard_id=board), timeout=50)
    first = next(stream)
    sandbox.control("POST", "/clock", {"offset_s": 4000})
    sockets(sandbox, cut=True)
    wait(lambda: rejections(gateway) >= before + 3)
    sandbox.control("POST", "/clock", {"offset_s": 0})
    again = next(stream)
    assert (rows(first), LOST) == (rows(again), again.resync_reason)
    stream.cancel()


def rejections(gateway: GatewayProcess) -> float:
    with build_opener(ProxyHandler({})).open(f"http://{gateway.admin_address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.search(r'^phoenix_gateway_credentials_rejected_total\{surface="query"\} (\S+)$', text, re.MULTILINE)
    assert found is not None
    return float(found[1])


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


def test_a_stop_ends_watchers_with_its_reason(sandbox: SandboxProcess, board: str) -> None:
    """SIGTERM: the streams end with STOPPING and the upstream socket closes, without waiting for the drain."""
    with (
        GatewayProcess(of_sandbox(sandbox.urls, sandbox.environ)) as gateway,
        grpc.insecure_channel(gateway.address) as channel,
    ):
        stub = leaderboards_pb2_grpc.LeaderboardServiceStub(channel)
        stream = stub.WatchLeaderboard(WatchLeaderboardRequest(leaderboard_id=board), timeout=20)
        next(stream)
        began = time.monotonic()
        assert 0 == gateway.stop()
        with pytest.raises(grpc.RpcError) as ended:
            next(stream)
        assert (grpc.StatusCode.UNAVAILABLE, "STOPPING") == (ended.value.code(), reason_of(ended.value))
        assert time.monotonic() - began < 8
    wait(lambda: sockets(sandbox)["open"] == 0)


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
