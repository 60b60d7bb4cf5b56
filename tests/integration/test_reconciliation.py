"""Reconciliation end to end: operations through a gateway process are listed, exported and reported."""

from __future__ import annotations

import csv
import io
import json
import signal
import stat
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.v1 import common_pb2, wallet_pb2, wallet_pb2_grpc
from tests.gateway_command import evidence_command
from tests.gateway_process import GatewayProcess, fields_of, of_sandbox, reason_of
from tests.integration.test_wallet import outcome, signed
from tests.sandbox_process import SandboxProcess


@pytest.fixture
def own_gateway(sandbox: SandboxProcess) -> Iterator[GatewayProcess]:
    """A gateway with an empty store."""
    with GatewayProcess(of_sandbox(sandbox.urls, sandbox.environ)) as process:
        process.wait_serving("phoenix.gateway.v1.WalletService")
        yield process


@pytest.fixture
def wallet(own_gateway: GatewayProcess) -> Iterator[wallet_pb2_grpc.WalletServiceStub]:
    with grpc.insecure_channel(own_gateway.address) as channel:
        yield wallet_pb2_grpc.WalletServiceStub(channel)


def moved(
    sandbox: SandboxProcess,
    wallet: wallet_pb2_grpc.WalletServiceStub,
    operation: str,
    value: str,
    order: str,
    **more: Any,
) -> wallet_pb2.VerifyWalletResponse:
    """Send a move and record that it was done, unless `status` is None."""
    status = more.pop("status", 200)
    claimed = wallet.VerifyWallet(
        signed(sandbox, operation=operation, amount={"value": value}, references={"order_id": order}, **more)
    )
    if status is not None:
        wallet.RecordWalletOutcome(outcome(claimed, response_status=status))
    return claimed


