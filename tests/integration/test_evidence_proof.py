"""Tamper-evidence end to end: running gateways chain and publish heads, and an export of theirs is proven."""

from __future__ import annotations

import json
import signal
import stat
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.core.ed25519 import generate_signing_key
from gateway.v1 import wallet_pb2, wallet_pb2_grpc
from tests.chain_proof import assert_chain_holds, published_head, wait_head
from tests.gateway_command import evidence_command
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.integration.test_wallet import outcome, reserve
from tests.postgres_process import PostgresProcess
from tests.sandbox_process import SandboxProcess

WALLET = "phoenix.gateway.v1.WalletService"


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, sandbox: SandboxProcess, tmp_path: Path) -> Iterator[dict[str, str]]:
    """For gateways that share a store: with SQLite they create a key, with PostgreSQL they need a configured one."""
    found = of_sandbox(sandbox.urls, sandbox.environ)
    with tempfile.TemporaryDirectory(prefix="pgw-evidence-") as folder:
        if request.param == "sqlite":
            found["GATEWAY_DATA_DIR"] = folder
        else:
            postgres: PostgresProcess = request.getfixturevalue("postgres_server")
            found["DATABASE_URL"] = postgres.create_database(f"proof_{uuid.uuid4().hex}")
            key = Path(folder) / "key.pem"
            key.touch(mode=0o600)
            key.write_bytes(generate_signing_key()[1])
            found["GATEWAY_EVIDENCE_KEY_FILE"] = str(key)
        yield found


@pytest.fixture
def pair(settings: dict[str, str]) -> Iterator[list[GatewayProcess]]:
    """Two gateways on one store."""
    with ExitStack() as stack:
        gateways = [GatewayProcess(settings) for _ in range(2)]
        for gateway in gateways:
            stack.enter_context(gateway)
            gateway.wait_serving(WALLET)
        yield gateways


def move(sandbox: SandboxProcess, gateway: GatewayProcess) -> wallet_pb2.VerifyWalletResponse:
    """Claim a move at a gateway and record its outcome."""
    with grpc.insecure_channel(gateway.address) as channel:
        stub = wallet_pb2_grpc.WalletServiceStub(channel)
        claimed: wallet_pb2.VerifyWalletResponse = stub.VerifyWallet(reserve(sandbox), timeout=20)
        stub.RecordWalletOutcome(outcome(claimed), timeout=20)
    return claimed


def chained_by(gateway: GatewayProcess) -> int:
    """Return how many changes this process chained, by its metrics."""
    with urllib.request.urlopen(f"http://{gateway.admin_address}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("phoenix_gateway_evidence_chained_total"):
                return int(float(line.split()[1]))
    raise AssertionError("no such metric")


@pytest.mark.timeout(120)
def test_one_of_two_chains_and_the_other_takes_over_when_it_is_killed(
    sandbox: SandboxProcess, pair: list[GatewayProcess], settings: dict[str, str], tmp_path: Path
) -> None:
    """Changes of both are chained within two seconds. After SIGKILL, the other continues within the lease."""
    for number in range(6):
        move(sandbox, pair[number % 2])
    heads = wait_head(pair[0], 12)
    assert heads == published_head(pair[1])
    assert sorted([0, 12]) == sorted(chained_by(gateway) for gateway in pair)
    holder, other = sorted(pair, key=chained_by, reverse=True)
    holder.stop(signal.SIGKILL)
    began = time.monotonic()
    move(sandbox, other)
    wait_head(other, 14)
    assert time.monotonic() - began < 20  # 3 s of lease, and what a busy machine adds
    assert 2 == chained_by(other)
    holder.start()
    holder.wait_serving(WALLET)
    move(sandbox, holder)
    (tmp_path / "head").write_text(json.dumps(heads))
    reported = assert_chain_holds(other, tmp_path)
    assert (8, 8, 16) == (reported["records"], reported["signatures"], reported["changes"])
    assert 1 == len(reported["gateway_keys"])
    done = evidence_command("verify", str(tmp_path / "export.jsonl"), "--head", str(tmp_path / "head"))
    assert 0 == done.returncode
    assert "is older than the export" in done.stdout


@pytest.mark.timeout(120)
@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_what_is_altered_is_named_by_the_command(
    sandbox: SandboxProcess, pair: list[GatewayProcess], settings: dict[str, str], tmp_path: Path
) -> None:
    """Exit code 0 proven, 1 with the record and what of it, 2 for what cannot be used; the log holds heads, too."""
    claimed = [move(sandbox, pair[0]) for _ in range(4)]
    wait_head(pair[0], 8)
    assert_chain_holds(pair[1], tmp_path)
    export = tmp_path / "export.jsonl"
    logs = tmp_path / "gateway.log"
    logs.write_text("".join(gateway.log_text for gateway in pair))
    done = evidence_command("verify", str(export), "--head", str(logs))
    assert 0 == done.returncode, done.stdout
    text = export.read_text()
    victim = claimed[2].operation_id
    lines = [
        line.replace('"status":200', '"status":201') if victim in line and "chain_" not in line[:10] else line
        for line in text.splitlines(keepends=True)
    ]
    export.write_text("".join(lines))
    done = evidence_command("verify", str(export), "--head", str(tmp_path / "head.json"))
    assert 1 == done.returncode
    assert f"{victim}: the outcome" in done.stdout
    export.write_text(
        "".join(line for line in text.splitlines(keepends=True) if f'{{"operation_id":"{victim}"' not in line)
    )
    reported: dict[str, Any] = json.loads(evidence_command("verify", str(export), "--json").stdout)
    assert ("tampered", [("deleted", victim)]) == (
        reported["verdict"],
        [(one["code"], one["operation_id"]) for one in reported["findings"]],
    )
    table = tmp_path / "export.csv"
    assert (
        0 == evidence_command("export", "--target", pair[0].address, "--format", "csv", "--out", str(table)).returncode
    )
    assert [2, 2, 2] == [
        evidence_command("verify", *arguments).returncode
        for arguments in ([str(table)], [str(tmp_path / "none")], [str(export), "--head", str(table)])
    ]
    key = Path(settings["GATEWAY_DATA_DIR"]) / "evidence_key.pem"
    assert 0o600 == stat.S_IMODE(key.stat().st_mode)
    assert ["evidence_key.pem"] == [one.name for one in key.parent.iterdir() if "key" in one.name]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
def test_postgresql_without_a_key_is_chained_without_signatures(
    sandbox: SandboxProcess, settings: dict[str, str], tmp_path: Path
) -> None:
    """The start logs a warning. A head that was stored elsewhere proves what it covers; no head proves nothing."""
    del settings["GATEWAY_EVIDENCE_KEY_FILE"]
    with GatewayProcess(settings) as gateway:
        gateway.wait_serving(WALLET)
        move(sandbox, gateway)
        wait_head(gateway, 2)
        reported = assert_chain_holds(gateway, tmp_path)
        assert [] == reported["gateway_keys"]
        done = evidence_command("verify", str(tmp_path / "export.jsonl"))
        assert (2, True) == (done.returncode, "is not signed" in done.stderr)
        assert "GATEWAY_EVIDENCE_KEY" in gateway.log_text
