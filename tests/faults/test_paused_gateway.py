"""A gateway is paused between the lease of its events and their sending, and goes on when another one has taken over.

Phoenix gets each event once, and those of each user in their order. The leases last ten minutes, so what is delivered
was taken over by the silence of the paused gateway.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.v1 import events_pb2, events_pb2_grpc
from tests.fixtures_postgres import postgres_server, postgres_url
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.integration.event_calls import scores_of
from tests.pgbouncer_process import PgBouncerMissing, PgBouncerProcess
from tests.sandbox_process import SandboxProcess

__all__ = ["postgres_server", "postgres_url"]

WITHIN_S = 60.0
USERS = ("ada", "bob")


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.faults),
        pytest.param("pgbouncer", marks=pytest.mark.faults),
    ]
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Settings of a store for two gateways; PgBouncer gives each transaction another session."""
    if request.param == "sqlite":
        yield {"GATEWAY_DATA_DIR": str(tmp_path / "data")}
        return
    url = request.getfixturevalue("postgres_url")
    with ExitStack() as stack:
        if request.param == "pgbouncer":
            try:
                server = request.getfixturevalue("postgres_server")
                url = stack.enter_context(PgBouncerProcess(server, "transaction")).url_of(url)
            except PgBouncerMissing as missing:
                pytest.skip(str(missing))
        yield {"DATABASE_URL": url}


def events_of(numbers: range) -> list[events_pb2.Event]:
    """One for each user and number; the score is the number."""
    return [
        events_pb2.Event(event_id=f"{user}-{number}", leaderboard_id="xp", user_id=user, score_delta=number)
        for number in numbers
        for user in USERS
    ]


def submit(gateway: GatewayProcess, numbers: range) -> Any:
    """Begin a durable batch. Return the call."""
    stub = events_pb2_grpc.EventServiceStub(gateway.open_channel())
    durable = events_pb2.Delivery.Value("DELIVERY_DURABLE")
    return stub.SubmitEvents.future(
        events_pb2.SubmitEventsRequest(events=events_of(numbers), delivery=durable), timeout=WITHIN_S
    )


def wait_until(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.05)


def is_paused(gateway: GatewayProcess) -> bool:
    return Path(f"/proc/{gateway.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def scores(sandbox: SandboxProcess) -> dict[str, list[int]]:
    """What arrived at the sandbox for each user, in this order, repeats included."""
    return {user: [] for user in USERS} | scores_of(sandbox)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see that a process is paused")
@pytest.mark.timeout(240)
def test_a_paused_gateway_sends_nothing_that_was_taken_over(sandbox: SandboxProcess, store: dict[str, str]) -> None:
    """It wakes up with a request ready to be written, and drops it."""
    environ = {**of_sandbox(sandbox.urls, sandbox.environ), **store}
    paused = GatewayProcess({**environ, "PAUSE_AT": "before_send:1", "LEASE_S": "600"})
    paused.module = "tests.faults.crashing_gateway"
    with paused:
        cut = submit(paused, range(1, 4))
        wait_until(lambda: is_paused(paused), "it did not reach the sending")
        try:
            assert {user: [] for user in USERS} == scores(sandbox)
            with GatewayProcess(environ) as other:
                wait_until(lambda: scores(sandbox) == {user: [1, 2, 3] for user in USERS}, "nothing was taken over")
                assert "a gateway stopped beating" in other.log_text
                os.kill(paused.pid, signal.SIGCONT)
                cut.exception()
                assert not cut.cancelled()
                submit(paused, range(4, 6)).result()
                wait_until(lambda: all(5 in found for found in scores(sandbox).values()), "it delivers no more")
        finally:
            os.kill(paused.pid, signal.SIGCONT)
    assert {user: [1, 2, 3, 4, 5] for user in USERS} == scores(sandbox)
