"""A gateway with all that the alerts are about, its Phoenix, its stores, and a Prometheus with the shipped rules.

The rules have their times shortened (`tests/deploy/alert_rules.py`); everything else about them is as shipped.
"""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc

from gateway.v1 import (
    events_pb2,
    events_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
    leaderboards_pb2,
    leaderboards_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
    wallet_pb2,
    wallet_pb2_grpc,
)
from tests.certificates import Authority
from tests.deploy.alert_rules import RULES, shortened
from tests.faults.degraded_faults import PipeReader
from tests.gateway_process import ROOT, GatewayProcess, of_sandbox
from tests.integration.launch_key_stores import Store as KeyStore
from tests.integration.launch_key_stores import aws, register
from tests.integration.test_wallet import signed
from tests.postgres_process import PostgresProcess
from tests.prometheus_process import PrometheusProcess
from tests.redis_process import RedisProcess
from tests.sandbox_process import SandboxProcess

BOARD = "alert-board"
OLD_VERSION, NEW_VERSION = "2020-01-01T0000Z", "2025-01-01T0000Z"


@dataclass(kw_only=True)
class Scene:
    """The parts. `secret` is what the command of the secret store prints; without the file, it fails.

    `signer` is the emulator of AWS KMS that has the launch key. `native` is a Prometheus that takes native histograms.
    """

    folder: Path
    sandbox: SandboxProcess
    redis: RedisProcess
    postgres: PostgresProcess
    gateway: GatewayProcess
    prometheus: PrometheusProcess
    native: PrometheusProcess
    authority: Authority
    channel: grpc.Channel
    secret: Path
    signer: KeyStore
    cache_keys: Path
    audit_pipe: Path
    audit_reader: PipeReader = field(repr=False)

    @contextmanager
    def phoenix(self, surface: str, **fault: Any) -> Iterator[None]:
        """A fault of Phoenix, and its end."""
        added = self.sandbox.control("POST", "/faults", {"surface": surface, **fault})
        try:
            yield
        finally:
            self.sandbox.control("DELETE", f"/faults/{added['id']}")

    def submit(self, *, durable: bool = False) -> None:
        """Send an event, whatever becomes of it."""
        event = events_pb2.Event(leaderboard_id=BOARD, user_id=str(uuid.uuid4()), score_delta=1.0)
        delivery = events_pb2.DELIVERY_DURABLE if durable else events_pb2.DELIVERY_DIRECT
        request = events_pb2.SubmitEventRequest(event=event, delivery=delivery)
        events: Any = events_pb2_grpc.EventServiceStub(self.channel)
        with contextlib.suppress(grpc.RpcError):
            events.SubmitEvent(request, timeout=3)

    def read_rank(self) -> None:
        """Read a rank, whatever becomes of it."""
        boards: Any = leaderboards_pb2_grpc.LeaderboardServiceStub(self.channel)
        request = leaderboards_pb2.GetUserRankRequest(leaderboard_id=BOARD, user_id=str(uuid.uuid4()))
        with contextlib.suppress(grpc.RpcError):
            boards.GetUserRank(request, timeout=3)

    @property
    def wallet(self) -> wallet_pb2_grpc.WalletServiceStub:
        """The stub of the wallet's service."""
        return wallet_pb2_grpc.WalletServiceStub(self.channel)

    def verify(self, **wishes: Any) -> wallet_pb2.VerifyWalletResponse | None:
        """Verify a webhook that the sandbox signs; None if the call failed."""
        request = signed(self.sandbox, **{"operation": "reserve_cash", **wishes})
        try:
            return self.wallet.VerifyWallet(request, timeout=5)
        except grpc.RpcError:
            return None

    def mint(self) -> None:
        """Mint a launch token, whatever becomes of it."""
        tokens: Any = tokens_pb2_grpc.TokenServiceStub(self.channel)
        with contextlib.suppress(grpc.RpcError):
            tokens.MintLaunchJWT(tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession()), timeout=5)

    def refresh_platform_key(self) -> None:
        """Have the platform key fetched, whatever becomes of it."""
        keys: Any = keys_pb2_grpc.KeyServiceStub(self.channel)
        with contextlib.suppress(grpc.RpcError):
            keys.RefreshPlatformKey(keys_pb2.RefreshPlatformKeyRequest(), timeout=5)

    def write_certificate(self, ends: timedelta) -> None:
        """Replace the gateway's certificate."""
        self.authority.issue("127.0.0.1", ends=ends).write(self.folder, "server")

    def connect(self) -> None:
        """Make a new connection."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.secure_channel(self.gateway.address, self.authority.credentials(None), options=options) as channel:
            grpc.channel_ready_future(channel).result(timeout=20)

    def command(self, *words: str) -> None:
        """Run a command of the gateway with its settings."""
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **self.gateway.environ}
        command = [sys.executable, "-m", "gateway", *words]
        subprocess.run(command, env=environ, cwd=self.folder, capture_output=True, timeout=60, check=True)


def _private(path: Path, content: str, mode: int = 0o600) -> Path:
    path.touch(mode=mode)
    path.write_text(content)
    return path


def _settings(folder: Path, sandbox: SandboxProcess, stores: Mapping[str, str], signer: KeyStore) -> dict[str, str]:
    """The gateway's settings, and the files that they name."""
    settings = {**of_sandbox(sandbox.urls, sandbox.environ), **stores}
    del settings["PREDICTION_LAUNCH_KEY"]
    _private(folder / "api-key", settings.pop("ADMIN_API_KEY"))
    program = _private(folder / "print-secret", f'#!/bin/sh\nexec cat "{folder}/api-key"\n', 0o700)
    (folder / "cache-keys").mkdir()
    key = base64.b64encode(os.urandom(32)).decode()
    _private(folder / "cache-keys" / OLD_VERSION, key)
    return settings | {
        "ADMIN_API_KEY_REF": f"exec:{program}",
        "PREDICTION_LAUNCH_KEY_REF": signer.reference,
        **signer.environ,
        "GATEWAY_ALLOW_EXEC": "true",
        "GATEWAY_SECRET_POLL": "1",
        "GATEWAY_CACHE_KEYS_FILE": str(folder / "cache-keys"),
        "GATEWAY_AUDIT_FILE": str(folder / "audit.pipe"),
        "GATEWAY_TLS_CERT_FILE": str(folder / "server.pem"),
        "GATEWAY_TLS_KEY_FILE": str(folder / "server.key"),
        "PREDICTION_WALLET_LEASE": "1",
        "PREDICTION_HOLD_SUSPECT_REPLAYS": "release_cash",
    }


