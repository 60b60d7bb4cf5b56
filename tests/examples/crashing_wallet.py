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
from typing import Any

from examples.wallet.__main__ import open_gateway, options, serve
from examples.wallet.ledger import Entry, Ledger
from examples.wallet.rules import Move
from examples.wallet.webhooks import Webhooks
from phoenix_gateway_client import AsyncGateway, Reply, WalletCall
from tests.examples.wallet_process import POINTS


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


class CrashingGateway(AsyncGateway):
    crash: CrashPoint

    async def verify_wallet(self, request: Any, **more: Any) -> WalletCall:
        await asyncio.sleep(self.crash.reach("received"))
        call = await super().verify_wallet(request, **more)
        await asyncio.sleep(self.crash.reach("verified"))
        return call

    async def record_wallet_outcome(self, call: WalletCall, status: int, body: bytes, **fields: Any) -> Reply:
        reply = await super().record_wallet_outcome(call, status, body, **fields)
        await asyncio.sleep(self.crash.reach("recorded"))
        return reply


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
    target, tls = open_gateway(chosen)
    gateway = CrashingGateway(target, tls=tls)
    ledger.crash = gateway.crash = crash
    async with gateway:
        await serve(chosen, Webhooks(gateway, ledger, chosen.environment))


if __name__ == "__main__":
    asyncio.run(run())
