"""The clock of a gateway's host is set while it works: events, leases and tokens do not notice, the operator does.

libfaketime sets the clock of the gateway's process and leaves the monotonic one alone, as the kernel does.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import pytest

from gateway.v1 import tokens_pb2, tokens_pb2_grpc, wallet_pb2, wallet_pb2_grpc
from tests import fake_time
from tests.faults.event_load import Load, LoadOptions
from tests.faults.test_durable_kills import assert_each_once
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.integration.test_wallet import reserve
from tests.sandbox_process import SandboxProcess

STEP_S = 600
LEASE_S = 4.0
SEEN_WITHIN_S = 6.0
OFF_S = 4.0
"""How long Phoenix's clock differs."""
OPTIONS = LoadOptions(durable=True, singles=2, batches=1, streams=1, batch_size=5, pause_s=0.1)
D = wallet_pb2.WalletDisposition
pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not fake_time.LIBRARY, reason=fake_time.MISSING),
]


class Clocks:
    """The clock of the gateway's host, and Phoenix's."""

    def __init__(self, file: Path, sandbox: SandboxProcess) -> None:
        self._file = file
        self._sandbox = sandbox
        self.phoenix_s = 0.0

    def set_host(self, offset_s: float) -> None:
        fake_time.set_clock(self._file, offset_s)

    def set_phoenix(self, offset_s: float) -> None:
        self._sandbox.control("POST", "/clock", {"offset_s": offset_s})
        self.phoenix_s = offset_s

    def phoenix_now(self) -> float:
        return time.time() + self.phoenix_s


@pytest.fixture
def clocks(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[Clocks]:
    clocks = Clocks(tmp_path / "faketime", sandbox)
    yield clocks
    clocks.set_phoenix(0)


@contextmanager
def gateway_of(sandbox: SandboxProcess, time_file: Path) -> Iterator[GatewayProcess]:
    """On SQLite, whose leases are counted by this process; Phoenix does not hide what is sent twice."""
    sandbox.control("POST", "/settings", {"dedupe": False})
    settings = {
        **of_sandbox(sandbox.urls, sandbox.environ),
        "PHOENIX_DEDUPLICATES_EVENTS": "false",
        "PREDICTION_WALLET_LEASE": f"{LEASE_S:.0f}",
        **fake_time.settings(time_file, exact=True),
    }
    with GatewayProcess(settings) as gateway:
        yield gateway
    sandbox.control("POST", "/settings", {"dedupe": True})


@pytest.mark.parametrize("step_s", [STEP_S, -STEP_S], ids=["forward", "back"])
async def test_a_clock_that_is_set(sandbox: SandboxProcess, clocks: Clocks, tmp_path: Path, step_s: int) -> None:
    """With Phoenix's clock, then without it, then right again."""
    with gateway_of(sandbox, tmp_path / "faketime") as gateway:
        load = Load(gateway.address, OPTIONS)
        load.start()
        await load.answered(50)
        with gateway.open_channel() as channel:
            await asyncio.to_thread(_leases_and_tokens, channel, sandbox, clocks, step_s)
        await _until(lambda: gateway.readiness().get("degraded", {}).get("clock_steps") == f"set by {step_s:+.1f} s")
        assert _steps(gateway) == {"forward": float(step_s > 0), "back": float(step_s < 0)}
        assert f'"trouble":"by {step_s:+.1f} s"' in gateway.log_text.replace('": "', '":"')

        clocks.set_phoenix(0)  # the host is wrong alone
        await asyncio.to_thread(gateway.wait_ready, ready=False)
        assert gateway.readiness()["not_ready"] == ["clock"]
        await asyncio.sleep(OFF_S)
        clocks.set_host(0)
        await asyncio.to_thread(gateway.wait_ready)
        await load.answered(50)
        await load.finish()
        assert _steps(gateway) == {"forward": 1.0, "back": 1.0}
        await asyncio.to_thread(assert_each_once, load, sandbox, gateway)


def _leases_and_tokens(channel: grpc.Channel, sandbox: SandboxProcess, clocks: Clocks, step_s: int) -> None:
    """Set the clock while a wallet works: the lease ends neither earlier nor later, each token is valid at Phoenix."""
    wallet: Any = wallet_pb2_grpc.WalletServiceStub(channel)
    move = reserve(sandbox, idempotency_key=str(uuid.uuid4()))
    _assert_valid(_minted(channel), clocks)
    claimed_at = time.monotonic()
    assert D.WALLET_DISPOSITION_NEW == wallet.VerifyWallet(move, timeout=5).disposition
    clocks.set_host(step_s)
    clocks.set_phoenix(step_s)
    while (again := wallet.VerifyWallet(move, timeout=5)).disposition == D.WALLET_DISPOSITION_IN_PROGRESS:
        assert time.monotonic() - claimed_at < LEASE_S + SEEN_WITHIN_S, "the lease does not end"
        _assert_valid(_minted(channel), clocks)
        time.sleep(0.1)
    assert D.WALLET_DISPOSITION_RECLAIMED == again.disposition
    assert 2 == again.attempt
    assert time.monotonic() - claimed_at >= LEASE_S, "the lease ended early"


def _minted(channel: grpc.Channel) -> dict[str, Any]:
    """The claims of a launch token and of a tenant's."""
    stub: Any = tokens_pb2_grpc.TokenServiceStub(channel)
    launch = stub.MintLaunchJWT(tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession()), timeout=5)
    tenant = stub.MintTenantJWT(tokens_pb2.MintTenantJWTRequest(user_id="ada"), timeout=5)
    return {"launch": _claims(launch.token), "tenant": _claims(tenant.token)}


def _assert_valid(claims: dict[str, Any], clocks: Clocks) -> None:
    for kind, one in claims.items():
        assert one["iat"] <= clocks.phoenix_now() + 1, f"the {kind} token is from the future"
        assert one["exp"] > clocks.phoenix_now() + 1, f"the {kind} token has expired"


def _claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))


def _steps(gateway: GatewayProcess) -> dict[str, float]:
    with urlopen(f"http://{gateway.admin_address}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    name = "phoenix_gateway_clock_steps_total{"
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines if line.startswith(name)}


async def _until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + SEEN_WITHIN_S
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < until, "the step was not noticed"
        await asyncio.sleep(0.1)