@contextmanager
def scene(sandbox: SandboxProcess, postgres: PostgresProcess) -> Iterator[Scene]:
    """Start everything. Raises: RedisMissing, PrometheusMissing."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pgw-alerts-")))
        redis = RedisProcess(folder)
        redis.start()
        stack.callback(redis.stop)
        authority = Authority()
        authority.issue("127.0.0.1", ends=timedelta(days=2)).write(folder, "server")
        os.mkfifo(folder / "audit.pipe")
        stores = {"DATABASE_URL": postgres.create_database(f"alerts_{uuid.uuid4().hex}"), "REDIS_URL": redis.url}
        signer = aws(folder)
        stack.callback(signer.close)
        register(sandbox, signer.first)
        settings = _settings(folder, sandbox, stores, signer)
        reader = PipeReader(folder / "audit.pipe")
        sandbox.control("POST", f"/boards/{sandbox.environ['TENANT_ID']}/{BOARD}", {"scores": {"ada": 1}})
        gateway = stack.enter_context(GatewayProcess(settings, credentials=authority.credentials(None)))
        rules = shortened(RULES.read_text(encoding="utf-8"))
        prometheus, native = (
            stack.enter_context(PrometheusProcess([gateway.admin_address], rules, native=native))
            for native in (False, True)
        )
        made = Scene(
            folder=folder,
            sandbox=sandbox,
            redis=redis,
            postgres=postgres,
            gateway=gateway,
            prometheus=prometheus,
            native=native,
            authority=authority,
            channel=stack.enter_context(gateway.open_channel()),
            secret=folder / "api-key",
            signer=signer,
            cache_keys=folder / "cache-keys",
            audit_pipe=folder / "audit.pipe",
            audit_reader=reader,
        )
        stack.callback(lambda: made.audit_reader.close())
        yield made
