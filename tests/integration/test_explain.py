"""`explain` tells the story of a call from its id alone; the log line of a failure says what its caller was told."""

from __future__ import annotations

import io
import json
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.cli.explain_story import run
from gateway.v1 import (
    events_pb2,
    events_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
    leaderboard_admin_pb2,
    leaderboard_admin_pb2_grpc,
    leaderboards_pb2,
    leaderboards_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
    wallet_pb2,
    wallet_pb2_grpc,
)
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.integration.event_calls import INGESTION
from tests.integration.test_wallet import reserve
from tests.ports import free_port
from tests.sandbox_process import SandboxProcess

POLICY = """
[[callers]]
name = "local"
allow = ["boards.*", "wallet.*", "events.*", "tokens.*"]
tenants = ["*"]
operators = ["*"]

[[callers]]
name = "flood"
allow = ["tokens.*"]
operators = ["*"]
limits = {requests_per_s = 1}
"""
BOARD = leaderboards_pb2.GetLeaderboardRequest(leaderboard_id="xp")


@pytest.fixture(scope="module")
def explained(sandbox_process: SandboxProcess) -> Iterator[GatewayProcess]:
    """A gateway with a policy, a caller on a socket that may call once a second, and a host that nobody serves."""
    sandbox_process.control("POST", "/reset", {})  # an earlier test may have left a fault
    with tempfile.TemporaryDirectory(prefix="explain-") as directory:
        file, path = Path(directory) / "gateway.toml", Path(directory) / "flood.sock"
        file.touch(mode=0o600)
        file.write_text(POLICY)
        settings = {
            **of_sandbox(sandbox_process.urls, sandbox_process.environ),
            "ADMIN_BASE_URL": f"http://127.0.0.1:{free_port()}",
            "GATEWAY_CONFIG": str(file),
            "GATEWAY_SOCKETS": f"flood={path}",
            "GATEWAY_LOG_SUCCESSES": "0",
        }
        with GatewayProcess(settings) as process:
            process.wait_serving("phoenix.gateway.v1.WalletService")
            yield process


@pytest.fixture
def boards(explained: GatewayProcess) -> Iterator[leaderboards_pb2_grpc.LeaderboardServiceStub]:
    with grpc.insecure_channel(explained.address) as channel:
        yield leaderboards_pb2_grpc.LeaderboardServiceStub(channel)


