"""Two gateways, a wallet, PostgreSQL behind a proxy, Redis and the sandbox: what a soak runs on."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from tests.examples.wallet_process import WalletProcess
from tests.faults.rotation_setup import RotationBench
from tests.faults.test_money_kills import fresh_key
from tests.gateway_process import GatewayProcess
from tests.integration.method_requests import PATHS_OPEN
from tests.postgres_process import PostgresProcess
from tests.redis_process import RedisProcess
from tests.sandbox_process import SandboxProcess
from tests.soak import clocked_gateway
from tests.tcp_proxy import TcpProxy
from tests.toxiproxy import ToxicProxy, Toxiproxy
from tools.go_tools import NotBuilt

POLICY = f"""
[[callers]]
name = "local"
allow = ["*"]
tenants = ["*"]
operators = ["*"]
phoenix_paths = {json.dumps(PATHS_OPEN)}
"""
BOARDS = ("policy-board", "xp")
"""Read by the mixed load; of the events."""
_RECOVERS_WITHIN_S = 90.0
_DISK_MIB = 256


@dataclass(frozen=True, kw_only=True)
class Site:
    """The processes and files. `disk` is None where the machine does not allow it; `clock_files` has one a gateway.

    `toxics`: toxiproxy between `proxy` and PostgreSQL; None where it cannot be built.
    """

    sandbox: SandboxProcess
    postgres: PostgresProcess
    proxy: TcpProxy
    toxics: ToxicProxy | None
    redis: RedisProcess
    rotation: RotationBench
    wallet: WalletProcess
    policy_file: Path
    disk: Path | None
    clock_files: Sequence[Path]

    @property
    def gateways(self) -> list[GatewayProcess]:
        """Both replicas."""
        return self.rotation.gateways

    def write_policy(self, more: str = "") -> None:
        """Replace the policy of both gateways."""
        new = self.policy_file.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(POLICY + more)
        new.replace(self.policy_file)

    async def wait_recovered(self) -> float:
        """Wait until both gateways report every service ready; return the seconds. Raises: AssertionError."""
        began = time.monotonic()
        for gateway in self.gateways:
            while (trouble := await asyncio.to_thread(_not_ready, gateway)) is not None:
                assert time.monotonic() - began < _RECOVERS_WITHIN_S, f"a gateway does not recover: {trouble}"
                await asyncio.sleep(0.1)
        return time.monotonic() - began


def _not_ready(gateway: GatewayProcess) -> str | None:
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(f"http://{gateway.admin_address}/readyz", timeout=5) as answer:
            page = json.loads(answer.read())
    except HTTPError as refused:
        return f"/readyz is {refused.code}"
    except (OSError, ValueError) as error:
        return str(error)
    waiting = [service for service, serves in page["services"].items() if not serves]
    degraded = page.get("degraded", {}).keys() - {"clock_steps"}  # shown for ten minutes
    return f"not ready: {waiting}, {degraded}" if waiting or degraded else None


@asynccontextmanager
async def started(folder: Path) -> AsyncIterator[Site]:
    """Start everything; stop it at the end."""
    async with AsyncExitStack() as stack:
        sandbox = stack.enter_context(SandboxProcess())
        for board in BOARDS:
            sandbox.control("POST", f"/boards/{sandbox.environ['TENANT_ID']}/{board}", {"scores": {"ada": 1}})
        sandbox.control("POST", "/settings", {"record": False})
        postgres = PostgresProcess()
        postgres.start()
        stack.callback(postgres.stop)
        redis_folder = folder / "redis"
        redis_folder.mkdir()
        redis = RedisProcess(redis_folder)
        redis.start()
        stack.callback(redis.stop)
        toxics = _toxics(postgres.port, stack)
        direct = postgres.url if toxics is None else toxics.through(postgres.url)
        proxy = await stack.enter_async_context(TcpProxy(postgres.port if toxics is None else toxics.port))
        policy_file = folder / "gateway.toml"
        settings = {
            "DATABASE_URL": proxy.url_of(direct),
            "REDIS_URL": redis.url,
            "GATEWAY_CONFIG": str(policy_file),
            "GATEWAY_EVIDENCE_KEY": fresh_key(),
            "PREDICTION_WALLET_LEASE": "2",
        }
        rotation = RotationBench(folder, sandbox, settings)
        disk = _small_disk(folder, rotation.gateways, stack)
        site = Site(
            sandbox=sandbox,
            postgres=postgres,
            proxy=proxy,
            toxics=toxics,
            redis=redis,
            rotation=rotation,
            wallet=WalletProcess("ipv4:" + ",".join(gateway.address for gateway in rotation.gateways)),
            policy_file=policy_file,
            disk=disk,
            clock_files=_own_clocks(folder, rotation.gateways),
        )
        site.write_policy()
        for gateway in site.gateways:
            await asyncio.to_thread(gateway.start)
            stack.push(gateway.__exit__)
        await site.wait_recovered()
        stack.enter_context(site.wallet)
        yield site


def _own_clocks(folder: Path, gateways: list[GatewayProcess]) -> list[Path]:
    """Give each gateway a clock that can be set."""
    files = [folder / f"clock-{number}" for number in range(len(gateways))]
    for file, gateway in zip(files, gateways, strict=True):
        clocked_gateway.set_clock(file, 0)
        gateway.module = clocked_gateway.__name__
        gateway.environ[clocked_gateway.VARIABLE] = str(file)
    return files


def _toxics(port: int, stack: AsyncExitStack) -> ToxicProxy | None:
    try:
        return stack.enter_context(Toxiproxy()).before(port)
    except NotBuilt:
        return None


def _small_disk(folder: Path, gateways: list[GatewayProcess], stack: AsyncExitStack) -> Path | None:
    """Put the audit logs on a disk of their own that can be filled; None where it cannot be mounted."""
    disk = folder / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", f"size={_DISK_MIB}m", "tmpfs", str(disk)], capture_output=True, check=False
        ).returncode
    ):
        return None
    stack.callback(subprocess.run, ["umount", "-l", str(disk)], check=False)
    for number, gateway in enumerate(gateways):
        gateway.environ["GATEWAY_AUDIT_FILE"] = str(disk / f"audit-{number}.jsonl")
    return disk
