"""The pytest plugin, used as another team's tests use it, and the command behind it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

import phoenix_gateway_client as client
from phoenix_gateway_client import v1
from pytest_phoenix_gateway import ControlRefused, PhoenixGateway

COMMAND = str(Path(sys.executable).with_name("phoenix-gateway"))
BOARD = "plugin"


def request() -> v1.SubmitEventRequest:
    """One event."""
    return v1.SubmitEventRequest(event=v1.Event(leaderboard_id=BOARD, user_id="ada", score_delta=1))


def test_the_next_event_fails_and_the_one_after_does_not(phoenix_gateway: PhoenixGateway) -> None:
    """Once, as asked."""
    phoenix_gateway.create_board(BOARD)
    phoenix_gateway.fail_next_event()
    gateway, sent = phoenix_gateway.client(), request()
    with pytest.raises(client.PhoenixRefusedInput):
        gateway.events.submit_event(sent)
    assert phoenix_gateway.counted(sent.event.event_id) == 0
    sent = request()
    gateway.events.submit_event(sent)
    assert phoenix_gateway.counted(sent.event.event_id) == 1


def test_a_health_check_does_not_take_the_failure(
    phoenix_gateway: PhoenixGateway, phoenix_gateway_process: dict[str, Any]
) -> None:
    """The gateway sends them to the same surface, at any time."""
    phoenix_gateway.fail_next_event()
    with urlopen(phoenix_gateway_process["sandbox"]["ingestion"] + "/health", timeout=20) as answer:
        assert answer.status == 200
    with pytest.raises(client.PhoenixRefusedInput):
        phoenix_gateway.client().events.submit_event(request())


async def test_a_lost_answer_with_asyncio(phoenix_gateway: PhoenixGateway) -> None:
    """The event counted once, although the first answer was lost: this Phoenix deduplicates."""
    phoenix_gateway.create_board(BOARD, {"bob": 3})
    phoenix_gateway.fail_next_event("lose_answer")
    sent = request()
    async with phoenix_gateway.async_client() as gateway:
        await gateway.events.submit_event(sent)
    assert phoenix_gateway.counted(sent.event.event_id) == 1


def test_each_test_begins_empty(phoenix_gateway: PhoenixGateway) -> None:
    """Boards and faults of other tests are gone."""
    assert phoenix_gateway.control("GET", "/faults") == {"faults": []}
    state = phoenix_gateway.control("GET", "/state")
    assert all(tenant["boards"] == [] for tenant in state["tenants"].values())


def test_webhooks_good_and_forged(phoenix_gateway: PhoenixGateway) -> None:
    """Signed by this Phoenix."""
    gateway = phoenix_gateway.client()
    assert gateway.verify_wallet(phoenix_gateway.sign_webhook()).is_move
    forged = gateway.verify_wallet(phoenix_gateway.sign_webhook(forge="body"))
    assert forged.reply is not None
    assert forged.reply.status == 401


def test_a_wrong_control_request_says_why(phoenix_gateway: PhoenixGateway) -> None:
    """The text of the local Phoenix."""
    with pytest.raises(ControlRefused, match="kind: must be one of"):
        phoenix_gateway.fail("ingestion", "no such kind")


def test_a_fault_by_flag() -> None:
    """It is there from the first call on; the process ends when its parent closes standard input."""
    fault = "surface=admin,kind=status,status=503"
    command = [COMMAND, "dev", "--port", "0", "--json", "--with-parent", "--fault", fault]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = json.loads(process.stdout.readline())
        with client.Gateway(found["gateway"]) as gateway, pytest.raises(client.PhoenixUnavailable):
            gateway.leaderboard_admin.check_admin_health(v1.CheckAdminHealthRequest(), timeout=3)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("kind", "has no value"),
        ("{", "is not JSON"),
        ("surface=ingestion,kind=typo", "must be one of status, delay"),
    ],
)
def test_a_wrong_fault_is_named(fault: str, message: str) -> None:
    """Exit code 2, and what to write."""
    done = subprocess.run(
        [COMMAND, "dev", "--port", "0", "--fault", fault], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_settings_of_the_environment_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell with production's settings does not make it call production."""
    monkeypatch.setenv("INGESTION_BASE_URL", "https://phoenix.invalid")
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    with subprocess.Popen(
        [COMMAND, "dev", "--port", "0", "--json", "--with-parent"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        found = json.loads(process.stdout.readline())
        with client.Gateway(found["gateway"]) as gateway:
            board = v1.EnsureLeaderboardRequest(leaderboard_id=BOARD, name="B")
            assert gateway.leaderboard_admin.ensure_leaderboard(board, timeout=20).created
            assert gateway.events.submit_event(request(), timeout=20).event_id
        assert process.stdin is not None
        process.stdin.close()