def command(gateway: GatewayProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `phoenix-gateway evidence ...` against it."""
    return evidence_command(arguments[0], "--target", gateway.address, *arguments[1:])


def test_pages_hold_every_move_once_and_filters_hold(
    sandbox: SandboxProcess, wallet: wallet_pb2_grpc.WalletServiceStub
) -> None:
    """In the order of receipt; a token of another request is refused."""
    sent = [moved(sandbox, wallet, "reserve_cash", "1.00", f"o-{number}").operation_id for number in range(5)]
    open_one = moved(sandbox, wallet, "reserve_cash", "1.00", "o-5", status=None).operation_id
    found: list[str] = []
    token = ""
    while True:
        page = wallet.ListWalletEvidence(wallet_pb2.ListWalletEvidenceRequest(page_size=2, page_token=token))
        found += [one.operation_id for one in page.evidence]
        token = page.next_page_token
        if not token:
            break
        last = token
    assert [*sent, open_one] == found
    unfinished = wallet_pb2.ListWalletEvidenceRequest(state=wallet_pb2.WALLET_OPERATION_STATE_IN_PROGRESS)
    assert [open_one] == [one.operation_id for one in wallet.ListWalletEvidence(unfinished).evidence]
    with pytest.raises(grpc.RpcError) as refused:
        wallet.ListWalletEvidence(wallet_pb2.ListWalletEvidenceRequest(player_id="other", page_token=last))
    assert ["page_token"] == fields_of(refused.value)


def test_a_range_that_is_none_is_refused(wallet: wallet_pb2_grpc.WalletServiceStub) -> None:
    """By the name of its field."""
    with pytest.raises(grpc.RpcError) as refused:
        wallet.ListWalletEvidence(
            wallet_pb2.ListWalletEvidenceRequest(start_time=Timestamp(seconds=2), end_time=Timestamp(seconds=2))
        )
    assert ["end_time"] == fields_of(refused.value)


def test_another_environment_is_not_there(wallet: wallet_pb2_grpc.WalletServiceStub) -> None:
    """This gateway has no operator in prod."""
    request = wallet_pb2.ExportWalletEvidenceRequest(environment=common_pb2.PHOENIX_ENVIRONMENT_PROD)
    with pytest.raises(grpc.RpcError) as refused:
        list(wallet.ExportWalletEvidence(request))
    assert "OPERATOR_UNKNOWN" == reason_of(refused.value)


def test_an_export_continues_over_a_restart_and_misses_nothing(
    sandbox: SandboxProcess, own_gateway: GatewayProcess, wallet: wallet_pb2_grpc.WalletServiceStub
) -> None:
    """After the first part the gateway is killed; with the token of that part, everything else comes."""
    sent = {moved(sandbox, wallet, "credit_cash", "1.00", "o", status=None).operation_id for _ in range(120)}
    stream = wallet.ExportWalletEvidence(wallet_pb2.ExportWalletEvidenceRequest(omit_bodies=True))
    first = next(iter(stream))
    assert 50 == len(first.evidence)
    assert b"" == first.evidence[0].request_body
    own_gateway.stop(signal.SIGKILL)
    own_gateway.start()
    with grpc.insecure_channel(own_gateway.address) as channel:
        request = wallet_pb2.ExportWalletEvidenceRequest(omit_bodies=True, page_token=first.next_page_token)
        rest = list(wallet_pb2_grpc.WalletServiceStub(channel).ExportWalletEvidence(request))
    again = {one.operation_id for part in rest for one in part.evidence}
    settled = first.settle_time.ToMicroseconds()
    unsettled = {one.operation_id for one in first.evidence if one.receive_time.ToMicroseconds() >= settled}
    assert sent == again | {one.operation_id for one in first.evidence}
    assert unsettled <= again


def test_commands_export_and_report(
    sandbox: SandboxProcess, own_gateway: GatewayProcess, wallet: wallet_pb2_grpc.WalletServiceStub, tmp_path: Path
) -> None:
    """Files are whole and private; the report adds up, names the order above its reservation, exits with 3."""
    moved(sandbox, wallet, "reserve_cash", "10.00", "o-good")
    moved(sandbox, wallet, "capture_cash", "4.10", "o-good")
    moved(sandbox, wallet, "release_cash", "5.90", "o-good")
    late = moved(sandbox, wallet, "reserve_cash", "10.00", "o-bad")
    moved(sandbox, wallet, "capture_cash", "10.01", "o-bad")
    moved(sandbox, wallet, "credit_cash", "3.00", "o-open", status=None)
    with pytest.raises(grpc.RpcError):
        wallet.RecordWalletOutcome(outcome(late, operator_transaction_id="tx-other"))

    key = str(uuid.uuid4())
    first = moved(sandbox, wallet, "release_cash", "0.00", "o-good", idempotency_key=key)
    for value in ("0.00", "0.00", "0.01", "0.01", "0.01"):  # replayed twice, contradicted thrice
        moved(sandbox, wallet, "release_cash", value, "o-good", idempotency_key=key, status=None)
    by_id = wallet_pb2.GetWalletEvidenceRequest(operation_id=first.operation_id)
    until = time.monotonic() + 10
    while wallet.GetWalletEvidence(by_id).evidence.replay_count < 2:  # counted soon after the answers
        assert time.monotonic() < until
        time.sleep(0.05)

    lines = tmp_path / "evidence.jsonl"
    done = command(own_gateway, "export", "--format", "jsonl", "--out", str(lines), "--environment", "sandbox")
    assert 0 == done.returncode, done.stderr
    assert "7 moves" in done.stderr
    assert 0o600 == stat.S_IMODE(lines.stat().st_mode)
    assert [lines] == list(tmp_path.iterdir())
    exported = [one for line in lines.read_text().splitlines() if "operation_id" in (one := json.loads(line))]
    assert all(one["request_body"] and one["signature"] for one in exported)

    table = command(own_gateway, "export", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(table.stdout)))
    assert ["10.00", "4.10", "5.90", "10.00", "10.01", "3.00", "0.00"] == [row["amount"] for row in rows]
    assert [("0", "0")] * 6 + [("2", "3")] == [(row["replay_count"], row["conflict_count"]) for row in rows]
    assert {"sandbox"} == {row["environment"] for row in rows}
    assert [one["operation_id"] for one in exported] == [row["operation_id"] for row in rows]

    reported = command(own_gateway, "report", "--json")
    assert 3 == reported.returncode, reported.stderr
    report = json.loads(reported.stdout)
    sums = {line["operation"]: (line["moved"], line["unfinished"], line["total"]) for line in report["operations"]}
    assert {
        "capture_cash": (2, 0, "14.11"),
        "credit_cash": (0, 1, "0"),
        "release_cash": (2, 0, "5.90"),
        "reserve_cash": (2, 0, "20.00"),
    } == sums
    assert [("o-bad", "above_reservation")] == [(order["order_id"], order["fault"]) for order in report["orders"]]
    assert [["OUTCOME_DIFFERS"]] == [move["incidents"] for move in report["late_outcomes"]]
    again = {line["operation"]: (line["replays"], line["conflicts"]) for line in report["operations"]}
    assert ((2, 3), (0, 0), 2) == (again["release_cash"], again["reserve_cash"], report["replays"])
    assert [key] == [move["idempotency_key"] for move in report["conflicting_calls"]]
    shown = command(own_gateway, "report")
    assert "above reservation" in shown.stdout
    assert "conflicting calls (1)" in shown.stdout
    assert "replays: 2" in shown.stdout


def test_a_failed_export_leaves_no_file(tmp_path: Path, own_gateway: GatewayProcess) -> None:
    """The existing file does not change."""
    out = tmp_path / "evidence.csv"
    out.write_text("before")
    done = command(own_gateway, "export", "--environment", "prod", "--out", str(out))
    assert (1, "before", [out]) == (done.returncode, out.read_text(), list(tmp_path.iterdir()))
    assert "OPERATOR_UNKNOWN" in done.stderr


def test_a_wrong_time_is_named(own_gateway: GatewayProcess) -> None:
    """With the option that it belongs to."""
    done = command(own_gateway, "report", "--from", f"yesterday-{uuid.uuid4()}")
    assert (2, True) == (done.returncode, done.stderr.startswith("--from:"))
