"""Limits of a running gateway from its policy file: for callers and operators, after a change, and in a flood."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.v1 import events_pb2, events_pb2_grpc, tokens_pb2, tokens_pb2_grpc
from tests.gateway_process import ROOT, GatewayProcess, of_sandbox, reason_of
from tests.sandbox_process import SandboxProcess

VISITOR = tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession())
CALLERS = """
[tenant_limits]
"acme/sandbox" = {{requests_per_s = {operator_per_s}}}

[[callers]]
name = "local"
allow = ["*"]
tenants = ["*"]
operators = ["*"]

[[callers]]
name = "flood"
allow = ["tokens.*", "events.*"]
tenants = ["*"]
operators = ["*"]
limits = {{requests_per_s = {flood_per_s}, events_per_s = 0.01, concurrent = 40}}
"""


@dataclass
class Limited:
    """A gateway with its policy file, and the socket of the caller who floods."""

    gateway: GatewayProcess
    file: Path
    socket: str

    def write(self, *, flood_per_s: float, operator_per_s: float = 1_000_000) -> None:
        new = self.file.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(CALLERS.format(flood_per_s=flood_per_s, operator_per_s=operator_per_s))
        new.replace(self.file)


@pytest.fixture(scope="module")
def limited(sandbox_process: SandboxProcess) -> Iterator[Limited]:
    with tempfile.TemporaryDirectory(prefix="limits-") as directory:
        folder = Path(directory)
        settings = of_sandbox(sandbox_process.urls, sandbox_process.environ)
        settings["GATEWAY_CONFIG"] = str(folder / "policy.toml")
        settings["GATEWAY_SOCKETS"] = f"flood={folder / 'flood.sock'}"
        made = Limited(GatewayProcess(settings), folder / "policy.toml", f"unix:{folder / 'flood.sock'}")
        made.write(flood_per_s=1_000_000)
        with made.gateway:
            yield made


def outcome_of(work: Callable[[], Any]) -> str:
    try:
        work()
    except grpc.RpcError as error:
        return reason_of(error)
    return "OK"


def mint(channel: grpc.Channel) -> str:
    return outcome_of(lambda: tokens_pb2_grpc.TokenServiceStub(channel).MintLaunchJWT(VISITOR, timeout=10))


def wait_for(fits: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not fits():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_callers_limit_is_its_own_and_changes_while_the_gateway_runs(limited: Limited) -> None:
    """The file is replaced, and seconds later the new limit applies. Another caller is not affected."""
    limited.write(flood_per_s=1_000_000)
    with grpc.insecure_channel(limited.socket) as own, grpc.insecure_channel(limited.gateway.address) as other:
        wait_for(lambda: mint(own) == "OK")
        limited.write(flood_per_s=0.01)
        wait_for(lambda: mint(own) == "RATE_LIMITED")
        assert [mint(other) for _ in range(20)] == ["OK"] * 20
        limited.write(flood_per_s=1_000_000)
        wait_for(lambda: [mint(own) for _ in range(5)] == ["OK"] * 5)


def test_events_are_limited_by_their_number(limited: Limited) -> None:
    """A batch of twenty is owed for; the next event waits."""
    limited.write(flood_per_s=1_000_000)
    batch = [events_pb2.Event(leaderboard_id="b", user_id=f"u{number}", score_delta=1) for number in range(20)]
    with grpc.insecure_channel(limited.socket) as own:
        stub = events_pb2_grpc.EventServiceStub(own)
        wait_for(lambda: mint(own) == "OK")
        first = outcome_of(lambda: stub.SubmitEvents(events_pb2.SubmitEventsRequest(events=batch), timeout=10))
        second = outcome_of(lambda: stub.SubmitEvent(events_pb2.SubmitEventRequest(event=batch[0]), timeout=10))
    assert (first, second) == ("OK", "RATE_LIMITED")


def test_an_operators_limit_holds_over_all_callers(limited: Limited) -> None:
    """What one used is gone for the other; its details say whose limit it is."""
    limited.write(flood_per_s=1_000_000, operator_per_s=0.01)
    with grpc.insecure_channel(limited.socket) as own, grpc.insecure_channel(limited.gateway.address) as other:
        wait_for(lambda: "RATE_LIMITED" in (mint(own), mint(own)))
        assert mint(other) == "RATE_LIMITED"
        tenants = tokens_pb2_grpc.TokenServiceStub(other)
        assert tenants.MintTenantJWT(tokens_pb2.MintTenantJWTRequest(user_id="u"), timeout=10).token != ""
        limited.write(flood_per_s=1_000_000)
        wait_for(lambda: mint(other) == "OK")


@pytest.mark.timeout(120)
def test_a_flood_is_answered_at_our_pace_and_others_are_served(limited: Limited) -> None:
    """200 calls in flight, each repeated when refused: fewer than 100 answers per second, nothing but
    RATE_LIMITED, and every call of another caller succeeds. What it costs the other is measured by `make bench`."""
    limited.write(flood_per_s=5)
    arguments = ["--target", limited.socket, "--at-once", "200", "--seconds", "4"]
    with grpc.insecure_channel(limited.socket) as own, grpc.insecure_channel(limited.gateway.address) as other:
        wait_for(lambda: "RATE_LIMITED" in [mint(own) for _ in range(8)])
        flood = subprocess.Popen(
            [sys.executable, "-m", "bench.flood_client", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        answers = []
        began = time.monotonic()
        while flood.poll() is None:
            answers.append(mint(other))
        took_s = time.monotonic() - began
        reported, _ = flood.communicate(timeout=60)
    counts = json.loads(reported)
    assert set(answers) == {"OK"}
    assert set(counts) <= {"OK", "RESOURCE_EXHAUSTED RATE_LIMITED"}
    assert counts.get("OK", 0) <= 5 * took_s + 10
    assert counts["RESOURCE_EXHAUSTED RATE_LIMITED"] <= 100 * took_s + 250
