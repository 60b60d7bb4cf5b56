"""A gateway that is killed again and again under load, at points of an event's way or whenever it happens."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Mapping, Sequence
from typing import Self

import grpc

from tests.faults.event_load import Load
from tests.gateway_process import GatewayProcess

RANDOM = "random"
REACHED_WITHIN_S = 60.0
SERVES_WITHIN_S = 60.0
_LONGEST_S = 0.4


class MortalGateway(GatewayProcess):
    """Its address, data and settings stay the same over all its lives."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.module = "tests.faults.crashing_gateway"
        self.environ["LEASE_S"] = "2"
        self.kills = 0

    def __enter__(self) -> Self:
        """Start nothing. The test starts it."""
        return self

    async def live(self) -> None:
        """Start it and keep it running."""
        self.environ.pop("CRASH_AT", None)
        self.spawn()
        await asyncio.to_thread(self._wait_listening)

    def _wait_listening(self) -> None:
        with self.open_channel() as channel:
            grpc.channel_ready_future(channel).result(timeout=SERVES_WITHIN_S)

    async def killed_at(self, points: Sequence[str], load: Load, rng: random.Random) -> None:
        """Start it and have it killed once for each point (`POINT:NTH`, or RANDOM). Raises: AssertionError."""
        for point in points:
            self.environ["CRASH_AT"] = "" if point == RANDOM else point
            process = self.spawn()
            if point == RANDOM:
                await load.answered()
                await asyncio.sleep(rng.random() * _LONGEST_S)
                process.kill()
            for _ in range(int(REACHED_WITHIN_S / 0.01)):
                if process.poll() is not None:
                    break
                await asyncio.sleep(0.01)
            assert -signal.SIGKILL == process.poll(), f"{point} was not reached: {self.log_text[-2000:]}"
            self.kills += 1