def request_id(call: Callable[[], Any]) -> str:
    """The request id of a call that fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    found: Any = caught.value
    return str(dict(found.trailing_metadata())["x-request-id"])


@dataclass
class Told:
    """What the command printed, and its exit code."""

    returncode: int
    stdout: str


def explain(gateway: GatewayProcess, pasted: str, *, as_json: bool = False) -> Told:
    out = io.StringIO()
    with redirect_stdout(out):
        code = run(pasted, gateway.admin_address, None, None, None, as_json=as_json)
    return Told(code, out.getvalue())


def report(gateway: GatewayProcess, wanted: str) -> dict[str, Any]:
    done = explain(gateway, wanted, as_json=True)
    assert done.returncode == 0, done.stdout
    return dict(json.loads(done.stdout))


def line_of(gateway: GatewayProcess, wanted: str, within_s: float = 10.0) -> dict[str, Any]:
    """The log line of a call."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        lines = [json.loads(one) for one in gateway.log_text.splitlines() if one.startswith("{")]
        found = [one for one in lines if one.get("event") == "call" and one["request_id"] == wanted]
        if found:
            return dict(found[0])
        time.sleep(0.02)
    raise AssertionError("no line of the call")


def test_a_server_error_of_phoenix(
    explained: GatewayProcess, boards: leaderboards_pb2_grpc.LeaderboardServiceStub, sandbox: SandboxProcess
) -> None:
    """What failed, each try with its status, the key, what the caller was told, what to do."""
    sandbox.control("POST", "/faults", {"surface": "query", "kind": "status", "status": 500, "times": 10})
    wanted = request_id(lambda: boards.GetLeaderboard(BOARD, timeout=10))
    done = explain(explained, f'  "x-request-id: {wanted}",')
    assert done.returncode == 0
    for said in ("PHOENIX_UNAVAILABLE", "Phoenix answered 500 on query", "try 3", "api-key", "doctor", "boards.read"):
        assert said in done.stdout
    line = line_of(explained, wanted)
    assert (line["level"], line["upstream_status"], line["tries"], line["surface"]) == ("warning", 500, 3, "query")
    assert (line["address"], line["retry_after_s"]) == (sandbox.urls["query"], 1.0)
    assert line["status_message"].startswith("Phoenix cannot be reached")


def test_a_forged_webhook(explained: GatewayProcess, sandbox: SandboxProcess) -> None:
    """By the id that Phoenix sent: the verdict, the key that it was checked with, the answer, and no claim."""
    forged = reserve(sandbox, forge="bit")
    with grpc.insecure_channel(explained.address) as channel:
        wallet_pb2_grpc.WalletServiceStub(channel).VerifyWallet(forged, timeout=10)
    webhook = next(one.value for one in forged.headers if one.name.lower() == "x-request-id")
    (story,) = report(explained, webhook)["stories"]
    assert (story["verdict"], story["reply_status"], "operation_id" in story) == ("BAD_SIGNATURE", 401, False)
    assert len(story["key_id"]) == 64
    assert line_of(explained, story["request_id"])["level"] == "warning"
    done = explain(explained, webhook)
    for said in ("told to answer 401", "fetched again", "no money moved", "no operation was claimed"):
        assert said in done.stdout


def test_a_genuine_webhook_is_told_with_its_operation(explained: GatewayProcess, sandbox: SandboxProcess) -> None:
    """By the webhook's id and by the operation's; its line is not written, because successes are not sampled here."""
    genuine = reserve(sandbox)
    with grpc.insecure_channel(explained.address) as channel:
        answer = wallet_pb2_grpc.WalletServiceStub(channel).VerifyWallet(genuine, timeout=10)
    assert answer.verdict == wallet_pb2.WALLET_VERDICT_VERIFIED
    found, again = (report(explained, one) for one in (answer.operation_id, answer.operation_id.upper()))
    assert found["operation"]["state"] == again["operation"]["state"] == "IN_PROGRESS"
    assert [one["disposition"] for one in found["stories"]] == ["NEW"]
    assert found["stories"][0]["request_id"] not in explained.log_text


def test_a_rate_limit(explained: GatewayProcess) -> None:
    """Which limit, whose, its value, and how often it refused."""
    path = explained.environ["GATEWAY_SOCKETS"].partition("=")[2]
    with grpc.insecure_channel(f"unix:{path}") as channel:
        stub = tokens_pb2_grpc.TokenServiceStub(channel)
        mint = tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession())

        def flood() -> None:
            for _ in range(100):
                stub.MintLaunchJWT(mint, timeout=10)

        wanted = request_id(flood)
    done = explain(explained, wanted)
    for said in ("RATE_LIMITED", "the limit requests_per_s of 1 of the caller", "flood", "how often"):
        assert said in done.stdout
    line = line_of(explained, wanted)
    assert (line["level"], line["limit"], line["whose"]) == ("info", "requests_per_s", "caller")


def test_a_missing_right(explained: GatewayProcess) -> None:
    """Which right; the caller itself is not told."""
    with grpc.insecure_channel(explained.address) as channel:
        stub = keys_pb2_grpc.KeyServiceStub(channel)
        wanted = request_id(lambda: stub.ListKeys(keys_pb2.ListKeysRequest(), timeout=10))
    assert "does not give this caller the right `keys.read`" in explain(explained, wanted).stdout
    line = line_of(explained, wanted)
    assert (line["right"], "keys.read" in line["status_message"]) == ("keys.read", False)


def test_a_refused_connection(explained: GatewayProcess) -> None:
    """Host and errno, in the story and in the line."""
    with grpc.insecure_channel(explained.address) as channel:
        stub = leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub(channel)
        ask = leaderboard_admin_pb2.ListLeaderboardsRequest()
        wanted = request_id(lambda: stub.ListLeaderboards(ask, timeout=10))
    line = line_of(explained, wanted)
    address = explained.environ["ADMIN_BASE_URL"]
    assert (line["last_try"], line["errno"], line["address"]) == ("not_sent", "ECONNREFUSED", address)
    assert f"no connection to Phoenix (ECONNREFUSED): {address}" in explain(explained, wanted).stdout


