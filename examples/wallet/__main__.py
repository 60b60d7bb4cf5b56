"""Starts the example wallet: `python -m examples.wallet --help`.

It serves plain HTTP only on loopback; any other address needs --tls-cert and --tls-key. After SIGTERM or SIGINT, it
finishes the running calls and stops.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import logging
import signal
import ssl
from decimal import Decimal
from pathlib import Path

from aiohttp import web

from examples.wallet.http_server import WalletServer
from examples.wallet.ledger import Ledger
from examples.wallet.webhooks import Webhooks
from phoenix_gateway_client import AsyncGateway, Tls


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="python -m examples.wallet", description="An example operator wallet.")
    made.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    made.add_argument("--port", type=int, default=8443, help="port to listen on (default: %(default)s)")
    made.add_argument("--tls-cert", type=Path, help="certificate chain of this wallet, PEM")
    made.add_argument("--tls-key", type=Path, help="private key of --tls-cert, PEM")
    made.add_argument("--ledger", type=Path, default=Path("wallet.sqlite3"), help="ledger file (default: %(default)s)")
    made.add_argument("--environment", choices=("sandbox", "prod"), default="sandbox", help="environment in log lines")
    made.add_argument("--gateway", default="127.0.0.1:50051", help="address of Phoenix Gateway (default: %(default)s)")
    made.add_argument("--gateway-ca", type=Path, help="CA of the gateway, PEM; without it, the connection is plaintext")
    made.add_argument("--client-cert", type=Path, help="client certificate for the gateway, PEM")
    made.add_argument("--client-key", type=Path, help="private key of --client-cert, PEM")
    made.add_argument(
        "--deposit", nargs=3, metavar=("PLAYER", "CURRENCY", "AMOUNT"), help="add money to an account and exit"
    )
    return made


def open_gateway(chosen: argparse.Namespace) -> tuple[str, Tls | None]:
    """Return the gateway's address and the TLS files, which are read again when they change."""
    tls = Tls(chosen.gateway_ca, chosen.client_cert, chosen.client_key) if chosen.gateway_ca else None
    return chosen.gateway, tls


async def serve(chosen: argparse.Namespace, webhooks: Webhooks) -> None:
    """Serve until SIGTERM or SIGINT."""
    tls = None
    if chosen.tls_cert is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(chosen.tls_cert, chosen.tls_key)
    elif not ipaddress.ip_address(chosen.host).is_loopback:
        raise SystemExit("--host: plain HTTP is allowed only on loopback; give --tls-cert and --tls-key")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.ServerRunner(WalletServer(webhooks.answer))
    await runner.setup()
    try:
        await web.TCPSite(runner, chosen.host, chosen.port, ssl_context=tls).start()
        logging.getLogger("wallet").info("serving on %s port %d", chosen.host, chosen.port)
        await stop.wait()
    finally:
        await runner.cleanup()


async def run(chosen: argparse.Namespace) -> None:
    """Serve the webhooks, or add money to an account."""
    ledger = Ledger(chosen.ledger)
    if chosen.deposit:
        player, currency, amount = chosen.deposit
        ledger.deposit(player, currency, Decimal(amount))
        return
    target, tls = open_gateway(chosen)
    async with AsyncGateway(target, tls=tls) as gateway:
        await serve(chosen, Webhooks(gateway, ledger, chosen.environment))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    asyncio.run(run(options().parse_args()))
