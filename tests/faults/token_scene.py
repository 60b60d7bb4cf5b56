"""A gateway with a key in a token that has faults and a key in a file, and callers who never stop."""

from __future__ import annotations

import base64
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.core.ed25519 import generate_signing_key
from gateway.v1 import (
    common_pb2,
    keys_pb2,
    keys_pb2_grpc,
    leaderboard_admin_pb2,
    leaderboard_admin_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
)
from tests.faulty_token import FaultyToken
from tests.gateway_process import GatewayProcess, of_sandbox, reason_of, retry_after_s
from tests.integration.test_store_rotations import metrics_of
from tests.sandbox_process import SandboxProcess

CHANGES_WITHIN_S = 60.0
CALL_WITHIN_S = 5.0
LONGEST_S = 3.0
"""A call in the time of a fault: the 2 s that a store has, and something for a busy machine."""


def verify(token: str, public: Ed25519PublicKey) -> None:
    """Raises: InvalidSignature for a token of another key."""
    signed, _, signature = token.rpartition(".")
    public.verify(base64.urlsafe_b64decode(f"{signature}=="), signed.encode())


class Scene:
    """A gateway with two operators: the key of `acme` is in the token, the key of `local` in a file."""

    def __init__(self, folder: Path, sandbox: SandboxProcess) -> None:
        self.token = FaultyToken(folder)
        local, pem = generate_signing_key()
        key_file = folder / "local.pem"
        key_file.touch(mode=0o600)
        key_file.write_bytes(pem)
        config = folder / "gateway.toml"
        config.write_text(
            f'[[operators]]\noperator_code = "local"\nenvironment = "sandbox"\nlaunch_key_file = "{key_file}"\n'
        )
        environ = {name: value for name, value in sandbox.environ.items() if name != "PREDICTION_LAUNCH_KEY"}
        self.gateway = GatewayProcess(
            {
                **of_sandbox(sandbox.urls, environ),
                **self.token.environ,
                "GATEWAY_CONFIG": str(config),
                "PREDICTION_LAUNCH_KEY_REF": self.token.reference,
                "GATEWAY_SECRET_POLL": "0.2",
            }
        )
        self.keys = {
            "acme": Ed25519PublicKey.from_public_bytes(self.token.public),
            "local": Ed25519PublicKey.from_public_bytes(local.public.raw),
        }
        self.refused: Counter[str] = Counter()
        self.minted = 0
        self.wrong: list[str] = []

    def mint(self, channel: grpc.Channel, operator: str, timeout: float = CALL_WITHIN_S) -> None:
        """Mint a token, and verify it with the key that it has to have. Raises: RpcError, InvalidSignature."""
        request = tokens_pb2.MintLaunchJWTRequest(
            operator_code=operator,
            environment=common_pb2.PHOENIX_ENVIRONMENT_SANDBOX,
            visitor=tokens_pb2.VisitorSession(),
        )
        answer = tokens_pb2_grpc.TokenServiceStub(channel).MintLaunchJWT(request, timeout=timeout)
        verify(answer.token, self.keys[operator])

    def call_until(self, ended: threading.Event) -> None:
        """Mint tokens of the HSM's key, and keep what an outage must not do."""
        with self.gateway.open_channel() as channel:
            while not ended.is_set():
                begun = time.monotonic()
                try:
                    self.mint(channel, "acme")
                    self.minted += 1
                except grpc.RpcError as error:
                    reason = reason_of(error)
                    self.refused[reason] += 1
                    if (error.code(), reason) != (grpc.StatusCode.UNAVAILABLE, "KEY_UNAVAILABLE"):
                        self.wrong.append(f"{error.code().name} {reason} {error.details()}")
                    if retry_after_s(error) <= 0:
                        self.wrong.append("no RetryInfo")
                except Exception as error:
                    self.wrong.append(repr(error))
                if (took := time.monotonic() - begun) > LONGEST_S:
                    self.wrong.append(f"a call took {took:.1f} s")
                time.sleep(0.02)

    def wait(self, is_met: Callable[[], bool]) -> None:
        until = time.monotonic() + CHANGES_WITHIN_S
        while not is_met():
            assert time.monotonic() < until, (self.refused, self.minted, self.gateway.log_text[-3000:])
            time.sleep(0.02)
        assert [] == self.wrong

    def wait_refused(self, calls: int = 8) -> None:
        """Wait for so many more refused calls, in an outage that lets none pass in between."""
        before = self.refused.total()
        self.wait(lambda: self.refused.total() > before)
        minted = self.minted + 2  # what was under way when the outage began
        self.wait(lambda: self.refused.total() >= before + calls)
        assert self.minted <= minted

    def wait_minted(self, calls: int = 8) -> None:
        """Wait until so many calls in a row have succeeded."""
        before = self.refused.total(), self.minted

        def is_met() -> bool:
            nonlocal before
            if self.refused.total() > before[0]:
                before = self.refused.total(), self.minted
            return self.minted >= before[1] + calls

        self.wait(is_met)

    def notes(self) -> str:
        """What the list of keys says of the version that signs."""
        with self.gateway.open_channel() as channel:
            answer = keys_pb2_grpc.KeyServiceStub(channel).ListKeys(keys_pb2.ListKeysRequest(), timeout=10)
        (row,) = (one for one in answer.keys if one.source == self.token.reference)
        assert row.state == keys_pb2.KEY_STATE_ACTIVE
        return str(row.note)

    def check_others(self) -> None:
        """What does not need the HSM answers at once: another operator's tokens, Phoenix, health, pages."""
        with self.gateway.open_channel() as channel:
            begun = time.monotonic()
            for _ in range(5):
                self.mint(channel, "local", timeout=1)
            admin = leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub(channel)
            admin.CheckAdminHealth(leaderboard_admin_pb2.CheckAdminHealthRequest(), timeout=1)
            health: Any = health_pb2_grpc.HealthStub(channel)
            status = health.Check(health_pb2.HealthCheckRequest(), timeout=1).status
            assert health_pb2.HealthCheckResponse.SERVING == status
            assert time.monotonic() - begun < 1
        assert self.gateway.readiness()["ready"]

    def forged(self) -> float:
        """How many wrong signatures /metrics counts."""
        name = 'phoenix_gateway_signer_events_total{event="forged"}'
        return sum(float(line.split()[-1]) for line in metrics_of(self.gateway).splitlines() if line.startswith(name))

    def shown(self) -> bytes:
        """Everything that the gateway shows."""
        parts = (self.gateway.log_text, metrics_of(self.gateway), self.notes(), str(self.gateway.readiness()))
        return "\n".join(parts).encode()
