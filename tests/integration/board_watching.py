"""Watchers and readers of a board that hold what they see against what Phoenix had counted."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from gateway.v1 import leaderboards_pb2, leaderboards_pb2_grpc
from gateway.v1.leaderboards_pb2 import GetLeaderboardRequest, WatchLeaderboardRequest, WatchLeaderboardResponse
from tests.sandbox.client import Client
from tests.sandbox_process import SandboxProcess

SUBSCRIBED = leaderboards_pb2.RESYNC_REASON_SUBSCRIBED
LEADER = "leader"
_OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
"""Else all channels of a process share one, which leads to one worker."""
Row = tuple[int, str, float]


@dataclass
class Scores:
    """A board's scores as they must be, and when Phoenix had accepted each; the leader's score counts the moves."""

    board: str
    scores: dict[str, float] = field(default_factory=dict)
    accepted: list[tuple[float, int]] = field(default_factory=list)

    def make(self, sandbox: SandboxProcess) -> None:
        """Create the board at Phoenix with these scores."""
        scores = {**self.scores, LEADER: self.scores.get(LEADER, 1e6)}
        self.scores = scores
        sandbox.control("POST", f"/boards/{sandbox.environ['TENANT_ID']}/{self.board}", {"scores": scores})

    async def move(self, client: Client, user: str = LEADER, points: int = 1) -> None:
        """Send one event and note when it was accepted."""
        answer = await client.post("/v1/events", client.event(uuid.uuid4().hex, user, points, self.board))
        assert 202 == answer.status
        self.scores[user] = self.scores.get(user, 0) + points
        if user == LEADER:
            self.accepted.append((time.monotonic(), int(self.scores[user])))

    def rows(self, limit: int = 100) -> list[Row]:
        """Return the board as it must be shown."""
        order = sorted(self.scores, key=lambda user: (-self.scores[user], user))[:limit]
        return [(place + 1, user, float(self.scores[user])) for place, user in enumerate(order)]

    def certain(self, moment: float) -> int:
        """Return the leader's score that every correct view of the board at this time shows."""
        return max((score for at, score in self.accepted if at < moment), default=0)


def rows_of(board: leaderboards_pb2.Leaderboard) -> list[Row]:
    """Return what a message shows."""
    return [(entry.rank, entry.user_id, entry.score) for entry in board.entries]


class Watcher:
    """Watches and comes back when its stream ends; notes what breaks the contract."""

    def __init__(self, board: str, address: Callable[[], str], page_size: int = 100) -> None:
        self._request = WatchLeaderboardRequest(leaderboard_id=board, page_size=page_size)
        self._address = address
        self.page_size = page_size
        self.last: WatchLeaderboardResponse | None = None
        self.epochs: list[str] = []
        self.streams = 0
        self.reasons: list[str] = []
        self.broken: list[str] = []

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            with contextlib.suppress(grpc.RpcError):
                async with grpc.aio.insecure_channel(self._address(), options=_OWN_CONNECTION) as channel:
                    stub = leaderboards_pb2_grpc.LeaderboardServiceStub(channel)
                    stream: Any = stub.WatchLeaderboard(self._request)
                    await self._follow(stream)
            await asyncio.sleep(0.05)

    async def _follow(self, stream: Any) -> None:
        self.streams += 1
        before: WatchLeaderboardResponse | None = None
        async for update in stream:
            if before is None:
                if (update.resync_reason, update.epoch in self.epochs and update.sequence == 1) != (SUBSCRIBED, False):
                    self.broken.append("a stream does not begin with a snapshot of its own")
            elif update.epoch == before.epoch:
                if update.sequence != before.sequence + update.skipped + 1:
                    self.broken.append(f"{before.sequence} + {update.skipped} > {update.sequence}")
            elif update.resync_reason in (0, SUBSCRIBED):
                self.broken.append("an epoch without a reason")
            if update.epoch not in self.epochs:
                self.epochs.append(update.epoch)
            self.last = before = update

    def shows(self, scores: Scores) -> bool:
        """Whether the newest board is the true one."""
        return self.last is not None and rows_of(self.last.leaderboard) == scores.rows(self.page_size)


class Reader:
    """Reads a board over and over and notes which answers are older than they say, or fail."""

    def __init__(self, scores: Scores, address: Callable[[], str], staleness_s: float | None = None) -> None:
        self._scores = scores
        self._address = address
        self._request = GetLeaderboardRequest(leaderboard_id=scores.board, page_size=1)
        if staleness_s is not None:
            self._request.max_staleness.FromNanoseconds(int(staleness_s * 1e9))
        self.sources: dict[int, int] = {}
        self.too_old: list[tuple[int, float, float]] = []
        self.failed: list[str] = []

    async def run(self) -> None:
        """Read until cancelled."""
        async with grpc.aio.insecure_channel(self._address(), options=_OWN_CONNECTION) as channel:
            stub = leaderboards_pb2_grpc.LeaderboardServiceStub(channel)
            while True:
                arrived_at = time.monotonic()
                try:
                    answer: Any = await stub.GetLeaderboard(self._request, timeout=10)
                except grpc.aio.AioRpcError as error:
                    self.failed.append(str(error.details()))
                    continue
                self._judge(answer, arrived_at)
                await asyncio.sleep(0.002)

    def _judge(self, answer: leaderboards_pb2.GetLeaderboardResponse, arrived_at: float) -> None:
        """Everything that Phoenix had counted at the moment that the answer claims must be in it."""
        source = answer.freshness.source
        age_s = answer.freshness.age.ToNanoseconds() / 1e9
        self.sources[source] = self.sources.get(source, 0) + 1
        certain = self._scores.certain(arrived_at - age_s)
        top = answer.leaderboard.entries[0]
        shown = int(top.score) if top.user_id == LEADER else 0
        if shown < certain:
            self.too_old.append((source, age_s, certain - shown))


async def until(condition: Callable[[], bool], within_s: float = 40.0) -> None:
    """Wait for a condition. Raises: TimeoutError."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what is waited for is no event
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def running(*works: Any) -> Any:
    """Run the `run` method during the block, then cancel it."""
    tasks = [asyncio.create_task(work.run()) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result
