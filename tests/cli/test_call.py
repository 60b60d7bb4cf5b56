"""`phoenix-gateway call`: any method by reflection, with JSON in and out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway_process import ROOT, GatewayProcess
from tests.ports import free_port
from tests.sandbox_process import SandboxProcess

BOARD = "call"


def call(gateway: GatewayProcess | str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    target = gateway if isinstance(gateway, str) else gateway.address
    command = [sys.executable, "-m", "gateway", "call", "--target", target, *arguments]
    return subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=50, check=False)


@pytest.fixture
def board(sandbox: SandboxProcess) -> None:
    """A board that takes events."""
    sandbox.control("POST", f"/boards/tenant-test-001/{BOARD}", {})


def event(**fields: object) -> dict[str, object]:
    """An event as JSON."""
    return {"leaderboard_id": BOARD, "user_id": "ada", "score_delta": 5, **fields}


@pytest.mark.parametrize("name", ["EventService/SubmitEvent", "phoenix.gateway.v1.EventService.SubmitEvent"])
def test_a_call(gateway: GatewayProcess, board: None, name: str) -> None:
    """With or without the package; the answer has the names of the contract."""
    done = call(gateway, name, json.dumps({"event": event()}))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["status"] == "EVENT_STATUS_ACCEPTED"


def test_a_request_from_a_file_and_from_standard_input(gateway: GatewayProcess, board: None, tmp_path: Path) -> None:
    """`@FILE` and `-`."""
    text = json.dumps({"event": event(event_id="same")})
    (tmp_path / "request.json").write_text(text)
    first = call(gateway, "EventService/SubmitEvent", f"@{tmp_path / 'request.json'}")
    again = call(gateway, "EventService/SubmitEvent", "-", stdin=text)
    statuses = [json.loads(one.stdout)["status"] for one in (first, again)]
    assert statuses == ["EVENT_STATUS_ACCEPTED", "EVENT_STATUS_DUPLICATE"]


def test_a_stream_takes_and_gives_many(gateway: GatewayProcess, board: None) -> None:
    """Several objects in a row; with --json an answer per line."""
    text = "".join(json.dumps({"sequence": number, "events": [event()]}) for number in (1, 2))
    done = call(gateway, "EventService/StreamEvents", "-", "--json", stdin=text)
    assert [json.loads(line)["sequence"] for line in done.stdout.splitlines()] == ["1", "2"]


def test_what_there_is(gateway: GatewayProcess) -> None:
    """Without a method all are listed; --describe shows the fields of a request."""
    names = call(gateway).stdout.splitlines()
    assert {"EventService/SubmitEvent", "WalletService/VerifyWallet", "grpc.health.v1.Health/Check"} <= set(names)
    described = call(gateway, "EventService/SubmitEvent", "--describe").stdout
    assert "  tenant_id: text\n" in described
    assert "DELIVERY_DURABLE" in described
    assert "event" in json.loads(call(gateway, "EventService/SubmitEvent", "--describe", "--json").stdout)["fields"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("NoService/SubmitEvent",), "no such service; write SERVICE/METHOD with one of"),
        (("EventService/Nope",), "no such method; EventService has"),
        (("KeyService/ListKeys", "{"), "write one object"),
        (("KeyService/ListKeys", '{"x": 1}'), "see the fields with --describe"),
        (("KeyService/ListKeys", "[]"), "[] is no object; write one object"),
        (("KeyService/ListKeys", "1"), "1 is no object; write one object"),
        (("KeyService/ListKeys", "{}{}"), "this method takes one"),
        (("KeyService/ListKeys", "@/no/such/file"), "check the path"),
    ],
)
def test_what_cannot_be_used(gateway: GatewayProcess, arguments: tuple[str, ...], message: str) -> None:
    """Exit code 2, and what to do."""
    done = call(gateway, *arguments)
    assert (done.returncode, message in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr


def test_a_refused_call(gateway: GatewayProcess) -> None:
    """Exit code 1, the reason, the fields and what to do."""
    done = call(gateway, "EventService/SubmitEvent", '{"event": {}}')
    assert done.returncode == 1
    assert "INVALID_FIELD" in done.stderr
    assert "event.leaderboard_id" in done.stderr
    assert "phoenix-gateway explain INVALID_FIELD" in done.stderr


def test_nothing_listens() -> None:
    """Exit code 1, and what to check."""
    done = call(f"127.0.0.1:{free_port()}", "KeyService/ListKeys")
    assert (done.returncode, "Check the address" in done.stderr) == (1, True)
