"""Boards of the sandbox, and reads of them that are answered or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from gateway.v1 import leaderboards_pb2
from tests.sandbox_process import SandboxProcess

SCORES = {f"user-{number:03}": 1000 - number for number in range(25)}


def make(sandbox: SandboxProcess, board: str, scores: dict[str, int]) -> None:
    sandbox.control("POST", f"/boards/{sandbox.environ['TENANT_ID']}/{board}", {"scores": scores})


def roll(sandbox: SandboxProcess, board: str) -> Any:
    (rolled,) = sandbox.control("POST", "/windows/roll", {"leaderboard_id": board})["rolled"]
    return rolled


def calls(sandbox: SandboxProcess, board: str) -> int:
    """How often Phoenix was asked about a board."""
    requests = sandbox.control("GET", "/requests?surface=query")["requests"]
    return sum(f"/{board}" in request["path"] for request in requests)


def page(board: str, **more: Any) -> leaderboards_pb2.GetLeaderboardRequest:
    return leaderboards_pb2.GetLeaderboardRequest(leaderboard_id=board, **more)


def refused(call: Callable[[], object]) -> Any:
    with pytest.raises(grpc.RpcError) as reported:
        call()
    return reported.value
