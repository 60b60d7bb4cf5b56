"""Fixtures that several files of this folder need."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import grpc
import pytest

from gateway.v1 import (
    events_pb2_grpc,
    leaderboards_pb2_grpc,
    tokens_pb2_grpc,
)
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.integration.board_reads import SCORES, make
from tests.integration.webhook_verdicts import WALLET, Asked, asked_of
from tests.sandbox_process import SandboxProcess


@pytest.fixture(scope="module")
def own_sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as process:
        yield process


@pytest.fixture(scope="module")
def serving(own_sandbox: SandboxProcess) -> Iterator[GatewayProcess]:
    """A gateway that holds all operations that can be held, and fetches the key often."""
    settings = of_sandbox(own_sandbox.urls, own_sandbox.environ)
    settings["PREDICTION_HOLD_SUSPECT_REPLAYS"] = "reserve_cash,release_cash,credit_cash"
    settings["PREDICTION_KEY_COOLDOWN"] = "0.2"
    with GatewayProcess(settings) as process:
        process.wait_serving(WALLET)
        yield process


@pytest.fixture
def asked(serving: GatewayProcess, own_sandbox: SandboxProcess) -> Iterator[Asked]:
    yield from asked_of(serving, own_sandbox)


@pytest.fixture
def boards(channel: grpc.Channel) -> leaderboards_pb2_grpc.LeaderboardServiceStub:
    return leaderboards_pb2_grpc.LeaderboardServiceStub(channel)


@pytest.fixture
def board(sandbox: SandboxProcess) -> Iterator[str]:
    """A board of 25 users that no other test has read."""
    name = f"xp-{uuid.uuid4().hex[:8]}"
    make(sandbox, name, SCORES)
    yield name
    sandbox.control("DELETE", "/faults")


@pytest.fixture
def events(channel: grpc.Channel) -> events_pb2_grpc.EventServiceStub:
    return events_pb2_grpc.EventServiceStub(channel)


@pytest.fixture
def tokens(channel: grpc.Channel) -> tokens_pb2_grpc.TokenServiceStub:
    return tokens_pb2_grpc.TokenServiceStub(channel)
