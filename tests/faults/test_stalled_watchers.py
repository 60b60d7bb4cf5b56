"""Watchers that stop reading for a minute: what they cost, and whom they delay."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import grpc
import pytest

from gateway.v1 import leaderboards_pb2_grpc
from gateway.v1.leaderboards_pb2 import WatchLeaderboardRequest
from tests.gateway_process import GatewayProcess, resident_mib
from tests.integration.board_watching import Scores, Watcher, rows_of, running, until
from tests.sandbox.client import Client
from tests.sandbox_process import SandboxProcess

STALLED = 100
STALL_S = 60.0
EACH_KIB = 100.0
"""More than a watcher's own memory; unbounded queues would have held 4 MB each by then."""
# A small receive window, so that what is not read stays the gateway's trouble and not this process's.
SMALL = (("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536))


@pytest.mark.faults
@pytest.mark.timeout(180)  # a minute of stalling, and the time to catch up
async def test_watchers_that_stop_reading_for_a_minute_cost_little_and_delay_no_other(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    """Each gets the newest board at the end, with the number of skipped updates."""
    scores = Scores(board=f"stall-{uuid.uuid4().hex[:8]}", scores={f"user-{n:03}": float(n) for n in range(95)})
    sandbox.control("POST", "/settings", {"extra_members": True})
    scores.make(sandbox)
    quick = Watcher(scores.board, lambda: gateway.address)
    lags: list[float] = []
    async with (
        grpc.aio.insecure_channel(gateway.address, options=SMALL) as idle,
        Client(sandbox) as client,
        running(quick),
    ):
        stub = leaderboards_pb2_grpc.LeaderboardServiceStub(idle)
        stalled: list[Any] = [
            stub.WatchLeaderboard(WatchLeaderboardRequest(leaderboard_id=scores.board)) for _ in range(STALLED)
        ]
        for stream in stalled:
            await stream.read()
        await until(lambda: quick.shows(scores))
        before_mib = resident_mib(gateway.pid)
        ends_at, grown = time.monotonic() + STALL_S, 0.0
        while time.monotonic() < ends_at:
            began = time.monotonic()
            await scores.move(client)
            await until(lambda: quick.shows(scores), 10)
            lags.append(time.monotonic() - began)
            grown = max(grown, resident_mib(gateway.pid) - before_mib)
            await asyncio.sleep(0.05)
        assert grown * 1024 / STALLED < EACH_KIB
        assert ([], 1) == (quick.broken, quick.streams)
        assert sorted(lags)[len(lags) // 2] < 0.5
        for stream in stalled:
            skipped, newest = 0, await asyncio.wait_for(stream.read(), 10)
            while rows_of(newest.leaderboard) != scores.rows():
                skipped += newest.skipped
                newest = await asyncio.wait_for(stream.read(), 10)
            assert skipped + newest.skipped > len(lags) / 4
            stream.cancel()
