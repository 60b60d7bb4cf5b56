"""A gateway that opens paths and signs five parts, and players for its tokens."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from gateway.v1 import tokens_pb2
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.sandbox_process import SandboxProcess

OPEN = (
    "QUERY GET /v1/leaderboards/*/*, GET /operator/api/*, PATCH /operator/api/settings, INGESTION POST /v1/events,"
    "GET /health"
)


@pytest.fixture(scope="module")
def opened(sandbox_process: SandboxProcess) -> Iterator[GatewayProcess]:
    """A gateway that signs five parts, configures its currencies and opens paths."""
    settings = {
        **of_sandbox(sandbox_process.urls, sandbox_process.environ),
        "PREDICTION_OPERATOR_SIGNATURE": "five",
        "PREDICTION_CURRENCIES": "EUR,GBP",
        "PREDICTION_LAUNCH_AUDIENCE": "none",
        "PREDICTION_LAUNCH_TYP": "false",
        "PHOENIX_PATHS": OPEN,
    }
    with GatewayProcess(settings) as process:
        yield process


@pytest.fixture
def opened_channel(opened: GatewayProcess, sandbox: SandboxProcess) -> Iterator[grpc.Channel]:
    """A channel to it; the sandbox takes either form of the signature."""
    sandbox.control("POST", "/settings", {"operator_signature": "both"})
    with grpc.insecure_channel(opened.address) as channel:
        yield channel


def player(currency: str, player_id: str = "p1") -> tokens_pb2.MintLaunchJWTRequest:
    return tokens_pb2.MintLaunchJWTRequest(player=tokens_pb2.PlayerSession(player_id=player_id, currency=currency))
