"""The audit log of a running gateway: caller, action and key; and refused calls when it cannot be written."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.v1 import (
    events_pb2,
    events_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
    leaderboards_pb2,
    leaderboards_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
    wallet_pb2_grpc,
)
from tests.gateway_process import GatewayProcess, of_sandbox, reason_of
from tests.integration.test_wallet import reserve
from tests.sandbox_process import SandboxProcess

TOKENS = "/phoenix.gateway.v1.TokenService/"
WALLET = "phoenix.gateway.v1.WalletService"
MINT = tokens_pb2.MintLaunchJWTRequest(
    player=tokens_pb2.PlayerSession(player_id="player-77", name="Canary Name", currency="EUR")
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="audit-") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def audited(sandbox_process: SandboxProcess, folder: Path) -> Iterator[GatewayProcess]:
    """A gateway with an audit log that is not required."""
    settings = of_sandbox(sandbox_process.urls, sandbox_process.environ)
    with GatewayProcess({**settings, "GATEWAY_AUDIT_FILE": str(folder / "audit.jsonl")}) as process:
        process.wait_serving(WALLET)
        yield process


@pytest.fixture(scope="module")
def strict(sandbox_process: SandboxProcess, folder: Path) -> Iterator[GatewayProcess]:
    """A gateway that requires its audit log. The test may remove the log's folder."""
    (folder / "strict").mkdir()
    settings = of_sandbox(sandbox_process.urls, sandbox_process.environ)
    settings |= {"GATEWAY_AUDIT_FILE": str(folder / "strict" / "audit"), "GATEWAY_AUDIT_REQUIRED": "true"}
    with GatewayProcess(settings) as process:
        process.wait_serving(WALLET)
        yield process


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines() if line] if path.exists() else []


