"""The example wallet, in which SIGKILL strikes once at a chosen point: `POINT PID`, then the wallet's own options.

PID 0 is the wallet itself. The parts are the real ones; what is added stands between them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys

from aiohttp import web

from examples.wallet.__main__ import open_channel, options, serve
from examples.wallet.gateway_client import GatewayClient
from examples.wallet.ledger import Entry, Ledger
from examples.wallet.rules import Move
from examples.wallet.webhooks import Webhooks
from gateway.v1 import wallet_pb2

POINTS = ("received", "verified", "moved", "committed", "recorded")


class Killer:
    """Kills `pid` the first time that `point` is reached."""

    def __init__(self, point: str, pid: int) -> None:
        assert point in POINTS
        self._point = point
        self._pid = pid or os.getpid()

    def reach(self, point: str) -> None:
        """Strike if it is the point."""
        if point == self._point:
            self._point = ""
            os.kill(self._pid, signal.SIGKILL)


class CrashingGatewayClient(GatewayClient):
    killer: Killer

    async def verify(self, request: web.Request, body: bytes) -> wallet_pb2.VerifyWalletResponse:
        self.killer.reach("received")
        found = await super().verify(request, body)
        self.killer.reach("verified")
        return found

    async def record(self, found: wallet_pb2.VerifyWalletResponse, entry: Entry) -> None:
        await super().record(found, entry)
        self.killer.reach("recorded")


class CrashingLedger(Ledger):
    killer: Killer

    def _apply(self, db: sqlite3.Connection, move: Move) -> None:
        super()._apply(db, move)
        self.killer.reach("moved")

    def move(self, move: Move) -> Entry:
        entry = super().move(move)
        self.killer.reach("committed")
        return entry


async def run() -> None:
    killer = Killer(sys.argv[1], int(sys.argv[2]))
    chosen = options().parse_args(sys.argv[3:])
    ledger = CrashingLedger(chosen.ledger)
    async with open_channel(chosen) as channel:
        gateway = CrashingGatewayClient(channel)
        ledger.killer = gateway.killer = killer
        await serve(chosen, Webhooks(gateway, ledger, chosen.environment))


if __name__ == "__main__":
    asyncio.run(run())
