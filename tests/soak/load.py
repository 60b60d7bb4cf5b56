"""The callers of a soak: events of each kind of delivery, wallet moves, every other RPC, and watchers.

Each keeps what it was told, so that `verdict.py` can compare it with what Phoenix and the ledger have.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

import grpc

from gateway.v1 import leaderboards_pb2, leaderboards_pb2_grpc
from tests.examples.player import Player
from tests.faults.event_load import Load, LoadOptions
from tests.gateway_process import reason_of
from tests.integration.method_requests import _MADE, _STREAMS_IN, _STREAMS_OUT, answer_class, request_for
from tests.soak.site import Site

V1 = "phoenix.gateway.v1."
UNARY = [name for name in _MADE if name.rpartition("/")[2] not in (*_STREAMS_IN, *_STREAMS_OUT)]
OPTIONS = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200))
CALL_S = 10.0
WORKERS = 16
CALIBRATE_S = 5.0
PLAYERS = 2
ANSWERED_WITHIN_S = 120.0
"""Phoenix sends a move again for so long. One that has no final answer then fails the soak."""
EVENTS = {"singles": 3, "batches": 1, "streams": 1, "batch_size": 10, "pause_s": 0.2, "resends_unknown": True}
NOT_FOUND = frozenset(
    {
        *("LeaderboardService/GetSnapshot", "LeaderboardService/GetUserSnapshot", "WalletService/GetWalletEvidence"),
        *("WalletService/RecordWalletOutcome", "WalletService/SettleUnreadableWebhook"),
    }
)
"""The requests of these methods name what does not exist: PHOENIX_NOT_FOUND is the answer of a healthy gateway."""
CREATE = "LeaderboardAdminService/CreateLeaderboard"
BOARDS = 100
"""So many different ones are created; another one of a name is PHOENIX_CONFLICT. With one for each call, thousands
would be listed in the end, and the p99 would be that of the list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """One call of the mixed load. `reason` is empty for success, and the status where no reason came."""

    at: float
    method: str
    took_s: float
    reason: str


class MixedLoad:
    """All unary methods in a random order, at half of the rate that was reached without a pause."""

    def __init__(self, site: Site, rng: random.Random) -> None:
        self._site = site
        self._rng = rng
        self._stack = AsyncExitStack()
        self._calls: list[dict[str, Any]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._interval_s = 0.0
        self._due = 0.0
        self.rate_per_s = 0.0
        self.ended: list[Ended] = []
        self.updates: list[float] = []
        """When the watchers got an update (monotonic)."""
        self.broken: list[str] = []
        """What ended a caller, which goes on until it is stopped."""

    async def __aenter__(self) -> Self:
        for gateway in self._site.gateways:
            channel = grpc.aio.insecure_channel(gateway.address, options=OPTIONS)
            await self._stack.enter_async_context(channel)
            self._calls.append({name: _callable(channel, name) for name in UNARY})
            self._tasks.append(asyncio.create_task(self._watch(channel)))
        self._tasks += [asyncio.create_task(self._work()) for _ in range(WORKERS)]
        await asyncio.sleep(CALIBRATE_S)
        peak_per_s = len(self.ended) / CALIBRATE_S
        self.rate_per_s = peak_per_s / 2
        self._interval_s, self._due = 1 / self.rate_per_s, time.monotonic()
        self.ended.clear()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        self.broken = [repr(end) for end in ends if not isinstance(end, asyncio.CancelledError)]
        await self._stack.aclose()

    async def _work(self) -> None:
        while True:
            if self._interval_s:
                self._due = max(self._due + self._interval_s, time.monotonic() - 1.0)
                await asyncio.sleep(self._due - time.monotonic())
            name = self._rng.choice(UNARY)
            call = self._rng.choice(self._calls)[name]
            began = time.monotonic()
            reason = ""
            try:
                await call(self._request(name), timeout=CALL_S)
            except grpc.aio.AioRpcError as error:
                reason = reason_of(error) or error.code().name
            self.ended.append(Ended(at=began, method=name, took_s=time.monotonic() - began, reason=reason))

    def _request(self, name: str) -> Any:
        request: Any = request_for(V1 + name)
        if name == CREATE:
            request.leaderboard_id = f"made-{self._rng.randrange(BOARDS)}"
        return request

    async def _watch(self, channel: grpc.aio.Channel) -> None:
        """Watch the board of the events without end."""
        stub: Any = leaderboards_pb2_grpc.LeaderboardServiceStub(channel)
        request = leaderboards_pb2.WatchLeaderboardRequest(leaderboard_id="xp")
        while True:
            try:
                async for _ in stub.WatchLeaderboard(request, wait_for_ready=True):
                    self.updates.append(time.monotonic())
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.2)