def eventually(path: Path, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    until = time.monotonic() + 15
    while time.monotonic() < until:
        found = [line for line in lines_of(path) if fits(line)]
        if found:
            return found[-1]
        time.sleep(0.02)
    raise AssertionError(f"no such record; there are: {lines_of(path)[-5:]}")


def refusal(work: Callable[[], Any]) -> tuple[grpc.RpcError, float]:
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as refused:
        work()
    return refused.value, time.monotonic() - began


def events_sent(sandbox: SandboxProcess) -> int:
    counts = sandbox.control("GET", "/counts")["counts"]
    return sum(one["count"] for one in counts if one["surface"] == "ingestion" and "health" not in one["route"])


def test_a_mint_is_kept_with_its_key_and_the_digest_of_its_claims(audited: GatewayProcess, folder: Path) -> None:
    """Who, which method, operator and key version, the request id, the verdict and the time; no token, no player."""
    with grpc.insecure_channel(audited.address) as channel:
        stub = tokens_pb2_grpc.TokenServiceStub(channel)
        answer = stub.MintLaunchJWT(MINT, metadata=(("x-request-id", "mint-1"),))
        keys = keys_pb2_grpc.KeyServiceStub(channel).ListKeys(keys_pb2.ListKeysRequest()).keys
    record = eventually(folder / "audit.jsonl", lambda line: line["request_id"] == "mint-1")
    expected = {
        "kind": "ended",
        "caller": "local",
        "method": TOKENS + "MintLaunchJWT",
        "status": "OK",
        "verdict": "allowed",
        "operator": "acme",
        "environment": "sandbox",
    }
    assert expected == {name: record[name] for name in expected}
    assert record["key_id"] == answer.key_id
    assert record["key_id"] in {key.key_id for key in keys}
    assert len(record["claims_sha256"]) == 64
    assert abs(time.time() - time.mktime(time.strptime(record["time"][:19], "%Y-%m-%dT%H:%M:%S")) + time.timezone) < 60
    text = (folder / "audit.jsonl").read_text()
    assert [part for part in (*answer.token.split("."), "player-77", "Canary") if part in text] == []


@pytest.mark.parametrize("method", ["MintTenantJWT", "MintAdminJWT", "SignLeaderboardSocket"])
def test_every_token_names_the_key_version_that_signed_it(audited: GatewayProcess, folder: Path, method: str) -> None:
    """Tenants' secrets have versions too."""
    requests: dict[str, Any] = {
        "MintTenantJWT": tokens_pb2.MintTenantJWTRequest(user_id="u"),
        "MintAdminJWT": tokens_pb2.MintAdminJWTRequest(subject="s"),
        "SignLeaderboardSocket": tokens_pb2.SignLeaderboardSocketRequest(leaderboard_id="b"),
    }
    with grpc.insecure_channel(audited.address) as channel:
        stub = tokens_pb2_grpc.TokenServiceStub(channel)
        getattr(stub, method)(requests[method], metadata=(("x-request-id", f"of-{method}"),))
        known = {key.key_id for key in keys_pb2_grpc.KeyServiceStub(channel).ListKeys(keys_pb2.ListKeysRequest()).keys}
    record = eventually(folder / "audit.jsonl", lambda line: line["request_id"] == f"of-{method}")
    assert record["tenant"] != ""
    assert record.get("key_id") in known


def test_a_webhook_is_kept_with_its_verdict(
    audited: GatewayProcess, sandbox_process: SandboxProcess, folder: Path
) -> None:
    """A genuine one and a forged one; neither's body or signature."""
    with grpc.insecure_channel(audited.address) as channel:
        stub = wallet_pb2_grpc.WalletServiceStub(channel)
        genuine, forged = reserve(sandbox_process), reserve(sandbox_process, forge="bit")
        stub.VerifyWallet(genuine, metadata=(("x-request-id", "genuine"),))
        stub.VerifyWallet(forged, metadata=(("x-request-id", "forged"),))
    path = folder / "audit.jsonl"
    verdicts = {
        name: eventually(path, lambda line, name=name: line["request_id"] == name)["wallet_verdict"]  # type: ignore[misc]
        for name in ("genuine", "forged")
    }
    assert verdicts["genuine"] == "VERIFIED"
    assert verdicts["forged"] in ("BAD_SIGNATURE", "KEY_UNAVAILABLE")
    text = path.read_text()
    headers = [header.value for header in genuine.headers if "signature" in header.name.lower()]
    assert [part for part in (*headers, genuine.raw_body.decode()) if part in text] == []


def test_refusals_are_kept_with_their_reason(audited: GatewayProcess, folder: Path) -> None:
    """A wrong request, a tenant that there is not; health that went well is not kept."""
    with grpc.insecure_channel(audited.address) as channel:
        stub = leaderboards_pb2_grpc.LeaderboardServiceStub(channel)
        for request_id, request in (
            ("wrong", leaderboards_pb2.GetLeaderboardRequest(page_size=5000)),
            ("unknown", leaderboards_pb2.GetLeaderboardRequest(tenant_id="nobody", leaderboard_id="b")),
        ):
            refusal(lambda request=request, request_id=request_id: stub.GetLeaderboard(  # type: ignore[misc]
                request, metadata=(("x-request-id", request_id),)))  # fmt: skip
    path = folder / "audit.jsonl"
    kept = {
        name: eventually(path, lambda line, name=name: line["request_id"] == name)  # type: ignore[misc]
        for name in ("wrong", "unknown")
    }
    assert {name: (one["verdict"], one["reason"], one["status"]) for name, one in kept.items()} == {
        "wrong": ("refused", "INVALID_FIELD", "INVALID_ARGUMENT"),
        "unknown": ("refused", "TENANT_UNKNOWN", "NOT_FOUND"),
    }
    assert [line for line in lines_of(path) if "grpc.health" in line["method"] and line.get("status") == "OK"] == []


def test_a_stream_is_kept_when_it_begins(audited: GatewayProcess, folder: Path) -> None:
    """Long before it ends."""
    with grpc.insecure_channel(audited.address) as channel:
        stub = events_pb2_grpc.EventServiceStub(channel)
        go_on = True

        def requests() -> Iterator[events_pb2.StreamEventsRequest]:
            while go_on:
                time.sleep(0.05)
            yield from ()

        stream = stub.StreamEvents(requests(), metadata=(("x-request-id", "stream"),))
        record = eventually(folder / "audit.jsonl", lambda line: line["request_id"] == "stream")
        go_on = False
        list(stream)
    assert (record["kind"], "status" in record) == ("begun", False)
    ended = eventually(folder / "audit.jsonl", lambda line: line["request_id"] == "stream" and "status" in line)
    assert ended["status"] == "OK"


def test_without_a_place_for_it_nothing_is_done(
    strict: GatewayProcess, sandbox_process: SandboxProcess, folder: Path
) -> None:
    """The folder is removed: mints, webhooks and events are UNAVAILABLE in time and get no final refusal. Health
    shows it. When the folder is back, they work again."""
    place = folder / "strict"
    with grpc.insecure_channel(strict.address) as channel:
        tokens = tokens_pb2_grpc.TokenServiceStub(channel)
        wallet = wallet_pb2_grpc.WalletServiceStub(channel)
        events = events_pb2_grpc.EventServiceStub(channel)
        event = events_pb2.Event(leaderboard_id="audit", user_id="u", score_delta=1)
        webhook = reserve(sandbox_process)
        works: list[Callable[[], Any]] = [
            lambda: tokens.MintLaunchJWT(MINT, timeout=5),
            lambda: wallet.VerifyWallet(webhook, timeout=5),
            lambda: events.SubmitEvent(events_pb2.SubmitEventRequest(event=event), timeout=5),
        ]
        tokens.MintLaunchJWT(MINT, timeout=5, metadata=(("x-request-id", "kept"),))
        assert [line["request_id"] for line in lines_of(place / "audit")].count("kept") == 1
        sent_before = events_sent(sandbox_process)
        shutil.rmtree(place)
        for work in works * 2:
            error, took_s = refusal(work)
            assert (error.code(), reason_of(error)) == (grpc.StatusCode.UNAVAILABLE, "AUDIT_UNAVAILABLE")
            assert took_s < 3
        tries = 8  # a busy machine may miss so short a deadline now and then
        while True:
            error, took_s = refusal(lambda: tokens.MintLaunchJWT(MINT, timeout=0.2))
            tries -= 1
            if error.code() != grpc.StatusCode.DEADLINE_EXCEEDED or not tries:
                break
        assert (reason_of(error), took_s < 1) == ("AUDIT_UNAVAILABLE", True)
        strict.wait_serving(WALLET, serving=False)
        assert events_sent(sandbox_process) == sent_before
        place.mkdir()
        strict.wait_serving(WALLET)
        assert tokens.MintLaunchJWT(MINT, timeout=5).token != ""
        # Nobody claimed it while it was refused: it is new.
        assert wallet.VerifyWallet(webhook, timeout=5).disposition == 1
    begun = eventually(
        place / "audit", lambda line: line["method"].endswith("VerifyWallet") and line["kind"] == "begun"
    )
    assert begun["caller"] == "local"


@pytest.mark.parametrize("kind", ["full", "pipe"])
def test_a_full_disk_and_a_pipe_without_a_reader_fail_closed(
    sandbox_process: SandboxProcess, tmp_path: Path, kind: str
) -> None:
    """From the start: the gateway serves what needs no secret, and refuses the rest in time, 40 at once as well."""
    path = Path("/dev/full")
    if kind == "pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
    settings = of_sandbox(sandbox_process.urls, sandbox_process.environ)
    settings |= {"GATEWAY_AUDIT_FILE": str(path), "GATEWAY_AUDIT_REQUIRED": "true"}
    gateway = GatewayProcess(settings)
    gateway.starts_ready = False
    with gateway as process, grpc.insecure_channel(process.address) as channel:
        tokens = tokens_pb2_grpc.TokenServiceStub(channel)
        began = time.monotonic()
        pending = [tokens.MintLaunchJWT.future(MINT, timeout=5) for _ in range(40)]
        codes = {one.code() for one in pending}
        assert codes == {grpc.StatusCode.UNAVAILABLE}
        assert {reason_of(one) for one in pending} == {"AUDIT_UNAVAILABLE"}  # type: ignore[arg-type]
        assert time.monotonic() - began < 4
        assert keys_pb2_grpc.KeyServiceStub(channel).ListKeys(keys_pb2.ListKeysRequest(), timeout=5).keys
