"""Boards on the sandbox's live socket: what is true of them, and what a watcher is shown."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from gateway.v1 import leaderboards_pb2, leaderboards_pb2_grpc
from gateway.v1.leaderboards_pb2 import WatchLeaderboardResponse
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
