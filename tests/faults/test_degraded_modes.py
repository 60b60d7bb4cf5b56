"""Every cell of docs/degraded-modes.md, called against a real gateway with the real fault.

A cell says how a call ends: `OK`, or its reasons. `503` is a webhook's answer, which the call returns with status OK.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.interceptors.policy import METHODS
from gateway.v1 import events_pb2, wallet_pb2, wallet_pb2_grpc
from tests.faults.degraded_faults import BOARD, FAULTS, Scene, gateway_of
from tests.gateway_process import GatewayProcess, reason_of
from tests.integration.method_requests import outcome, request_for
from tests.integration.test_wallet import reserve
from tests.sandbox_process import SandboxProcess

DOC = Path(__file__).parents[2] / "docs" / "degraded-modes.md"
V1 = "phoenix.gateway.v1."
DURABLE = "SubmitEvent, durable"
DEADLINE_S = 3.0
MARGIN_S = 4.0
"""What a slow machine may add to a time in the table."""
BACK_WITHIN_S = 30.0
"""The table promises less; the machine may be slow, and circuits close after up to 30 s."""
TRIES = 4
DONE = {"OK", "PHOENIX_NOT_FOUND"}
"""What `OK` means in a cell: it is done, or there is nothing of that name."""
SHORT = ("no Redis", "query down", "key server down")
CALLS = {method.rpartition("/")[2]: method.removeprefix("/") for method in METHODS if V1 in method}
pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One fault: what each call gets, within how many seconds, and whether the replica is ready."""

    cells: Mapping[str, frozenset[str]]
    within_s: float
    is_ready: bool


def columns() -> dict[str, Column]:
    """Read the tables."""
    found: dict[str, Column] = {}
    for table in re.findall(r"(?:^\|.*\n)+", DOC.read_text(encoding="utf-8"), re.M):
        head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().split("\n"))
        if head[0] != "call":
            continue
        by_name = {row[0]: row[1:] for row in rows}
        for place, title in enumerate(head[1:]):
            cells = {
                name: frozenset(re.findall(r"[A-Z0-9_]{2,}", texts[place]))
                for label, texts in by_name.items()
                for name in re.findall(r"`([^`]+)`", label)
            }
            (within,) = re.findall(r"([\d.]+) s", by_name["**within**"][place])
            is_ready = by_name["**readyz**"][place] == "ready"
            found[title] = Column(cells=cells, within_s=float(within), is_ready=is_ready)
    return found


COLUMNS = columns()


class Caller:
    """Calls everything over connections of its own, each call from the beginning."""

    def __init__(self, gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
        """Claim a wallet operation that later calls are about. The gateway works."""
        self._gateway, self._sandbox = gateway, sandbox
        with grpc.insecure_channel(gateway.address) as channel:
            wallet: Any = wallet_pb2_grpc.WalletServiceStub(channel)
            self._operation_id = wallet.VerifyWallet(reserve(sandbox), timeout=20).operation_id
        assert self._operation_id

    def call(self, name: str) -> tuple[str, float]:
        """Call once. Return how it ended, and after how many seconds."""
        with grpc.insecure_channel(self._gateway.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            grpc.channel_ready_future(channel).result(timeout=20)
            method = CALLS["SubmitEvent" if name == DURABLE else name]
            request = reserve(self._sandbox) if name == "VerifyWallet" else self._request(name, method)
            began = time.monotonic()
            how = webhook(channel, request) if name == "VerifyWallet" else outcome(channel, method, request, DEADLINE_S)
            return how, time.monotonic() - began

    def call_all(self, names: Iterable[str] = (*CALLS, DURABLE)) -> dict[str, tuple[str, float]]:
        """Call everything once, a few at a time."""
        names = list(names)
        with ThreadPoolExecutor(6) as pool:
            return dict(zip(names, pool.map(self.call, names), strict=True))

    def _request(self, name: str, method: str) -> Any:
        request: Any = request_for(method)
        if "event" in request.DESCRIPTOR.fields_by_name:
            request.event.event_id = str(uuid.uuid4())
        if name == DURABLE:
            request.delivery = events_pb2.DELIVERY_DURABLE
        if name in ("RecordWalletOutcome", "GetWalletEvidence"):
            request.operation_id = self._operation_id
        return request


def webhook(channel: grpc.Channel, request: wallet_pb2.VerifyWalletRequest) -> str:
    """Verify a genuine webhook. Return OK, or the status that the wallet has to answer."""
    wallet: Any = wallet_pb2_grpc.WalletServiceStub(channel)
    try:
        answer = wallet.VerifyWallet(request, timeout=DEADLINE_S)
    except grpc.RpcError as error:
        return reason_of(error) or error.code().name
    return "OK" if answer.disposition == wallet_pb2.WALLET_DISPOSITION_NEW else str(answer.reply.status)


def wrong(got: Mapping[str, tuple[str, float]], column: Column) -> dict[str, str]:
    """Return the cells that are not as the table says."""
    found = {}
    for name, (how, took_s) in got.items():
        expected = column.cells[name] | (DONE if "OK" in column.cells[name] else set())
        if how not in expected:
            found[name] = f"{how}, not {' or '.join(sorted(expected))}"
        elif took_s > column.within_s + MARGIN_S:
            found[name] = f"{how} after {took_s:.1f} s"
    return found


def test_the_table_has_every_call_and_every_fault() -> None:
    """A new RPC needs a row, or its name in one."""
    assert set(COLUMNS) == set(FAULTS)
    for title, column in COLUMNS.items():
        assert set(column.cells) == {*CALLS, DURABLE}, title
        assert all(column.cells.values()), title


@pytest.mark.parametrize(
    "title", [title if title in SHORT else pytest.param(title, marks=pytest.mark.faults) for title in FAULTS]
)
def test_each_call_gets_what_the_table_says(
    title: str, sandbox: SandboxProcess, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """While the fault lasts, within the time that the table says; and each call is OK again after its end."""
    scene = Scene(sandbox=sandbox, folder=tmp_path, request=request)
    fault = FAULTS[title]
    sandbox.control("POST", f"/boards/{sandbox.environ['TENANT_ID']}/{BOARD}", {"scores": {"ada": 1}})
    with gateway_of(scene, fault) as gateway:
        caller = Caller(gateway, sandbox)
        with fault.lasts(scene):
            left = wrong(caller.call_all(), COLUMNS[title])
            # The first calls notice the fault. And on a slow machine an answer may miss the caller's deadline.
            for _ in range(TRIES):
                left = wrong(caller.call_all(left), COLUMNS[title]) if left else left
            gateway.wait_ready(ready=COLUMNS[title].is_ready)
        assert left == {}
        until = time.monotonic() + BACK_WITHIN_S
        undone: Iterable[str] = (*CALLS, DURABLE)
        while (undone := [name for name, (how, _) in caller.call_all(undone).items() if how not in DONE]) and (
            time.monotonic() < until
        ):
            pass
        assert undone == []
        gateway.wait_ready()