class WalletLoad:
    """Players whose moves Phoenix sends to the example wallet, and sends again until they have a final answer."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._ends = False
        self._tasks: list[asyncio.Task[None]] = []
        self.moves: dict[str, str] = {}
        """How Phoenix treated the last answer to each move, by its key."""

    def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._play()) for _ in range(PLAYERS)]

    async def finish(self) -> None:
        """Begin no new move; wait until each has its answer."""
        self._ends = True
        await asyncio.gather(*self._tasks)

    async def _play(self) -> None:
        player = Player(self._site.sandbox, self._site.wallet, deposit="1000000.00")
        while not self._ends:
            key = str(uuid.uuid4())
            self.moves[key] = "unanswered"
            until = time.monotonic() + ANSWERED_WITHIN_S
            while self.moves[key] != "success" and time.monotonic() < until:
                wish = {"retries": 5, "pause_ms": 50, "timeout_s": 5}  # within the time of one control request
                report = await asyncio.to_thread(player.send, "reserve_cash", "0.01", key, **wish)
                self.moves[key] = report["treatment"]
            await asyncio.sleep(0.2)


class Callers:
    """All callers together."""

    def __init__(self, site: Site, rng: random.Random) -> None:
        self.unfinished: list[str] = []
        """Callers that had no final answer when the time was over."""
        self.mixed = MixedLoad(site, rng)
        self.wallet = WalletLoad(site)
        one, two = site.gateways
        self.direct = Load(one.address, LoadOptions(**EVENTS))  # type: ignore[arg-type]
        self.durable = Load(two.address, LoadOptions(durable=True, **EVENTS))  # type: ignore[arg-type]

    async def __aenter__(self) -> Self:
        self.wallet.start()
        self.direct.start()
        self.durable.start()
        await self.mixed.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.mixed.__aexit__(*error)
        last = {"direct events": self.direct.finish(), "durable events": self.durable.finish()}
        found = await asyncio.gather(*last.values(), self.wallet.finish(), return_exceptions=True)
        names = [*last, "wallet moves"]
        self.unfinished = [f"{name}: {one!r}" for name, one in zip(names, found, strict=True) if one is not None]
        self.unfinished += [f"mixed calls: {one}" for one in self.mixed.broken]


def p99_ms(calls: Sequence[Ended]) -> float:
    """Return the p99 of the successful calls."""
    took = sorted(one.took_s for one in calls if not one.reason)
    return statistics.quantiles(took, n=100)[98] * 1000 if len(took) > 1 else 0.0


def unexpected(calls: Sequence[Ended]) -> Counter[str]:
    """Return the failures that a healthy gateway does not answer with."""
    return Counter(f"{one.method} {one.reason}" for one in calls if one.reason and not _is_healthy(one))


def _is_healthy(refused: Ended) -> bool:
    if refused.reason == "PHOENIX_NOT_FOUND":
        return refused.method in NOT_FOUND
    return refused.reason == "PHOENIX_CONFLICT" and refused.method == CREATE


def _callable(channel: grpc.aio.Channel, name: str) -> Any:
    return channel.unary_unary(
        f"/{V1}{name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=answer_class(V1 + name).FromString,
    )
