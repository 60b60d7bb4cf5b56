"""WatchLeaderboard when something goes wrong: cuts, garbage, slow readers, rejected credentials, a stop."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any
from urllib.request import ProxyHandler, build_opener

import grpc
import pytest

from gateway.v1 import leaderboards_pb2_grpc
from gateway.v1.leaderboards_pb2 import WatchLeaderboardRequest, WatchLeaderboardResponse
from tests.gateway_process import GatewayProcess, of_sandbox, reason_of, resident_mib
from tests.integration.live_boards import LOST, SUBSCRIBED, board, rows, score, sockets, stub, truth, wait
from tests.sandbox.client import Client
from tests.sandbox_process import SandboxProcess

__all__ = ["board", "stub"]


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
            async with asyncio.timeout(20):
                while len(last) < 6:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            await sandbox.control_async("POST", "/sockets", {"cut": True})  # one disconnect is certain
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
