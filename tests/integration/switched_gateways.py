"""Gateways that share one list of switches, and what callers, pages and the audit log say of it."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import pytest

from gateway.cache.client import RedisCache, RedisCacheSettings
from gateway.cache.redis_url import parse_redis_url
from gateway.controls.redis_switches import RedisSwitches
from gateway.controls.switch_file import SwitchFile
from gateway.core.sealing import SealKeys
from gateway.core.switches import Switches, Target, TargetKind
from gateway.resilience.clock import SystemClock
from gateway.v1 import (
    tokens_pb2,
    tokens_pb2_grpc,
)
from tests.gateway_command import gateway_command
from tests.gateway_process import GatewayProcess, of_sandbox, reason_of
from tests.postgres_process import PostgresProcess
from tests.redis_process import RedisProcess
from tests.sandbox_process import SandboxProcess

CLOCK = SystemClock()
TOKENS = "phoenix.gateway.v1.TokenService"
MINT = f"method:/{TOKENS}/MintLaunchJWT"
WALLET = "phoenix.gateway.v1.WalletService"
VISITOR = tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession())
WITHIN_S = 1.0


@dataclass
class Fleet:
    """Gateways that share one list."""

    gateways: list[GatewayProcess]
    channels: list[grpc.Channel]
    redis: RedisProcess | None
    audit: Path

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command with the settings of the first gateway."""
        first = self.gateways[0]
        return gateway_command(*arguments, environ=first.environ, folder=first.data_dir.parent)

    async def _merge(self, switches: Switches) -> Switches:
        """Do what the commands do, without their start of a second."""
        if self.redis is None:
            return SwitchFile(Path(self.gateways[0].environ["GATEWAY_DATA_DIR"]), CLOCK).merge(switches)
        keys = SealKeys.from_text(self.gateways[0].environ["GATEWAY_CACHE_KEYS"])
        cache = RedisCache(parse_redis_url(self.redis.url), CLOCK, RedisCacheSettings(timeout_s=5.0))
        await cache.start()
        try:
            return await RedisSwitches(cache=cache, seal_keys=keys, clock=CLOCK).merge(switches)
        finally:
            await cache.close()

    def switch(self, target: str, *, off: bool) -> None:
        known = asyncio.run(self._merge(Switches()))
        kind, _, name = target.partition(":")
        thrown = Target(kind=TargetKind(kind), name=name)
        asyncio.run(
            self._merge(known.decided(thrown, is_off=off, reason="r", by="t", now_ms=round(CLOCK.now() * 1000)))
        )

    def off(self) -> list[str]:
        return [str(one.target) for one in asyncio.run(self._merge(Switches())).off]

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.audit.read_bytes().splitlines() if line]


@pytest.fixture(scope="module", params=["file", "redis"])
def fleet(request: pytest.FixtureRequest, sandbox_process: SandboxProcess) -> Iterator[Fleet]:
    """Two gateways: with separate data directories and Redis, or with a shared one and no Redis."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="switches-")))
        settings = of_sandbox(sandbox_process.urls, sandbox_process.environ)
        settings["GATEWAY_AUDIT_FILE"] = str(folder / "audit.jsonl")
        redis = None
        if request.param == "file":
            settings["GATEWAY_DATA_DIR"] = str(folder / "data")
        else:
            postgres: PostgresProcess = request.getfixturevalue("postgres_server")
            redis = RedisProcess(folder)
            redis.start()
            stack.callback(redis.stop)
            settings["DATABASE_URL"] = postgres.create_database(f"switches_{uuid.uuid4().hex}")
            settings["REDIS_URL"] = redis.url
            settings["GATEWAY_CACHE_KEYS"] = base64.b64encode(secrets.token_bytes(32)).decode()
        gateways = [stack.enter_context(GatewayProcess(settings)) for _ in range(2)]
        for gateway in gateways:
            gateway.wait_serving(WALLET)
        channels = [stack.enter_context(grpc.insecure_channel(one.address)) for one in gateways]
        yield Fleet(gateways, channels, redis, folder / "audit.jsonl")


@pytest.fixture(autouse=True)
def all_on(fleet: Fleet) -> Iterator[None]:
    """Everything is switched on again after a test."""
    yield
    for target in fleet.off():
        fleet.switch(target, off=False)
    until = time.monotonic() + 20
    while any("switched_off" in readyz(gateway) for gateway in fleet.gateways) and time.monotonic() < until:
        time.sleep(0.02)


def outcome_of(work: Callable[[], Any]) -> str:
    try:
        work()
    except grpc.RpcError as error:
        return reason_of(error) if error.code() is grpc.StatusCode.UNAVAILABLE else str(error.code())
    return "OK"


def mint(channel: grpc.Channel) -> str:
    return outcome_of(lambda: tokens_pb2_grpc.TokenServiceStub(channel).MintLaunchJWT(VISITOR, timeout=5))


def wait_until(channel: grpc.Channel, fits: Callable[[str], bool], ask: Callable[[grpc.Channel], str] = mint) -> float:
    """Ask until the answer fits; return how long it took."""
    began = time.monotonic()
    while not fits(found := ask(channel)):
        assert time.monotonic() - began < 20, f"it is still {found}"
        time.sleep(0.02)
    return time.monotonic() - began


def readyz(gateway: GatewayProcess) -> Mapping[str, Any]:
    with urlopen(f"http://{gateway.admin_address}/readyz", timeout=5) as answer:
        reported: Mapping[str, Any] = json.loads(answer.read())
    return reported


def metric(gateway: GatewayProcess, line: str) -> float:
    with urlopen(f"http://{gateway.admin_address}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return next((float(row.rpartition(" ")[2]) for row in text.splitlines() if row.startswith(line)), 0.0)


def thrown(fleet: Fleet) -> set[tuple[str, str, str | None]]:
    """Return target, state and reason of each switch that the audit log holds."""
    kept = [one for one in fleet.records() if one["kind"] == "switched"]
    return {(one["target"], one["state"], one.get("why")) for one in kept}
