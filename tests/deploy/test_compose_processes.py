"""What docker-compose.yml starts, started: its commands, environment and health checks, as processes."""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import tempfile
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.v1 import leaderboard_admin_pb2, leaderboard_admin_pb2_grpc, wallet_pb2, wallet_pb2_grpc
from tests.deploy import compose_file
from tests.deploy.compose_processes import ServerMissing, Stack
from tests.deploy.document_lines import ROOT, call_lines
from tools import dev_ca, dev_secrets

GATEWAYS = ("gateway-1", "gateway-2")
pytestmark = pytest.mark.timeout(120)  # two databases, a sandbox and two gateways start once for the module


@pytest.fixture(scope="module")
def ca_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dev-ca")
    dev_ca.make(folder, datetime.now(UTC))
    return folder


@pytest.fixture(scope="module")
def secrets_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dev-secrets")
    dev_secrets.make(folder)
    return folder


@pytest.fixture(scope="module")
def stack(ca_folder: Path, secrets_folder: Path) -> Iterator[Stack]:
    """Everything up and healthy, the sandbox first: its profile is switched on."""
    compose = compose_file.read({"DEV_CA_DIR": str(ca_folder), "SECRETS_DIR": str(secrets_folder)})
    # Not below pytest's own folder, which is its user's alone: PostgreSQL may have to run as another.
    with tempfile.TemporaryDirectory(prefix="pgw-stack-") as folder, Stack(compose, Path(folder)) as running:
        try:
            for service in ("sandbox", *GATEWAYS):
                running.up(service)
        except ServerMissing as missing:
            pytest.skip(str(missing))
        yield running


def channel(stack: Stack, gateway: str, ca_folder: Path, caller: str | None) -> grpc.Channel:
    """Return a channel with the certificate of a caller of the development CA; None shows none."""
    pair = (
        {}
        if caller is None
        else {
            "private_key": (ca_folder / f"{caller}.key").read_bytes(),
            "certificate_chain": (ca_folder / f"{caller}.pem").read_bytes(),
        }
    )
    credentials = grpc.ssl_channel_credentials((ca_folder / "ca.pem").read_bytes(), **pair)
    return grpc.secure_channel(f"127.0.0.1:{stack.port(gateway, 50051)}", credentials)


def sign_wallet_call(stack: Stack) -> dict[str, Any]:
    """Return a wallet call as the sandbox signs it, by its control listener."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{stack.port('sandbox', 9004)}/wallet/sign",
        data=json.dumps({"idempotency_key": str(uuid.uuid4())}).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        signed: dict[str, Any] = json.loads(answer.read())
    return signed


@pytest.mark.parametrize("service", ["redis", "postgres", "sandbox", *GATEWAYS])
def test_health_check_of_each_service_passes(stack: Stack, service: str) -> None:
    """Each service's command starts and its health check passes."""
    assert stack.is_healthy(service)


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_caller_with_a_certificate_is_served(stack: Stack, ca_folder: Path, gateway: str) -> None:
    """Mutual TLS with the development CA works against the server certificate."""
    with channel(stack, gateway, ca_folder, "game") as opened:
        answer = health_pb2_grpc.HealthStub(opened).Check(health_pb2.HealthCheckRequest(), timeout=10)  # type: ignore[attr-defined]  # the stubs leave it out
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_caller_without_a_certificate_is_refused(stack: Stack, ca_folder: Path, gateway: str) -> None:
    """Nobody gets past the handshake without a certificate of the CA."""
    with channel(stack, gateway, ca_folder, None) as opened, pytest.raises(grpc.RpcError) as refused:
        health_pb2_grpc.HealthStub(opened).Check(health_pb2.HealthCheckRequest(), timeout=10)  # type: ignore[attr-defined]  # the stubs leave it out
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


def test_the_gateway_reaches_phoenix_by_the_ca_it_was_given(stack: Stack, ca_folder: Path) -> None:
    """GATEWAY_UPSTREAM_CA_FILE makes the sandbox's certificate trusted, and the tenant's secrets are the same."""
    with channel(stack, "gateway-1", ca_folder, "operations") as opened:
        stub = leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub(opened)
        stub.CheckAdminHealth(leaderboard_admin_pb2.CheckAdminHealthRequest(), timeout=10)


def test_both_gateways_keep_one_evidence(stack: Stack, ca_folder: Path) -> None:
    """A wallet call that one replica claimed is known to the other: the store is PostgreSQL, and shared."""
    signed = sign_wallet_call(stack)
    request = wallet_pb2.VerifyWalletRequest(
        method=signed["method"],
        path=signed["path"],
        headers=[wallet_pb2.HttpHeader(name=name, value=value) for name, value in signed["headers"]],
        raw_body=base64.b64decode(signed["body_base64"]),
    )
    found = []
    for gateway in GATEWAYS:
        with channel(stack, gateway, ca_folder, "wallet") as opened:
            answer = wallet_pb2_grpc.WalletServiceStub(opened).VerifyWallet(request, timeout=10, wait_for_ready=True)
            found.append(
                (wallet_pb2.WalletVerdict.Name(answer.verdict), wallet_pb2.WalletDisposition.Name(answer.disposition))
            )
    assert [verdict.endswith("_VERIFIED") for verdict, _ in found] == [True, True]
    assert [disposition.removeprefix("WALLET_DISPOSITION_") for _, disposition in found] == ["NEW", "IN_PROGRESS"]


@pytest.mark.parametrize("line", call_lines(compose_file.ROOT / "docs" / "compose.md"))
def test_a_call_of_the_document_runs(stack: Stack, ca_folder: Path, line: str) -> None:
    """What docs/compose.md shows works with the certificates that `make dev-ca` makes."""
    for port, gateway in zip((50051, 50052), GATEWAYS, strict=True):
        line = line.replace(f"127.0.0.1:{port}", f"127.0.0.1:{stack.port(gateway, 50051)}")
    command = shlex.split(line.replace("var/dev-ca", str(ca_folder)))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("service", ["sandbox", *GATEWAYS])
def test_nothing_is_written_beside_the_process(stack: Stack, service: str) -> None:
    """Its root is read-only: after all these calls its working directory, which is its home too, is empty."""
    assert list(stack.directory(service).iterdir()) == []


def test_no_secret_is_written_to_a_log(stack: Stack, secrets_folder: Path) -> None:
    """What the services print holds no value of a secret file."""
    text = "".join(stack.log_path(service).read_text(errors="replace") for service in stack.processes)
    values = [line for path in secrets_folder.iterdir() for line in path.read_text().split() if len(line) > 20]
    assert [value for value in values if value in text] == []


def test_each_service_ends_within_its_grace_period(stack: Stack) -> None:
    """The stop signal and the grace period of the file suffice. Last in the file: it ends the stack."""
    assert {name: stack.stop(name) for name in (*GATEWAYS, "sandbox", "redis", "postgres")} == dict.fromkeys(
        (*GATEWAYS, "sandbox", "redis", "postgres"), 0
    )
