"""The example wallet with one failure at a chosen point: `POINT WHAT`, then the wallet's own options.

WHAT is the pid to kill (0: the wallet itself), or `stall:SECONDS`. The wallet's code is unchanged; the hooks run
between its parts.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import time

from aiohttp import web

from examples.wallet.__main__ import open_channel, options, serve
from examples.wallet.gateway_client import GatewayClient
from examples.wallet.ledger import Entry, Ledger
from examples.wallet.rules import Move
from examples.wallet.webhooks import Webhooks
from gateway.v1 import wallet_pb2

POINTS = ("received", "verified", "moved", "committed", "recorded")


class CrashPoint:
    """Kills a process, or stalls the call, the first time that `point` is reached."""

    def __init__(self, point: str, what: str) -> None:
        assert point in POINTS
        self._point = point
        self._stall_s = float(what.removeprefix("stall:")) if what.startswith("stall:") else 0.0
        self._pid = 0 if self._stall_s else int(what) or os.getpid()

    def reach(self, point: str) -> float:
        """Strike if it is the point. Returns: for how many seconds the call stalls."""
        if point != self._point:
            return 0.0
        self._point = ""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
        return self._stall_s


class CrashingGatewayClient(GatewayClient):
    crash: CrashPoint

    async def verify(self, request: web.BaseRequest, body: bytes) -> wallet_pb2.VerifyWalletResponse:
        await asyncio.sleep(self.crash.reach("received"))
        found = await super().verify(request, body)
        await asyncio.sleep(self.crash.reach("verified"))
        return found

    async def record(self, found: wallet_pb2.VerifyWalletResponse, entry: Entry) -> None:
        await super().record(found, entry)
        await asyncio.sleep(self.crash.reach("recorded"))


class CrashingLedger(Ledger):
    crash: CrashPoint

    def _connect(self) -> sqlite3.Connection:
        db = super()._connect()
        db.set_trace_callback(self._trace)
        return db

    def _trace(self, statement: str) -> None:
        if statement.startswith("INSERT INTO moves"):  # the funds are changed, the entry is not there
            self.crash.reach("moved")

    def move(self, move: Move) -> Entry:
        entry = super().move(move)
        time.sleep(self.crash.reach("committed"))
        return entry


async def run() -> None:
    crash = CrashPoint(sys.argv[1], sys.argv[2])
    chosen = options().parse_args(sys.argv[3:])
    ledger = CrashingLedger(chosen.ledger)
    async with open_channel(chosen) as channel:
        gateway = CrashingGatewayClient(channel)
        ledger.crash = gateway.crash = crash
        await serve(chosen, Webhooks(gateway, ledger, chosen.environment))


if __name__ == "__main__":
    asyncio.run(run())