def test_events_are_told_one_by_one(explained: GatewayProcess, sandbox: SandboxProcess) -> None:
    """One that Phoenix refused; a durable one until it is settled, with its attempts."""
    sandbox.control("POST", "/faults", {**INGESTION, "kind": "status", "status": 503, "times": 1000})
    direct, durable = str(uuid.uuid4()), str(uuid.uuid4())

    def one(event_id: str) -> events_pb2.Event:
        return events_pb2.Event(leaderboard_id="xp", user_id="ada", score_delta=1, event_id=event_id)

    with grpc.insecure_channel(explained.address) as channel:
        stub = events_pb2_grpc.EventServiceStub(channel)
        queued = events_pb2.SubmitEventsRequest(events=[one(durable)], delivery=events_pb2.DELIVERY_DURABLE)
        stub.SubmitEvents(queued, timeout=20)
        sent = stub.SubmitEvents(events_pb2.SubmitEventsRequest(events=[one(direct)]), timeout=20)
    assert sent.results[0].HasField("error")
    (story,) = report(explained, direct)["stories"]
    assert (story["result"], story["tenant"]) == ("FAILED", sandbox.environ["TENANT_ID"])
    assert story["reason"] in ("PHOENIX_UNAVAILABLE", "CIRCUIT_OPEN")
    line = line_of(explained, story["request_id"])
    assert (line["status"], line["failed"], line["reason"], line["level"]) == ("OK", 1, story["reason"], "warning")
    found = report(explained, durable)
    assert ([one["result"] for one in found["stories"]], found["durable_events"][0]["state"]) == (["QUEUED"], "QUEUED")
    sandbox.control("DELETE", "/faults")
    until = time.monotonic() + 30
    while report(explained, durable)["durable_events"][0]["state"] != "DELIVERED":
        assert time.monotonic() < until


def test_an_event_whose_caller_left_may_have_counted(explained: GatewayProcess, sandbox: SandboxProcess) -> None:
    """It is found by its id, and the advice is to look at Phoenix first."""
    sandbox.control("POST", "/faults", {**INGESTION, "kind": "delay", "delay_ms": 5000, "times": 1000})
    event = events_pb2.Event(leaderboard_id="xp", user_id="ada", score_delta=1, event_id=str(uuid.uuid4()))
    with grpc.insecure_channel(explained.address) as channel:
        sending = events_pb2_grpc.EventServiceStub(channel).SubmitEvent.future(
            events_pb2.SubmitEventRequest(event=event), timeout=30
        )
        until = time.monotonic() + 20
        while not any(fault["hits"] for fault in sandbox.control("GET", "/faults")["faults"]):
            assert time.monotonic() < until
            time.sleep(0.05)
        sending.cancel()
        while explain(explained, event.event_id).returncode != 0:  # its story is told when the call has ended
            assert time.monotonic() < until
            time.sleep(0.05)
    sandbox.control("DELETE", "/faults")
    (story,) = report(explained, event.event_id)["stories"]
    assert (story["result"], story["effect"]) == ("UNKNOWN", "maybe")
    assert story["what_to_do"].startswith("Phoenix may have acted")


def test_an_unknown_id_says_what_was_searched(explained: GatewayProcess) -> None:
    """With the form of the id, and how far back."""
    done = explain(explained, str(uuid.uuid4()))
    assert (done.returncode, "It looks like a UUID" in done.stdout) == (1, True)
    for said in ("failures of the last", "successes of the last", "durable events", "evidence"):
        assert said in done.stdout


def test_workers_answer_for_each_other(sandbox: SandboxProcess) -> None:
    """Whichever worker served a call, and whichever answers."""
    settings = {**of_sandbox(sandbox.urls, sandbox.environ), "GATEWAY_WORKERS": "2"}
    with GatewayProcess(settings) as group:
        until = time.monotonic() + 30
        while group.readiness().get("workers") != {"0": True, "1": True}:
            assert time.monotonic() < until
            time.sleep(0.05)
        processes: set[str] = set()
        while len(processes) < 2:
            assert time.monotonic() < until, "one worker served every call"
            wanted = str(uuid.uuid4())
            with grpc.insecure_channel(group.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
                stub = keys_pb2_grpc.KeyServiceStub(channel)
                stub.ListKeys(keys_pb2.ListKeysRequest(), timeout=10, metadata=(("x-request-id", wanted),))
            (story,) = report(group, wanted)["stories"]
            assert story["status"] == "OK"
            processes.add(story["process"])
